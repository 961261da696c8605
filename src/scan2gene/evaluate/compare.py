"""Any tables of scores, judged alike: every run against chance, every two on their common patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.text import estimate_text
from scan2gene.evaluate.multiclass import ClassSample
from scan2gene.evaluate.probabilities import FEW, no_probabilities, of_probabilities
from scan2gene.evaluate.score_table import Scores
from scan2gene.stats.auroc_difference import tested_difference
from scan2gene.stats.delong import delong_difference, delong_interval
from scan2gene.stats.intervals import SINGLE, Estimate, bca_interval, p_value
from scan2gene.stats.multiple_testing import holm
from scan2gene.stats.permutation import PERMUTATIONS, p_chance, p_chance_of_mean
from scan2gene.stats.resampling import PERSON, Sample

DRAWS = 10_000  # so that P values of many pairs can still be small after correction
SEED = 1
FURTHER = ("average_precision", "brier", "slope", "intercept", "ece", "ece_if_calibrated")


@dataclass(frozen=True)
class Judged:
    """One run on one target.

    Args:
        file: The run's name.
        target: What is predicted.
        n: Patients.
        n_units: Sides of them, or patients again.
        n_positive: Of the units; None of a target of several classes as a whole, whose AUROC is the macro one.
        few: Why so few patients are not judged; empty where they are enough.
        auroc: With its BCa interval over patients, unadjusted.
        p_chance: Two-sided, by permutation; None where undefined.
        p_holm: Corrected for all runs and targets.
        delong: For comparison; where rows are patients of one fold.
        further: Name -> figure: average precision, and calibration where scores are probabilities.
        notes: About its rows.
    """

    file: str
    target: str
    n: int
    n_units: int
    n_positive: int | None
    auroc: Estimate
    p_chance: float | None
    p_holm: float | None
    delong: Estimate | None
    further: dict[str, Estimate]
    notes: tuple[str, ...]
    few: str = ""


@dataclass(frozen=True)
class Pair:
    """Two runs on the patients that both have: AUROC of `a` less that of `b`; `p_holm` is over all pairs."""

    a: str
    b: str
    target: str
    n: int
    difference: Estimate
    p: float | None
    p_holm: float | None
    p_delong: float | None
    notes: tuple[str, ...]


def compare(
    scores: Sequence[Scores], draws: int = DRAWS, permutations: int = PERMUTATIONS, seed: int = SEED
) -> tuple[list[Judged], list[Pair]]:
    """Judge every run against chance, and every two runs of a target against each other.

    Args:
        scores: From `read_scores`.
        draws: Bootstrap draws of patients; both runs of a pair are scored on the same.
        permutations: Behind `p_chance`.
        seed: Of draws and permutations.

    Source: Efron 1987 (BCa, also on the paired difference); Holm 1979.
    """
    scores, samples = _with_wholes(scores)
    runs = [
        (_judged_whole if isinstance(sample, ClassSample) else _judged)(s, sample, draws, permutations, seed)
        for s, sample in zip(scores, samples, strict=True)
    ]  # fmt: skip
    adjusted = holm([r.p_chance for r in runs])
    runs = [Judged(**vars(r) | {"p_holm": p}) for r, p in zip(runs, adjusted, strict=True)]
    pairs = [
        (_pair_of_wholes if isinstance(samples[i], ClassSample) else _pair)(
            scores[i], scores[j], samples[i], samples[j], draws, seed
        )
        for i, j in combinations(range(len(scores)), 2)
        if scores[i].target == scores[j].target
    ]
    adjusted = holm([pair.p for pair in pairs])
    return runs, [Pair(**vars(pair) | {"p_holm": p}) for pair, p in zip(pairs, adjusted, strict=True)]


def _with_wholes(scores: Sequence[Scores]) -> tuple[list[Scores], list[Any]]:
    """Scores and their samples; before the classes of a target the target as a whole."""
    every: list[Scores] = []
    samples: list[Any] = []
    for s in scores:
        if s.whole and not any((s.file, s.whole) == (other.file, other.target) for other in every):
            of_target = (other for other in scores if (other.file, other.whole) == (s.file, s.whole))
            classes = sorted(of_target, key=lambda other: other.target)
            every.append(Scores(s.file, s.whole, s.table, s.notes))
            samples.append(ClassSample({c.target.removeprefix(f"{s.whole}:"): Sample(c.table) for c in classes}))
        every.append(s)
        samples.append(Sample(s.table))
    return every, samples


def _judged_whole(scores: Scores, sample: ClassSample, draws: int, permutations: int, seed: int) -> Judged:
    """A target of several classes by its macro AUROC; probabilities are looked at class by class."""
    p = None if sample.lacking else p_chance_of_mean(list(sample.by_class.values()), permutations, seed)
    sums = sum(s.table["prob"].to_numpy() for s in sample.by_class.values())
    figures = "; ".join(
        f"{name} {estimate_text(sample.interval(metric, draws, seed))}"
        for metric, name in (("accuracy", "accuracy"), ("balanced_accuracy", "balanced accuracy"), ("kappa", "kappa"))
    )
    notes = [f"By the largest score: {figures}."]
    notes += ["Scores of the classes do not add up to 1."] if (np.abs(sums - 1) > 0.01).any() else []
    return Judged(
        scores.file, scores.target, sample.n_patients, sample.n_units, None,
        sample.interval("auroc_macro", draws, seed), p, p, None,
        {name: Estimate(None, reason="they are given for each class") for name in FURTHER}, (*scores.notes, *notes),
        sample.too_few,
    )  # fmt: skip


def _judged(scores: Scores, sample: Sample, draws: int, permutations: int, seed: int) -> Judged:
    table = sample.table
    lacking = _lacking(sample)
    p = None if lacking else p_chance(sample, permutations, seed)
    return Judged(
        file=scores.file,
        target=scores.target,
        n=sample.n_patients,
        n_units=sample.n_units,
        n_positive=sample.n_positive,
        few=sample.too_few,
        auroc=Estimate(None, reason=lacking) if lacking else sample.interval("auroc", draws, seed),
        p_chance=p,
        p_holm=p,
        delong=delong_interval(table["y_true"].to_numpy(), table["prob"].to_numpy()) if _simple(sample) else None,
        further=_further(sample, lacking, draws, seed),
        notes=scores.notes + _unpaired(table) + (() if lacking else _within_sites(table, draws, seed)),
    )


def _further(sample: Sample, lacking: str, draws: int, seed: int) -> dict[str, Estimate]:
    """FURTHER of one run; with a reason where there is none."""
    if lacking:
        return {name: Estimate(None, reason=lacking) for name in FURTHER}
    found = {"average_precision": sample.interval("average_precision", draws, seed)}
    why = no_probabilities(sample.table["prob"])
    why = why or (f"fewer than {FEW} patients" if sample.n_patients < FEW else "")
    if why:
        return found | {name: Estimate(None, reason=why) for name in FURTHER[1:]}
    y, prob = (sample.table[c].to_numpy(float) for c in ("y_true", "prob"))
    calibration = of_probabilities(y, prob, sample.columns["patient"], sample.counts(draws, seed), seed)
    return found | {name: calibration[name] for name in FURTHER[1:]}


def _lacking(sample: Sample) -> str:
    """Why there is no AUROC; empty where there is one."""
    if not sample.lacking and np.isnan(sample.statistic("auroc")):
        return "no fold has patients of both classes"
    return sample.lacking


def _unpaired(table: pd.DataFrame) -> tuple[str, ...]:
    """Patients whose fold has one class meet no pair."""
    classes = table.groupby(["repeat", "fold"])["y_true"].transform("nunique")
    alone = table.loc[classes == 1, "patient_id"].nunique()
    if not alone or alone == table["patient_id"].nunique():
        return ()
    return (f"{alone} patients were tested in folds with one class only and do not count in the AUROC.",)


def _within_sites(table: pd.DataFrame, draws: int, seed: int) -> tuple[str, ...]:
    """What is left of the AUROC when the site cannot help: a label that goes with the site lifts the whole one."""
    known = table[table["site"] != ""]
    if known["site"].nunique() < 2:
        return ()
    lacking = table["patient_id"].nunique() - known["patient_id"].nunique()
    table = known
    groups = pd.factorize(pd.MultiIndex.from_frame(table[["fold", "site"]]))[0]
    inside = Sample(table.assign(fold=groups))
    if _lacking(inside):
        return ("No site has patients of both classes, so the score may tell sites apart and nothing else.",)
    found = inside.interval("auroc", draws, seed)
    unknown = f", without {lacking} patients of unknown site" if lacking else ""
    return (f"Pairs of patients from one site alone give an AUROC of {estimate_text(found)}{unknown}.",)


def _simple(sample: Sample) -> bool:
    """One row per patient, on one scale: what DeLong is for."""
    table = sample.table
    return not sample.lacking and not table["patient_id"].duplicated().any() and table["fold"].nunique() == 1


def _pair(one: Scores, two: Scores, first: Sample, second: Sample, draws: int, seed: int) -> Pair:
    first, second, notes = _on_common(first, second)
    n = first.n_patients
    lacking = "the two have no patient in common" if n == 0 else _lacking(first) or _lacking(second)
    if lacking:
        return Pair(one.file, two.file, one.target, n, Estimate(None, reason=lacking), None, None, None, notes)
    paired = first.difference(second, "auroc", draws, seed)
    p, p_delong = None, None
    if min(first.fewest, second.fewest) < 2:
        estimate = Estimate(paired.value, reason=SINGLE)
    elif _same_order(first, second):
        estimate, p = Estimate(0.0, 0.0, 0.0, "both put the patients in the same order"), 1.0
    else:
        estimate, p = tested_difference(paired, *(s.interval("auroc", draws, seed) for s in (first, second)))
    if _simple(first) and _simple(second):
        y, a = (first.table[c].to_numpy() for c in ("y_true", "prob"))
        _, p_delong = delong_difference(y, a, second.table["prob"].to_numpy())
    return Pair(one.file, two.file, one.target, n, estimate, p, p, p_delong, notes)


def _pair_of_wholes(
    one: Scores, two: Scores, first: ClassSample, second: ClassSample, draws: int, seed: int
) -> Pair:  # fmt: skip
    def nothing(reason: str, n: int = 0) -> Pair:
        return Pair(one.file, two.file, one.target, n, Estimate(None, reason=reason), None, None, None, ())

    if list(first.by_class) != list(second.by_class):
        return nothing("the two have other classes")
    common = {c: _on_common(sample, second.by_class[c]) for c, sample in first.by_class.items()}
    first, second = (ClassSample({c: pair[at] for c, pair in common.items()}) for at in (0, 1))  # type: ignore[misc]
    lacking = "the two have no patient in common" if not first.n_patients else first.lacking or second.lacking
    if lacking or first.fewest < 2:
        return nothing(lacking or SINGLE, first.n_patients)
    paired, notes = first.difference(second, "auroc_macro", draws, seed), next(iter(common.values()))[2]
    estimate, p = bca_interval(paired), p_value(paired)
    if all(_same_order(*pair[:2]) for pair in common.values()):
        estimate, p = Estimate(0.0, 0.0, 0.0, "both put the patients in the same order"), 1.0
    return Pair(one.file, two.file, one.target, first.n_patients, estimate, p, p, None, notes)


def _on_common(first: Sample, second: Sample) -> tuple[Sample, Sample, tuple[str, ...]]:
    """Both on the patients, or sides, that both have, ordered alike, and what has to be said of it."""
    ours, theirs = (pd.MultiIndex.from_frame(s.table[PERSON]) for s in (first, second))
    shared = ours.unique().intersection(theirs.unique())
    notes = []
    if len(shared) < max(len(ours.unique()), len(theirs.unique())):
        counts = [s.table["patient_id"].nunique() for s in (first, second)]
        notes.append(f"{shared.get_level_values(0).nunique()} patients are in both, of {counts[0]} and {counts[1]}.")
        first, second = (Sample(s.table[i.isin(shared)]) for s, i in ((first, ours), (second, theirs)))
    if len(shared) and not _seated_alike(first, second):
        notes.append("The two were tested in different folds; each counts pairs within its own.")
    return first, second, tuple(notes)


def _seated_alike(first: Sample, second: Sample) -> bool:
    """Whether the same patients were tested together, whatever folds are called."""
    (one, folds), (two, others) = _seats(first), _seats(second)
    who = ["repeat", *PERSON]
    return len(one) == len(two) and (one[who].to_numpy() == two[who].to_numpy()).all() and (folds == others).all()


def _seats(sample: Sample) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows by repeat and patient, and folds numbered in the order of their first patients."""
    table = sample.table.sort_values(["repeat", *PERSON], kind="stable", ignore_index=True)
    return table, pd.factorize(pd.MultiIndex.from_frame(table[["repeat", "fold"]]))[0]


def _same_order(first: Sample, second: Sample) -> bool:
    """Whether no pair of patients could tell the two apart."""
    from scipy.stats import rankdata

    if not _seated_alike(first, second):
        return False
    (one, folds), (two, _) = _seats(first), _seats(second)
    scores = [t["prob"].to_numpy() for t in (one, two)]
    inside = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    return all((rankdata(scores[0][rows]) == rankdata(scores[1][rows])).all() for rows in inside)
