"""From the audit's figures to what is known of each target's best or planned model, and to the verdict on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from scan2gene.core.study import IMAGE, Study, clinical_half, headline, standardised
from scan2gene.core.tables import EXTERNAL
from scan2gene.evaluate.audit import Tables, tested_rows
from scan2gene.evaluate.domain_shift import Shift, differences
from scan2gene.evaluate.external import Transfer, told
from scan2gene.evaluate.facts import Against, Facts, Outside, WholeFacts
from scan2gene.evaluate.headers import LISTED, telling, to_pass_on
from scan2gene.evaluate.leakage import Check
from scan2gene.evaluate.places import cues_against, unchanged
from scan2gene.evaluate.shortcuts import Figure, kept
from scan2gene.evaluate.verdict import Verdict, judge, judge_whole, keeps
from scan2gene.stats.calibration import slope_and_intercept
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.multiple_testing import holm
from scan2gene.stats.resampling import Sample
from scan2gene.tasks.outputs import question, question_names

ALONE = {"only_border": "the border of the pictures", "only_outside": "what lies outside the body"}
HEALTHY = 0.9  # share of test patients for whom a run has an answer
SUSPICIONS = frozenset({"visits and copies"})  # found, yet perhaps no leak


def verdicts(
    study: Study, tables: Tables, figures: Sequence[Figure], checks: Sequence[Check],
    beyond: tuple[Sequence[Transfer], Sequence[Shift]] = ((), ()),
) -> list[Verdict]:  # fmt: skip
    """One verdict for each target, on the first split that does not leave sites out, if there is such a one.

    A target of several classes has one for the whole, and one for each class against the rest.

    Args:
        study: The study.
        tables: Of its run directory.
        figures: From `shortcut_figures`.
        checks: Of leakage.
        beyond: From `outside`.
    """
    fixed = headline(study)
    figures = corrected(figures, fixed)
    main = next((s for s in study.splits if s.kind != "leave_one_site_out"), study.splits[0])
    found = []
    for target, settings in study.targets.items():
        whole = _best(figures, "macro", main.name, target, fixed)
        if whole:  # its classes as the network sees them that is best on the whole
            best = whole[0]
            by_run = [f for f in figures if (f.kind, f.split, f.run) == ("network", main.name, best.run)]
            classes = {
                label: _facts(study, tables, figures, checks, f, whole, beyond)
                for label in settings.classes for f in by_run if f.target == question(target, label)
            }  # fmt: skip
            found.append(judge_whole(WholeFacts(
                target, best.split, best.run, len(whole), best.estimate, best.n, best.p,
                sum(f.kind == "macro" and f.split == main.name and f.run == (fixed or f.run) for f in figures), classes,
                _noun(tables, whole), tuple(standardised(study).get(fixed, ())),
            )))  # fmt: skip
        for name in question_names({target: settings}):
            own = _best(figures, "network", main.name, name, fixed)
            if own:
                facts = _facts(study, tables, figures, checks, own[0], own, beyond)
                found.append(judge(replace(facts, equal=sum(f.estimate.value == own[0].estimate.value for f in own))))
    return found


def _best(figures: Sequence[Figure], kind: str, split: str, target: str, fixed: str) -> list[Figure]:
    """Figures on one split and target, the highest first; where a run was fixed beforehand, its own alone."""
    own = [f for f in figures if (f.kind, f.split, f.target) == (kind, split, target) and f.run == (fixed or f.run)]
    return sorted(own, key=lambda f: 1.0 if f.estimate.value is None else -f.estimate.value)


def corrected(figures: Sequence[Figure], fixed: str = "") -> list[Figure]:
    """Figures with Holm's correction over the networks and targets of a split: against chance, and each baseline.

    Macro figures of targets of several classes are a family of their own, and so are those of a run that was fixed
    beforehand as the answer: it was not chosen among others.
    """
    out, splits = list(figures), dict.fromkeys(f.split for f in figures)
    for kind, split, own in product(("network", "macro", "metadata", "clinical", "added"), splits, (True, False)):
        at = [n for n, f in enumerate(figures) if f.kind == kind and f.split == split and f.run
              and (f.run == fixed) == own]  # fmt: skip
        chance = kind in ("network", "macro")
        values = [figures[n].p if chance else figures[n].p_difference for n in at]
        for n, value in zip(at, holm(values), strict=True):
            out[n] = replace(out[n], p=value) if chance else replace(out[n], p_difference=value)
    return out


def _facts(
    study: Study, tables: Tables, figures: Sequence[Figure], checks: Sequence[Check], best: Figure,
    judged: Sequence[Figure], beyond: tuple[Sequence[Transfer], Sequence[Shift]] = ((), ()),
) -> Facts:  # fmt: skip
    """What is known of one run on one target; `judged` are the figures that it was taken from."""
    fixed, kinds = headline(study), {s.name: s.kind for s in study.splits}
    # what the answer owes to the pictures is asked of the part of it that sees them
    members = tuple(standardised(study).get(fixed, ())) if best.run == fixed else ()
    seeing = IMAGE if IMAGE in members else best.run
    added = _against(figures, best, "added")
    learner, learned = _learner(tables, best, bool(members))
    here = [f for f in figures if (f.split, f.target, f.run) == (best.split, best.target, seeing)]
    by_kind = {f.kind: f for f in here if f.kind not in ("subgroup", "gap")}
    rows = tested_rows(tables.predictions)
    rows = rows[(rows["variant"] == "original") & (rows["run_id"] == best.run) & (rows["split"] == best.split)
                & (rows["target"] == best.target)]  # fmt: skip
    p, patient = rows["prob"].to_numpy(float), rows["patient_id"].to_numpy()
    erased = by_kind.get("erased")
    elsewhere = [
        ("sites that it never saw" if kinds[f.split] == "leave_one_site_out" else f"split {f.split}", f.estimate, f.n)
        for f in figures
        if (f.kind, f.target, f.run) == ("network", best.target, best.run) and f.split != best.split
    ]  # fmt: skip
    bad = [c for c in checks if c.status == "found"]
    sample = Sample(rows)
    return Facts(
        target=best.target, split=best.split, run=best.run, networks=len(judged), auroc=best.estimate, n=best.n,
        n_units=sample.n_units or best.n, n_positive=best.n_positive, p=best.p,
        tested=sum(f.kind == "network" and f.split == best.split and (f.run == fixed) == (best.run == fixed)
                   for f in figures),
        metadata=_against(figures, best, "metadata"), clinical=added or _against(figures, best, "clinical"),
        erased=erased.estimate if erased else None, left=kept(erased) if erased else None,
        erased_n=erased.n if erased else None,
        cues=cues_against(figures, best), alone=_alone(by_kind), unchanged=unchanged(here, best),
        elsewhere=tuple(elsewhere), outside=tuple(_outside(best, *beyond)),
        slope=slope_and_intercept(rows["y_true"].to_numpy(float), p, patient)[0] if len(rows) else None,
        training=tuple(f.sentence for f in tables.training if (f.run, f.split) == (learner or best.run, best.split)),
        learned=learned, learner=learner, noun=_noun(tables, judged), members=members,
        seeing=seeing if seeing != best.run else "", in_mask=tables.on_features.get(seeing, False),
        adds=added is not None, healthy=_healthy(study, tables, best) if members else (),
        gaps=tuple(f.told for f in here if f.kind == "gap" and (f.estimate.low or 0) > 0),
        leaks=tuple(c.told for c in bad if c.name not in SUSPICIONS),
        suspicions=(*(c.told for c in bad if c.name in SUSPICIONS), *_telling_headers(figures, best)),
        fewest=sample.fewest if sample.n_units != sample.n_patients else None,
    )  # fmt: skip


def _noun(tables: Tables, judged: Sequence[Figure]) -> str:
    return "model" if any(f.run in tables.on_features for f in judged) else "network"


def _learner(tables: Tables, best: Figure, fixed: bool) -> tuple[str, float | None]:
    """The network whose fit to its training patients is told, and this; of a fixed mean the study's weakest network."""
    if not fixed:
        return "", tables.learned.get((best.run, best.split, best.target))
    learned = [(value, run) for (run, split, target), value in tables.learned.items()
           if (split, target) == (best.split, best.target)]  # fmt: skip
    return (min(learned)[1], min(learned)[0]) if learned else ("", None)


def _healthy(study: Study, tables: Tables, best: Figure) -> tuple[str, ...]:
    """Runs that see the pictures and answered for nearly all patients; none where one of them did not."""
    rows = tables.predictions
    rows = rows[(rows["split"] == best.split) & (rows["target"] == best.target) & (rows["part"] == "test")]
    rows = rows[(rows["variant"] == "original") & (rows["run_id"] != clinical_half(study))]
    means = standardised(study)
    shares = rows[~rows["run_id"].isin(means)].groupby("run_id", sort=False)["prob"].apply(lambda p: p.notna().mean())
    return tuple(map(str, shares.index)) if len(shares) and (shares >= HEALTHY).all() else ()


def _telling_headers(figures: Sequence[Figure], best: Figure) -> list[str]:
    own = [f for f in figures if (f.kind, f.split, f.target) == ("headers", best.split, best.target)]
    return [to_pass_on(f.told.partition(LISTED)[0]) + "." for f in own if telling(f.p)]


def _alone(by_kind: Mapping[str, Figure]) -> tuple[tuple[str, Estimate], ...]:
    """Copies without the inside of the body by which the network keeps its skill."""
    return tuple(
        (words, by_kind[kind].estimate) for kind, words in ALONE.items()
        if kind in by_kind and keeps(by_kind[kind].estimate, kept(by_kind[kind]))
    )  # fmt: skip


def _outside(best: Figure, found: Sequence[Transfer], shifted: Sequence[Shift]) -> Iterator[Outside]:
    """The best network at external sites."""
    for one in found:
        if (one.kind, one.run, one.target) == (EXTERNAL, best.run, best.target):
            apart = differences(shifted, one.split, one.target)
            yield Outside(one.where, told(one), one.outside, one.lost, apart)


def _against(figures: Sequence[Figure], best: Figure, kind: str) -> Against | None:
    found = [f for f in figures if (f.kind, f.split, f.target) == (kind, best.split, best.target)]
    beside = next((f for f in found if f.run == best.run), None)
    if beside is None:
        return None
    return Against(beside.of, beside.estimate, beside.p, beside.difference or Estimate(None), beside.p_difference)
