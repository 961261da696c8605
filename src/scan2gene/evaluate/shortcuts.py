"""Shortcuts: could something other than the lesion give the answer? Every figure with an interval and a sentence.

All of it is tables: scores of tested patients, of altered copies of their exams, and of what knows
the scanner or the patient but not the picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA, CHANCE, MIN_GROUP_PATIENTS
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import difference_text, estimate_text, number_text, percent
from scan2gene.evaluate.baselines import named_correctly
from scan2gene.stats.auroc_difference import tested_difference
from scan2gene.stats.intervals import Estimate, bca_interval, bootstrap_counts, resample
from scan2gene.stats.permutation import p_chance
from scan2gene.stats.resampling import Sample

FIGURE_COLUMNS = (
    "kind", "split", "target", "run", "of", "value", "low", "high", "n", "n_positive", "p",
    "difference", "difference_low", "difference_high", "p_difference", "reason", "told",
)  # fmt: skip
ALTERED = {
    "erased": "with the lesion erased and filled from its surroundings",
    "background": "with a box of one size around the lesion filled, so that only background is left",
    "only_lesion": "with the lesion alone, set into one and the same other scan",
    "shifted": "with the scan moved by 3 %",
    "noise": "with noise of a tenth of the scan's own spread added",
    "resliced": "with each slice blurred into its neighbours",
    "every_second": "by every second of its slices alone",
    "mirrored": "with left and right exchanged",
    "only_border": "with the border alone, set around one and the same other scan",
    "only_outside": "with what lies outside every body alone, beside one and the same other scan",
}


@dataclass(frozen=True)
class Figure:
    """One figure of the audit.

    Args:
        kind: "network", "metadata", "clinical", a variant, "site", "scanner", "headers", "subgroup" or
            "gap".
        split: Of the study.
        target: What is predicted; empty for what has none.
        run: The network; empty for a baseline.
        of: Subgroup, or what a baseline knows.
        estimate: AUROC, or the share of correctly named for "site" and "scanner", or a gap.
        n: Patients.
        n_positive: Of the scored units.
        p: Two-sided, against chance; None where not tested.
        difference: Network less this, on the same patients; None for a figure without such.
        p_difference: Two-sided, of the difference.
        told: A sentence.
    """

    kind: str
    split: str
    target: str
    run: str
    of: str
    estimate: Estimate
    n: int
    n_positive: int
    p: float | None = None
    difference: Estimate | None = None
    p_difference: float | None = None
    told: str = ""

    def row(self) -> dict[str, object]:
        """As a row with columns `FIGURE_COLUMNS`."""
        apart = self.difference or Estimate(None)
        return {
            "kind": self.kind, "split": self.split, "target": self.target, "run": self.run, "of": self.of,
            "value": self.estimate.value, "low": self.estimate.low, "high": self.estimate.high, "n": self.n,
            "n_positive": self.n_positive, "p": self.p, "difference": apart.value, "difference_low": apart.low,
            "difference_high": apart.high, "p_difference": self.p_difference,
            "reason": self.estimate.reason or apart.reason, "told": self.told,
        }  # fmt: skip


def measured(
    kind: str, where: tuple[str, str, str], table: pd.DataFrame, draws: int, seed: int, of: str = "",
    permutations: int = 0,
) -> Figure:  # fmt: skip
    """The AUROC of some scores, with its interval, and where asked for a P value against chance.

    Args:
        kind: Of the figure.
        where: Split, target, run.
        table: repeat, fold, patient_id, side, y_true, prob.
        draws: Bootstrap draws of patients.
        seed: Of draws and permutations.
        of: See `Figure`.
        permutations: Behind the P value; 0 for none.
    """
    split, target, run = where
    sample = Sample(table)
    few = sample.too_few
    estimate, p = Estimate(None, reason=sample.lacking or few) if few else _auroc(sample, draws, seed), None
    if permutations and estimate.value is not None:
        p = p_chance(sample, permutations, seed)
    return Figure(kind, split, target, run, of, estimate, sample.n_patients, sample.n_positive, p)


def _auroc(sample: Sample, draws: int, seed: int) -> Estimate:
    if sample.lacking:
        return Estimate(None, reason=sample.lacking)
    found = sample.interval("auroc", draws, seed)
    if found.value is None:
        return Estimate(None, reason="no fold has tested patients of both classes")
    return found if found.low is not None else Estimate(None, reason=found.reason)


def against(figure: Figure, network: pd.DataFrame, other: pd.DataFrame, draws: int, seed: int) -> Figure:
    """The figure of `other` with what the network's AUROC has above it, on the patients and folds that both have."""
    first, second = Sample(network).shared(Sample(other))
    lacking = first.lacking or second.lacking if len(first.table) else "no patient has both scores"
    if lacking or first.fewest < 2:
        return replace(figure, difference=Estimate(None, reason=lacking or "a single patient in the rarer class"))
    paired = first.difference(second, "auroc", draws, seed)
    if np.isnan(paired.value):
        return replace(figure, difference=Estimate(None, reason="no fold has tested patients of both classes"))
    if (paired.draws == 0).all():
        return replace(figure, difference=Estimate(0.0, 0.0, 0.0, "both order the patients alike"), p_difference=1.0)
    difference, p = tested_difference(paired, *(s.interval("auroc", draws, seed) for s in (first, second)))
    return replace(figure, difference=difference, p_difference=p)


def altered(
    network: Figure, scores: pd.DataFrame, variants: Mapping[str, pd.DataFrame], draws: int, seed: int
) -> Iterator[Figure]:
    """What is left of a network's AUROC on altered copies of the same exams.

    Args:
        network: Its figure on the exams as they are.
        scores: Behind it.
        variants: Name -> scores of the altered copies.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    where = (network.split, network.target, network.run)
    for name, words in ALTERED.items():
        if name not in variants or variants[name].empty:
            continue
        found = against(measured(name, where, variants[name], draws, seed), scores, variants[name], draws, seed)
        fewer = f", on the {found.n} of {network.n} patients with such a copy" if found.n < network.n else ""
        yield replace(found, told=_told_altered(found, words + fewer))


def kept(figure: Figure) -> float | None:
    """Share of what a network's AUROC has above 0.5 that is left on altered copies; None where it has little."""
    if figure.estimate.value is None or figure.difference is None or figure.difference.value is None:
        return None
    whole = figure.estimate.value + figure.difference.value - CHANCE
    return None if whole < 0.05 else (figure.estimate.value - CHANCE) / whole


def _told_altered(figure: Figure, words: str) -> str:
    if figure.estimate.value is None:
        return f"{figure.run} {words}: cannot be estimated, because {figure.estimate.reason}."
    share = kept(figure)
    rest = "" if share is None else f" {percent(share)} of what it has above chance is left."
    apart = figure.difference
    change = ""
    if apart is not None and apart.low is not None and apart.high is not None:
        change = f", change {difference_text(Estimate(-(apart.value or 0), -apart.high, -apart.low))}"
    return f"{figure.run} {words}: AUROC {estimate_text(figure.estimate)}{change}.{rest}"


def named(
    what: str, split: str, run: str, exams: pd.DataFrame, groups: pd.Series, draws: int, seed: int
) -> Figure | None:
    """Can a network's features name the site or the scanner of tested patients?

    Args:
        what: "site" or "scanner".
        split: Of the study.
        run: The network.
        exams: Rows of embeddings.parquet of this run and split: repeat, fold, part, patient_id, exam_id, embedding.
        groups: exam_id -> name, "" where unknown.
        draws: Bootstrap draws of patients.
        seed: Of the draws.

    Returns:
        Share of tested patients whose group is named, `of` its share by naming the commonest of all patients, which a
        rule that knows nothing does not beat; None where there are not two groups with enough patients.
    """
    rows = exams[exams["part"] != EXTERNAL]
    rows = rows.assign(group=rows["exam_id"].map(groups).fillna(""))
    rows = rows[rows["group"] != ""].drop_duplicates(["repeat", "fold", "patient_id"])
    sizes = rows.drop_duplicates("patient_id")["group"].value_counts()
    rows = rows[rows["group"].isin(sizes.index[sizes >= MIN_GROUP_PATIENTS])]
    if rows["group"].nunique() < 2:
        return None
    hits, commonest = [], []  # of the same patients, in the same order
    for _, fold in rows.groupby(["repeat", "fold"], sort=False):
        tested = (fold["part"] == "test").to_numpy()
        known = fold.loc[~tested, "group"]
        if not tested.any() or known.nunique() < 2:
            continue
        hit = named_correctly(np.stack(fold["embedding"].to_numpy()).astype(float), fold["group"].to_numpy(), tested)
        hits.append(pd.Series(hit.astype(float), fold.loc[tested, "patient_id"].to_numpy()))
        commonest.append(pd.Series((fold.loc[tested, "group"] == sizes.index[0]).to_numpy(), hits[-1].index))
    if not hits:
        return None
    per_patient = pd.concat(hits).groupby(level=0).mean()
    plain = pd.concat(commonest).astype(float).groupby(level=0).mean()
    chance = float(plain.mean())
    estimate = _share(per_patient.to_numpy(), draws, seed)
    figure = Figure(what, split, "", run, f"{chance:.4f}", estimate, len(per_patient), 0)
    if estimate.value is None:
        return figure
    gained = _share((per_patient - plain).to_numpy(), draws, seed, share=False).low
    verdict = "more often than" if gained is not None and gained > 0 else "not shown to be more often than"
    told = (
        f"From the features of {run} the {what} of {percent(estimate.value)} of the tested patients can be named, "
        f"{estimate_text(estimate)}; that is {verdict} by naming the commonest ({percent(chance)})."
    )
    return replace(figure, told=told)


def _share(hits: np.ndarray, draws: int, seed: int, share: bool = True) -> Estimate:
    """Mean over patients with its interval; that of a share is exact where all are alike."""
    counts = bootstrap_counts(np.zeros(len(hits), int), draws, seed)
    found = resample(lambda w: (w @ hits) / w.sum(axis=-1), counts)
    return bca_interval(found, len(hits) if share else 0)


def baseline_told(figure: Figure, knows: str) -> str:
    """The sentence about what a baseline without pictures reaches."""
    if figure.estimate.value is None:
        return f"{knows}: cannot be estimated, because {figure.estimate.reason}."
    if figure.estimate.low is None:
        return f"{knows}: AUROC {number_text(figure.estimate.value)}; no interval, because {figure.estimate.reason}."
    better = figure.p is not None and figure.p < ALPHA and figure.estimate.low > CHANCE
    words = "better than chance" if better else "not shown to be better than chance"
    return f"{knows}: {words}, AUROC {estimate_text(figure.estimate)}, {figure.n} patients."


def figure_table(figures: list[Figure]) -> pd.DataFrame:
    """All figures; columns `FIGURE_COLUMNS`."""
    return pd.DataFrame([f.row() for f in figures], columns=list(FIGURE_COLUMNS))
