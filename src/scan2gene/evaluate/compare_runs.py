"""One run against the others, on the same patients, resampled together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scan2gene.evaluate.multiclass import ClassSample
from scan2gene.stats.auroc_difference import tested_difference
from scan2gene.stats.intervals import Estimate, bca_interval, p_value
from scan2gene.stats.metrics import METRICS
from scan2gene.stats.multiple_testing import holm
from scan2gene.stats.resampling import Sample

COMPARED = ("precision", "recall", "f1", "accuracy", "auroc")  # the columns of a table of models
COMPARED_WHOLE = ("auroc_macro",)  # of a target of several classes


def compare_with_best(
    samples: Mapping[str, Sample | ClassSample], found: Mapping[str, Mapping[str, Estimate]], draws: int, seed: int,
    fixed: str = "",
) -> list[dict[str, Any]]:  # fmt: skip
    """The best run of each metric, or one that was fixed beforehand, against every other on the patients of both.

    Both runs are scored on the same draws of patients, so what makes a patient easy or hard for
    both cancels. P values are two-sided and corrected for the number of other runs (Holm).

    Without a fixed run the best one is chosen on the patients that it is then tested on. To ask that
    it differs from *every* other keeps that harmless: where all are equal, that happens in fewer than
    one study in twenty (tested). A single row says less.

    Args:
        samples: Run -> its scored rows of one split and target.
        found: Run -> metric -> figure on all its patients.
        draws: Bootstrap draws.
        seed: Of the draws.
        fixed: The run that is compared with every other, whatever its figures; "" takes the best.

    Returns:
        Rows of comparisons.csv without split and target; none for a single run.

    A bootstrap of few patients knows only differences of one sign and would call them certain.
    So no P value is below that of the exact sign test when all patients on whom the two runs
    differ speak for the same one: 2 / 2^m for m of them.

    Source: Holm 1979; interval and P value from Efron 1987 (BCa) on the paired difference.
    """
    rows: list[dict[str, Any]] = []
    shared: dict[tuple[str, str], tuple[Any, Any]] = {}  # so that the draws of a pair are made once
    whole = any(isinstance(sample, ClassSample) for sample in samples.values())
    for metric in COMPARED_WHOLE if whole else COMPARED:
        known = {run: e[metric].value for run, e in found.items() if metric in e and e[metric].value is not None}
        if len(known) < 2:
            continue
        best = fixed if fixed in known else max(known, key=lambda run: known[run])  # type: ignore[arg-type, return-value]
        family: list[dict[str, Any]] = []
        for run in known:
            if run != best:
                if (best, run) not in shared:
                    shared[best, run] = samples[best].shared(samples[run])  # type: ignore[arg-type]
                first, second = shared[best, run]
                base = {"metric": metric, "best": best, "run_id": run, "n": first.n_patients}
                family.append(base | _difference(metric, first, second, draws, seed))
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
        rows += family
    return rows


def _difference(metric: str, first: Any, second: Any, draws: int, seed: int) -> dict[str, Any]:
    if first.lacking:
        return {"difference": None, "low": None, "high": None, "p": None, "reason": first.lacking}
    paired = first.difference(second, metric, draws, seed)
    if metric == "auroc":
        estimate, p = tested_difference(paired, *(s.interval(metric, draws, seed) for s in (first, second)))
    else:
        estimate, p = bca_interval(paired), p_value(paired)
    return {
        "difference": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "p": None if p is None else max(p, min(1.0, 2.0 ** (1 - len(_differing(metric, first, second))))),
        "reason": estimate.reason,
    }


def _differing(metric: str, first: Sample | ClassSample, second: Sample | ClassSample) -> set[str]:
    """Patients on whom two runs differ in what a metric sees of them."""
    if isinstance(first, ClassSample) and isinstance(second, ClassSample):
        pairs = zip(first.by_class.values(), second.by_class.values(), strict=True)
        return set().union(*(_differing("auroc", *pair) for pair in pairs))
    table, column = first.table, METRICS[metric]
    ours, theirs = (s.table[column].to_numpy(float) for s in (first, second))
    if column != "decision":  # scores of two networks share no scale; who comes before whom is what counts
        fits = [table["repeat"].to_numpy(), table["fold"].to_numpy()]
        ours, theirs = (pd.Series(v).groupby(fits).rank().to_numpy() for v in (ours, theirs))
    apart = ours != theirs
    if metric == "recall":
        apart &= table["y_true"].to_numpy(float) == 1
    return set(table.loc[apart, "patient_id"])
