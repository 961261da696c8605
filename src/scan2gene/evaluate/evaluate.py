"""The prediction table to figures: per patient, with thresholds from validation and intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.tables import METRIC_COLUMNS
from scan2gene.evaluate.intervals import Estimate, bca, bootstrap_counts
from scan2gene.evaluate.metrics import METRICS, WITHIN_FOLD, auroc
from scan2gene.evaluate.thresholds import g_mean_threshold

FOLD = ["run_id", "split", "repeat", "fold"]
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` gives: the metric table, one threshold per fold and target, results by run."""

    metrics: pd.DataFrame
    thresholds: list[dict[str, Any]]
    results: dict[str, Any]


def evaluate(predictions: pd.DataFrame, split: pd.DataFrame, draws: int, seed: int) -> Evaluation:
    """Score every run, split and target on its test patients.

    Args:
        predictions: The prediction table; exams are averaged to patients first.
        split: split.csv, to see that nobody is missing.
        draws: Bootstrap draws.
        seed: Of the draws; one set of draws per target, so runs are compared on the same.

    Raises:
        RunError: The table lacks a patient that the split names.
    """
    check_complete(predictions, split)
    patients = to_patients(predictions)
    thresholds = _thresholds(patients)
    rows: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    for (run, name, target), table in patients[patients["part"] == "test"].groupby(["run_id", "split", "target"]):
        scored = _with_decisions(table, thresholds)
        found = _score(scored, draws, seed)
        n_failed = int((table["status"] != "ok").sum())
        base = {
            "run_id": run,
            "split": name,
            "target": target,
            "n": scored["patient_id"].nunique(),
            "n_positive": int(scored.drop_duplicates("patient_id")["y_true"].sum()),
            "n_failed": n_failed,
        }
        for metric, figure in found.items():
            rows.append({**base, "metric": metric, **vars(figure)})
        results.setdefault(str(run), {}).setdefault(str(name), {})[str(target)] = {
            **{k: v for k, v in base.items() if k.startswith("n")},
            "metrics": {m: vars(f) for m, f in found.items()},
            "auroc_by_fold": _by_fold(scored),
        }
    return Evaluation(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)), thresholds, results)


def check_complete(predictions: pd.DataFrame, split: pd.DataFrame) -> None:
    """Refuse a table in which a patient of the split has no row, or a part differs from the split's.

    Raises:
        RunError: Naming the first ones.
    """
    keys = ["split", "repeat", "fold", "patient_id", "part"]
    wanted = set(split[keys].itertuples(index=False, name=None))
    for run, table in predictions.groupby("run_id"):
        have = set(table[keys].itertuples(index=False, name=None))
        if have != wanted:
            missing, extra = sorted(wanted - have)[:3], sorted(have - wanted)[:3]
            raise RunError(
                f"predictions of run {run} do not cover the split: missing {missing}, not in the split {extra}. "
                "Run predict again."
            )


def to_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """Exams to patients: mean probability over the exams that were predicted.

    A patient none of whose exams could be predicted keeps a row with status "failed".
    """
    keys = [*FOLD, "part", "target", "patient_id", "site"]
    grouped = predictions.groupby(keys, dropna=False, sort=True)
    table = grouped.agg(
        y_true=("y_true", "first"), prob=("prob", "mean"), exams=("exam_id", "nunique"), reason=("reason", "first")
    ).reset_index()
    table["status"] = np.where(table["prob"].notna(), "ok", "failed")
    return table


def _thresholds(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """One threshold per fold and target, from the validation patients of all folds of its split and repeat.

    Patients in the fold's own test part are left out: in k-fold they are validation patients
    of other folds, and their labels must not choose the cut by which they are judged.
    """
    rows = []
    for key, table in patients.groupby(["run_id", "split", "repeat", "target"]):
        validation = table[table["part"] == "validation"].dropna(subset=["y_true", "prob"])
        for fold, own in table.groupby("fold"):
            tested = own.loc[own["part"] == "test", "patient_id"]
            known = validation[~validation["patient_id"].isin(tested)]
            positives = int(known["y_true"].sum())
            reason = ""
            if 0 < positives < len(known):
                value = g_mean_threshold(known["y_true"].to_numpy(), known["prob"].to_numpy())
            else:
                value = DEFAULT_THRESHOLD
                reason = f"validation has {positives} positive of {len(known)} labelled patients; {value} is used"
            run, split, repeat, target = key
            names = dict(zip([*FOLD, "target"], (run, split, repeat, fold, target), strict=True))
            rows.append({**names, "threshold": value, "n": len(known), "n_positive": positives, "reason": reason})
    return rows


def _with_decisions(table: pd.DataFrame, thresholds: list[dict[str, Any]]) -> pd.DataFrame:
    """Labelled, predicted rows with the decision at their fold's threshold."""
    cuts = pd.DataFrame(thresholds)[[*FOLD, "target", "threshold"]]
    scored = table.dropna(subset=["y_true", "prob"]).merge(cuts, on=[*FOLD, "target"], how="left")
    return scored.assign(decision=(scored["prob"] >= scored["threshold"]).astype(float))


def _score(table: pd.DataFrame, draws: int, seed: int) -> dict[str, Estimate]:
    """Every metric of one run, split and target, patients resampled within class.

    With repeated splits a metric is the mean over repeats; a drawn patient counts in all.
    """
    names, patient = np.unique(table["patient_id"], return_inverse=True)
    truth = table.groupby("patient_id")["y_true"].first().reindex(names).to_numpy()
    if len(names) == 0 or truth.sum() in (0, len(truth)):
        why = f"{int(truth.sum())} positive among {len(names)} labelled test patients; both classes are needed"
        return {m: Estimate(None, reason=why) for m in METRICS}
    counts = bootstrap_counts(truth, draws, seed)
    y, fold, repeat = (table[c].to_numpy() for c in ("y_true", "fold", "repeat"))
    columns = {c: table[c].to_numpy(float) for c in ("prob", "decision")}

    def statistic(metric: str, weights: np.ndarray) -> np.ndarray:
        function, column = METRICS[metric]
        values = []
        for number in np.unique(repeat):
            rows = repeat == number
            extra = {"groups": fold[rows]} if metric in WITHIN_FOLD else {}
            values.append(function(y[rows], columns[column][rows], weights[..., patient[rows]], **extra))
        return np.mean(values, axis=0)

    return {m: bca(lambda w, m=m: statistic(m, w), counts) for m in METRICS}  # type: ignore[misc]


def _by_fold(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (repeat, fold), part in table.groupby(["repeat", "fold"]):
        value = float(auroc(part["y_true"].to_numpy(), part["prob"].to_numpy()))
        rows.append(
            {
                "repeat": int(repeat),
                "fold": int(fold),
                "sites": sorted(part["site"].dropna().unique().tolist()),
                "n": len(part),
                "n_positive": int(part["y_true"].sum()),
                "auroc": None if np.isnan(value) else value,
            }
        )
    return rows
