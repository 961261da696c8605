"""The prediction table to figures: per patient or side, with thresholds from validation and intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.tables import METRIC_COLUMNS
from scan2gene.evaluate.ensemble import ALL
from scan2gene.evaluate.intervals import Estimate, bca, bootstrap_counts
from scan2gene.evaluate.metrics import METRICS, SHARES, WITHIN_FOLD, auroc
from scan2gene.evaluate.thresholds import g_mean_threshold

FOLD = ["run_id", "split", "variant", "repeat", "fold"]
PERSON = ["patient_id", "side"]  # what is scored: a patient, or a side of one
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` gives: the metric table, one threshold per fold and target, results by run."""

    metrics: pd.DataFrame
    thresholds: list[dict[str, Any]]
    results: dict[str, Any]


def evaluate(predictions: pd.DataFrame, split: pd.DataFrame, draws: int, seed: int) -> Evaluation:
    """Score every run, split, variant and target on its test patients, or on their sides.

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
    thresholds = _thresholds(patients[patients["fold"] != ALL])
    rows: list[dict[str, Any]] = []
    results: dict[str, Any] = {}
    tested = patients[patients["part"] == "test"]
    decided = _with_decisions(tested, thresholds)
    for (run, name, variant, target), table in tested.groupby(["run_id", "split", "variant", "target"]):
        scored = decided.loc[table.index].dropna(subset=["y_true", "prob"])
        found = _score(scored, draws, seed)
        units = scored.drop_duplicates(PERSON)
        counted = {
            "n": units["patient_id"].nunique(),
            "n_units": len(units),
            "n_positive": int(units["y_true"].sum()),
            "n_failed": int((table["status"] != "ok").sum()),
        }
        base = {"run_id": run, "split": name, "variant": variant, "target": target, **counted}
        for metric, figure in found.items():
            rows.append({**base, "metric": metric, **vars(figure)})
        result = {**counted, "metrics": {m: vars(f) for m, f in found.items()}, "auroc_by_fold": _by_fold(scored)}
        place = results.setdefault(str(run), {}).setdefault(str(name), {}).setdefault(str(target), {})
        if variant == "original":
            place.update(result)
        else:
            place.setdefault("variants", {})[str(variant)] = result
    return Evaluation(pd.DataFrame(rows, columns=list(METRIC_COLUMNS)), thresholds, results)


def check_complete(predictions: pd.DataFrame, split: pd.DataFrame) -> None:
    """Refuse a table in which a patient of the split has no row, or a part differs from the split's.

    Raises:
        RunError: Naming the first ones.
    """
    keys = ["split", "repeat", "fold", "patient_id", "part"]
    wanted = set(split[keys].itertuples(index=False, name=None))
    tested = split.loc[split["part"] == "test", keys].assign(repeat=ALL, fold=ALL)
    for (run, variant), table in predictions.groupby(["run_id", "variant"]):
        over_repeats = table["fold"] == ALL
        lacking = _differences(table.loc[~over_repeats, keys], wanted) if not over_repeats.all() else []
        for name, part in table[over_repeats].groupby("split"):
            lacking += _differences(part[keys], set(tested[tested["split"] == name].itertuples(index=False, name=None)))
        if lacking:
            raise RunError(
                f"predictions of run {run}{'' if variant == 'original' else f', {variant},'} do not cover the "
                f"split: {'; '.join(lacking)}. Run predict again."
            )


def _differences(table: pd.DataFrame, wanted: set[tuple[Any, ...]]) -> list[str]:
    have = set(table.itertuples(index=False, name=None))
    if have == wanted:
        return []
    return [f"missing {sorted(wanted - have)[:3]}, not in the split {sorted(have - wanted)[:3]}"]


def to_patients(predictions: pd.DataFrame) -> pd.DataFrame:
    """Exams to patients, or to their sides: mean probability over the exams that were predicted.

    A patient none of whose exams could be predicted keeps a row with status "failed".
    """
    keys = [*FOLD, "part", "target", *PERSON, "site"]
    grouped = predictions.groupby(keys, dropna=False, sort=True)
    table = grouped.agg(
        y_true=("y_true", "first"), prob=("prob", "mean"), exams=("exam_id", "nunique"), reason=("reason", "first")
    ).reset_index()
    table["status"] = np.where(table["prob"].notna(), "ok", "failed")
    return table


def _thresholds(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """One threshold per fold, variant and target, from the validation patients of all folds of its split and repeat.

    Patients in the fold's own test part are left out: in k-fold they are validation patients
    of other folds, and their labels must not choose the cut by which they are judged.
    """
    rows = []
    for key, table in patients.groupby(["run_id", "split", "variant", "repeat", "target"]):
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
            run, split, variant, repeat, target = key
            names = dict(zip([*FOLD, "target"], (run, split, variant, repeat, fold, target), strict=True))
            rows.append({**names, "threshold": value, "n": len(known), "n_positive": positives, "reason": reason})
    return rows


def _with_decisions(tested: pd.DataFrame, thresholds: list[dict[str, Any]]) -> pd.DataFrame:
    """Test rows with the decision at their fold's threshold; the index stays.

    What stands for several repeats has no validation rows of its own that leave a patient's
    labels out, so each patient is judged at the mean logit of its members' thresholds.
    """
    cuts = pd.DataFrame(thresholds, columns=[*FOLD, "target", "threshold"])
    placed = tested.reset_index().merge(cuts, on=[*FOLD, "target"], how="left").set_index("index")
    person = ["run_id", "split", "target", *PERSON]
    members = placed[placed["variant"] == "original"]
    cut = members["threshold"].clip(1e-12, 1 - 1e-12)
    logits = np.log(cut / (1 - cut))
    means = logits.groupby([members[c] for c in person]).mean().rename("mean").reset_index()
    joint = placed["fold"] == ALL
    shared = placed.loc[joint, person].merge(means, on=person, how="left")["mean"].to_numpy(float)
    placed.loc[joint, "threshold"] = 0.5 * (1 + np.tanh(shared / 2))
    return placed.assign(decision=(placed["prob"] >= placed["threshold"]).astype(float))


def _score(table: pd.DataFrame, draws: int, seed: int) -> dict[str, Estimate]:
    """Every metric of one run, split, variant and target; patients are resampled, both sides of one together.

    Patients are drawn among those with as many positive and negative sides. With repeated
    splits a metric is the mean over repeats; a drawn patient counts in all.
    """
    names, patient = np.unique(table["patient_id"], return_inverse=True)
    units = table.drop_duplicates(PERSON)
    truth = units["y_true"].to_numpy()
    if len(truth) == 0 or truth.sum() in (0, len(truth)):
        who = "labelled test patients" if len(truth) == len(names) else "labelled sides of test patients"
        why = f"{int(truth.sum())} positive among {len(truth)} {who}; both classes are needed"
        return {m: Estimate(None, reason=why) for m in METRICS}
    sides = units.groupby("patient_id")["y_true"].agg(["sum", "size"]).reindex(names)
    _, strata = np.unique(sides.to_numpy(), axis=0, return_inverse=True)
    counts = bootstrap_counts(strata.ravel(), draws, seed)
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

    fewest = int(min(units.loc[units["y_true"] == c, "patient_id"].nunique() for c in (0, 1)))

    def estimate(metric: str) -> Estimate:
        return bca(lambda w: statistic(metric, w), counts, fewest if metric in SHARES else 0)

    return {m: estimate(m) for m in METRICS}


def _by_fold(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows = []
    for (repeat, fold), part in table.groupby(["repeat", "fold"]):
        value = float(auroc(part["y_true"].to_numpy(), part["prob"].to_numpy()))
        rows.append(
            {
                "repeat": int(repeat),
                "fold": int(fold),
                "sites": sorted(part["site"].dropna().unique().tolist()),
                "n": part["patient_id"].nunique(),
                "n_units": len(part),
                "n_positive": int(part["y_true"].sum()),
                "auroc": None if np.isnan(value) else value,
            }
        )
    return rows
