"""Train here, test there: a run's AUROC inside and at sites that it never saw, and what lies between the two.

Inside are the tested patients of development, each scored by the networks that did not learn from
them. Outside are the patients of external sites, scored by every network of the split. The drop
holds single networks against single networks, since their mean is a little better than they are;
the ensemble's own figure stands beside it, as that is what would be used.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA, CHANCE, MIN_GROUP_PATIENTS
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import estimate_text, listed, number_text, p_text, signed_text
from scan2gene.evaluate.domain_shift import domain_auroc
from scan2gene.evaluate.ensemble import ALL, ENSEMBLE
from scan2gene.evaluate.evaluate import to_patients, with_decisions
from scan2gene.evaluate.multiclass import ClassSample
from scan2gene.evaluate.shortcuts import Figure
from scan2gene.stats.auroc_difference import auroc_drop
from scan2gene.stats.intervals import SINGLE, Estimate, bca_interval, p_value
from scan2gene.stats.multiple_testing import holm
from scan2gene.stats.power import too_few
from scan2gene.stats.resampling import PERSON, Sample
from scan2gene.tasks.outputs import displayed, question_names

UNKNOWN = Estimate(None, reason="it was not looked at")
DECISIONS = ("recall", "specificity")


@dataclass(frozen=True)
class Transfer:
    """One run, target and split: inside, outside, and the drop.

    Args:
        run: Its name.
        split: With external sites, or one that leaves each site out in turn.
        target: What is predicted.
        where: Outside, in words.
        kind: "external", or "sites" where each site was left out in turn.
        networks: That scored each patient outside.
        inside: AUROC on tested patients of development, by single networks.
        outside: AUROC outside, of the ensemble where there are several networks.
        single: AUROC outside of single networks, on average.
        drop: Inside less single; above 0 where it does worse outside.
        p: Of the drop, two-sided.
        p_holm: The same, corrected for all runs and targets of the split (Holm).
        tested: How many these are.
        n: Patients inside and outside.
        positive: Of the scored units, inside and outside; None of a target of several classes as a whole.
        decisions: "recall" and "specificity", inside and outside, at thresholds chosen in development.
        said: Mean probability outside; None without.
        observed: Share of positive units outside.
        domain: AUROC with which the run's features tell external from tested patients of development.
        site: Share of patients whose site the features name.
        commonest: The same by naming the commonest site.
        within: With "sites": AUROC inside over pairs of patients of one site and fold, which is what counts at a site
            that was left out.
        units: Scored outside, patients or their sides.
        few: Why so few patients outside are not judged, where their sides are scored.
        adapted: Whether ComBat learned the shift and spread of external sites from their own rows.
    """

    run: str
    split: str
    target: str
    where: str
    kind: str
    networks: int
    inside: Estimate
    outside: Estimate
    single: Estimate
    drop: Estimate
    p: float | None
    n: tuple[int, int]
    positive: tuple[int, int] | None
    decisions: dict[str, tuple[Estimate, Estimate]] = field(default_factory=dict)
    said: float | None = None
    observed: float | None = None
    domain: Estimate = UNKNOWN
    site: Estimate = UNKNOWN
    commonest: float | None = None
    p_holm: float | None = None
    tested: int = 1
    within: Estimate = UNKNOWN
    units: int | None = None
    few: str = ""
    adapted: bool = False

    @property
    def lost(self) -> bool:
        """Whether it is shown to do worse outside, also as one of several that were looked at."""
        shown = (self.drop.low or 0) > 0 and self.p_holm is not None and self.p_holm < ALPHA
        return shown and not self.unjudged

    @property
    def holds(self) -> bool:
        """Whether it is above chance outside."""
        return (self.outside.low or 0) > CHANCE and not self.unjudged

    @property
    def unjudged(self) -> str:
        """Why nothing is said of it outside, as a verdict would not; empty where something is."""
        if self.outside.value is None:
            return self.outside.reason
        few = self.positive is None or self.units not in (None, self.n[1])
        return self.few if few or self.positive is None else too_few(self.positive[1], self.n[1])

    def row(self) -> dict[str, Any]:
        """As a row of transfer.csv."""
        found: dict[str, Any] = {
            "run": self.run, "split": self.split, "target": self.target, "where": self.where, "kind": self.kind,
            "networks": self.networks, "n_inside": self.n[0], "positive_inside": self.positive and self.positive[0],
            "n_outside": self.n[1], "positive_outside": self.positive and self.positive[1],
            "units_outside": self.units or self.n[1],
        }  # fmt: skip
        for name in ("inside", "outside", "single", "drop", "domain", "site", "within"):
            found |= _columns(name, getattr(self, name))
        for name in DECISIONS:
            inside, outside = self.decisions.get(name, (UNKNOWN, UNKNOWN))
            found |= _columns(f"{name}_inside", inside) | _columns(f"{name}_outside", outside)
        return found | {"p_drop": self.p, "p_drop_holm": self.p_holm, "mean_probability": self.said,
                        "share_positive": self.observed, "commonest_site": self.commonest,
                        "told": told(self)}  # fmt: skip


def _columns(name: str, estimate: Estimate) -> dict[str, Any]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high,
            f"{name}_reason": estimate.reason}  # fmt: skip


def transfers(
    study: Study, predictions: pd.DataFrame, embeddings: pd.DataFrame, figures: Sequence[Figure],
    thresholds: Sequence[dict[str, Any]] = (), where: str = "", adapted: Collection[str] = (),
) -> list[Transfer]:  # fmt: skip
    """Every run, target and split that looks outside.

    Args:
        study: Its runs, targets and splits.
        predictions: The prediction table from `by_question`, without slices.
        embeddings: embeddings.parquet.
        figures: Of the shortcut audit; whether features name the site is taken from them.
        thresholds: thresholds.json; without them no decisions are compared.
        where: Outside, in words; default: the external sites of the split.
        adapted: Runs whose ComBat estimates unknown sites from their own rows.
    """
    main = next((s for s in study.splits if s.kind != "leave_one_site_out"), None)
    outward = [s for s in study.splits if s.external or (s.kind == "leave_one_site_out" and main is not None)]
    if not outward:
        return []
    rows = to_patients(predictions[predictions["variant"].isin(["original", ENSEMBLE])])
    rows = with_decisions(rows, list(thresholds)) if thresholds else rows
    rows = rows.dropna(subset=["y_true", "prob"])
    names = {name: question_names({name: settings}) for name, settings in study.targets.items()}
    asked = [(name, questions) for name, questions in names.items() if len(questions) > 1]  # as a whole
    asked += [(question, [question]) for questions in names.values() for question in questions]
    found = []
    for split in outward:
        for run in dict.fromkeys(rows["run_id"]):
            domain = _domain(study, embeddings, run, split.name) if split.external else UNKNOWN
            for target, questions in asked:
                own = rows[(rows["run_id"] == run) & rows["target"].isin(questions)]
                if (own["split"] == split.name).any():
                    made = _external(study, split, own, domain) if split.external else _by_site(study, main, split, own)
                    made = replace(made, target=target)
                    made = replace(made, where=where) if where and split.external else made
                    made = replace(made, adapted=run in adapted and made.kind == EXTERNAL)
                    found.append(_with_site(made, main if made.kind == "sites" else split, figures))
    return [one for split in outward for one in _corrected([f for f in found if f.split == split.name])]


def _corrected(found: Sequence[Transfer]) -> list[Transfer]:
    """Drops of one split with Holm's correction: the run that is best inside tends to be lucky there, and to lose."""
    adjusted = holm([one.p for one in found])
    return [replace(one, p_holm=p, tested=len(found)) for one, p in zip(found, adjusted, strict=True)]


def _external(study: Study, split: Split, rows: pd.DataFrame, domain: Estimate) -> Transfer:
    draws, seed = study.evaluate.bootstrap, study.seed
    rows = rows[rows["split"] == split.name]
    fits = rows[(rows["variant"] == "original") & (rows["fold"] != ALL)]
    inside, far = _sample(fits[fits["part"] == "test"]), fits[fits["part"] == EXTERNAL]
    number = far.groupby(["repeat", "fold"]).ngroup()
    single = _sample(far.assign(repeat=number, fold=0))
    joint = rows[(rows["variant"] == ENSEMBLE) & (rows["part"] == EXTERNAL)]
    ensemble = _sample(joint if len(joint) else far.assign(repeat=0, fold=0).drop_duplicates([*PERSON, "target"]))
    drop, p = auroc_drop(inside, single, draws, seed)  # type: ignore[arg-type]
    whole = isinstance(inside, ClassSample) or isinstance(ensemble, ClassSample)
    decided = "decision" in rows and rows["decision"].notna().any() and not whole
    return Transfer(
        run=str(rows["run_id"].iloc[0]), split=split.name, target=str(rows["target"].iloc[0]),
        where=outside_of(split), kind=EXTERNAL, networks=int(number.nunique()),
        inside=_auroc(inside, draws, seed), outside=_auroc(ensemble, draws, seed), single=_auroc(single, draws, seed),
        drop=drop, p=p,
        n=(inside.n_patients, ensemble.n_patients), positive=_positive(inside, ensemble),
        decisions={m: (_shown(inside, m, draws, seed), _shown(ensemble, m, draws, seed)) for m in DECISIONS}
        if decided else {},
        units=ensemble.n_units, few=ensemble.too_few,
        said=_mean(ensemble, "prob"), observed=_mean(ensemble, "y_true"), domain=domain,
    )  # fmt: skip


def _by_site(study: Study, main: Split | None, split: Split, rows: pd.DataFrame) -> Transfer:
    """Each site in turn, against the split that mixes sites: the same patients, so they are drawn together."""
    draws, seed = study.evaluate.bootstrap, study.seed
    rows = rows[(rows["variant"] == "original") & (rows["fold"] != ALL) & (rows["part"] == "test")]
    name = main.name if main else ""
    both = [rows[rows["split"] == s] for s in (name, split.name)]
    common = set(both[0]["patient_id"]) & set(both[1]["patient_id"])
    near = both[0][both[0]["patient_id"].isin(common)]
    inside, outside = _sample(near), _sample(both[1][both[1]["patient_id"].isin(common)])
    lacking = inside.lacking or outside.lacking
    drop, p = Estimate(None, reason=lacking), None
    if not lacking and min(inside.fewest, outside.fewest) >= 2:
        paired = replace(inside.auroc(draws, seed) - outside.auroc(draws, seed), bounds=(-1.0, 1.0))
        drop, p = bca_interval(paired), p_value(paired)
    elif not lacking:
        drop = Estimate(None, reason=SINGLE)
    found = _auroc(outside, draws, seed)
    seats = near.groupby(["repeat", "fold", "site"], dropna=False).ngroup()
    return Transfer(
        run=str(rows["run_id"].iloc[0]) if len(rows) else "", split=split.name,
        target=str(rows["target"].iloc[0]) if len(rows) else "", where="each site in turn", kind="sites", networks=1,
        inside=_auroc(inside, draws, seed), outside=found, single=found, drop=drop, p=p,
        n=(inside.n_patients, outside.n_patients), positive=_positive(inside, outside),
        units=outside.n_units, few=outside.too_few,
        within=_auroc(_sample(near.assign(fold=seats)), draws, seed),
    )  # fmt: skip


def _sample(rows: pd.DataFrame) -> Sample | ClassSample:
    """Rows of one target, or of all classes of one against the rest."""
    return Sample(rows) if rows["target"].nunique() < 2 else ClassSample.of(rows)


def _positive(*samples: Sample | ClassSample) -> tuple[int, int] | None:
    inside, outside = (None if isinstance(s, ClassSample) else s.n_positive for s in samples)
    return None if inside is None or outside is None else (inside, outside)


def _auroc(sample: Sample | ClassSample, draws: int, seed: int) -> Estimate:
    return _shown(sample, "auroc", draws, seed)


def _shown(sample: Sample | ClassSample, metric: str, draws: int, seed: int) -> Estimate:
    nothing = sample.lacking or sample.too_few
    return Estimate(None, reason=nothing) if nothing else sample.interval(metric, draws, seed)


def _mean(sample: Sample | ClassSample, column: str) -> float | None:
    return float(sample.units[column].mean()) if isinstance(sample, Sample) and sample.n_units else None


def _domain(study: Study, embeddings: pd.DataFrame, run: str, split: str) -> Estimate:
    """Can the features tell external from tested patients of development? Neither was learned from."""
    fits = []
    if len(embeddings):
        embeddings = embeddings[(embeddings["run_id"] == run) & (embeddings["split"] == split)]
    if embeddings.empty:
        return Estimate(None, reason="it keeps no features")
    for _, rows in embeddings.groupby(["repeat", "fold"], sort=False):
        rows = rows[rows["part"].isin(["test", EXTERNAL])]
        values = pd.DataFrame(np.stack(rows["embedding"].to_numpy()).astype(float), index=rows["patient_id"].to_numpy())
        far = rows.drop_duplicates("patient_id").set_index("patient_id")["part"] == EXTERNAL
        fits.append((values.groupby(level=0).mean(), far))
    return domain_auroc(fits, study.evaluate.bootstrap, study.seed)


def _with_site(made: Transfer, split: Split | None, figures: Sequence[Figure]) -> Transfer:
    named = [f for f in figures if (f.kind, f.run) == ("site", made.run) and split and f.split == split.name]
    if not named:
        none = "it keeps no features"
        few = f"features or a second site of {MIN_GROUP_PATIENTS} patients lack inside"
        return replace(made, site=Estimate(None, reason=none if made.domain.reason == none else few))
    return replace(made, site=named[0].estimate, commonest=float(named[0].of))


def outside_of(split: Split) -> str:
    """The external sites of a split, in words."""
    names = split.external
    return f"the external {'site' if len(names) == 1 else 'sites'} {listed(names)}"


def told(found: Transfer) -> str:
    """The sentence about one run and target outside."""
    where = found.where if found.kind == EXTERNAL else "sites that it never saw"
    unseen = ", which nothing was learned or chosen on," if found.kind == EXTERNAL else ""
    if found.adapted:
        unseen = ", of which ComBat saw the columns and no labels,"
    if found.unjudged:
        return f"At {where}{unseen} {displayed(found.target)} cannot be estimated, because {found.unjudged}."
    above = "it stays above chance" if found.holds else "it is not shown to be above chance"
    sides = f" with {found.units} sides" if found.units not in (None, found.n[1]) else ""
    who = f"{found.n[1]} patients{sides}" + (f", {found.positive[1]} positive" if found.positive else "")
    what = "AUROC" if found.positive else "macro AUROC"
    by = f"the ensemble of {found.networks} networks reaches " if found.networks > 1 else ""
    return (
        f"At {where}{unseen} {above}: {by}{what} {estimate_text(found.outside)}, {who}; {_drop(found)}{_within(found)}."
    )


def _drop(found: Transfer) -> str:
    if found.drop.value is None or found.drop.low is None or found.drop.high is None:
        return f"how far that falls from inside cannot be estimated, because {found.drop.reason}"
    spread = f"{signed_text(found.drop.low)} to {signed_text(found.drop.high)}"
    if found.tested > 1:
        spread += f", {p_text(found.p_holm)} corrected for {found.tested} comparisons"
    single = "single networks" if found.networks > 1 else "its network" if found.kind == EXTERNAL else "networks"
    inside = "" if found.inside.value is None else f" {number_text(found.inside.value)}"
    if found.lost:
        verb = "loses" if single == "its network" else "lose"
        return f"{single} {verb} {number_text(found.drop.value)} of the{inside} inside ({spread})"
    return (
        f"a drop from the{inside} inside is not shown (inside less outside {signed_text(found.drop.value)}, {spread})"
    )


def _within(found: Transfer) -> str:
    """What pairs of one site have inside, since a left-out site has no others."""
    if found.within.value is None:
        return ""
    return f"; inside, pairs of patients of one site, as at a left-out site, have {estimate_text(found.within)}"
