"""Leakage into what is fitted or planned: statistics, thresholds, the epoch that is kept, and what means are made of.

Each is computed anew from the rows that it may have seen, and held against what the run kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.text import counted, listed
from scan2gene.evaluate.leakage import FOLD, Check, outcome


def fitted_inside(
    fitted: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], table: pd.DataFrame, split: pd.DataFrame,
    given: Sequence[str] = (), harmonised: Sequence[tuple[Mapping[str, Any], str, bool]] = (),
) -> Check:  # fmt: skip
    """Were statistics that are learned across patients learned from the training part of their own fold?

    The medians that models on tables fill gaps with are computed anew from their training part, and compared.

    Args:
        fitted: (split, repeat, fold), and model.json with columns and median.
        table: patient_id and the columns of those models, a row per exam.
        split: split.csv.
        given: Steps whose statistics came with the study file.
        harmonised: (split, repeat, fold), run, and whether ComBat learned anew from training rows is the one kept.
    """
    name, agree = "statistics", 0
    cases = [
        {c: fold[c] for c in FOLD} | {"what": f"{run}: ComBat is not what the fold's training rows give"}
        for fold, run, same in harmonised if not same
    ]  # fmt: skip
    everyone = table.drop(columns="patient_id").median()
    for fold, model in fitted:
        rows = split[(split[FOLD] == [fold[c] for c in FOLD]).all(axis=1) & (split["part"] == "train")]
        columns, kept = list(model["columns"]), np.array(model["median"], float)
        inside = table.loc[table["patient_id"].isin(rows["patient_id"]), columns].median().to_numpy()
        every = everyone[columns].to_numpy()
        same = np.isclose(inside, kept, rtol=1e-6)
        agree += int(same.sum())
        for n in np.flatnonzero(np.isfinite(inside) & ~same & np.isclose(every, kept, rtol=1e-6)):
            cases.append({c: fold[c] for c in FOLD} | {
                "what": f"the median of {columns[n]} is that of all patients, {every[n]:g}; the training part has "
                f"{inside[n]:g}"
            })  # fmt: skip
    if cases:
        return outcome(name, cases, f"{len(cases)} statistics are not those of the training part.", "")
    if given:
        return Check(
            name, "unknown",
            f"Landmarks of step {listed(given)} came with the study file; they must be learned from patients that "
            "are never tested, and the run cannot tell.",
        )  # fmt: skip
    anew = [counted(n, what) for n, what in ((agree, "median"), (len(harmonised), "ComBat fit")) if n]
    rest = f"; computed anew from training rows, the same came out: {listed(anew)}." if anew else (
        "; of what is learned across patients nothing could be computed anew."
    )  # fmt: skip
    return Check(name, "clean", f"Prepared volumes see one exam each{rest}")


def thresholds_inside(thresholds: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> Check:
    """Were decision thresholds chosen on patients who are not tested with them?

    These are those of the validation part, or without one those whom the other folds of the repeat test.

    Args:
        thresholds: As kept by the run.
        again: The same, chosen anew from the prediction table.
    """
    keys = ["run_id", "split", "variant", "repeat", "fold", "target"]
    fresh = {tuple(row[k] for k in keys): row for row in again}
    cases = []
    for row in thresholds:
        other = fresh.get(tuple(row[k] for k in keys))
        if other is None or not np.isclose(row["threshold"], other["threshold"], atol=1e-9) or row["n"] != other["n"]:
            expected = "none" if other is None else f"{other['threshold']:.6g} of {other['n']} patients"
            cases.append({c: row[c] for c in FOLD} | {
                "what": f"{row['run_id']}, {row['target']}: {row['threshold']:.6g} of {row['n']} patients; those "
                f"who may choose it give {expected}"
            })  # fmt: skip
    return outcome(
        "thresholds", cases,
        f"{len(cases)} of {len(thresholds)} thresholds are not those of patients who may choose them.",
        "Every threshold is the one that validation patients, or those of the other folds, give without the fold's own "
        "test part.",
    )  # fmt: skip


def early_stopping(
    histories: Sequence[tuple[str, Mapping[str, Any], pd.DataFrame]], predictions: pd.DataFrame
) -> Check:
    """Did the epoch that was kept win on the validation part?

    The kept network's loss on the validation part, and on the test part, is computed anew from
    the prediction table; the loss in history.csv must be that of validation. Networks of slices
    are stopped by the loss of slices, so theirs is that of their slices.

    Args:
        histories: Run, (split, repeat, fold), history.csv with validation_loss and best.
        predictions: The prediction table, rows of slices too.
    """
    name, cases, told = "early stopping", [], 0
    rows = predictions[(predictions["variant"] == "original") & predictions["y_true"].notna()]
    sliced = rows.loc[rows["unit"] == "slice", "run_id"].unique()
    rows = rows[(rows["unit"] == "slice") | ~rows["run_id"].isin(sliced)]
    groups = dict(iter(rows.groupby(["run_id", *FOLD, "part"])))
    for run, fold, history in histories:
        where = tuple(fold[c] for c in FOLD)
        kept = history[history["best"] == 1]
        if kept.empty or history["validation_loss"].isna().all():
            continue
        kept_loss = float(kept.iloc[-1]["validation_loss"])
        if not _kept_best(history):
            cases.append(dict(zip(FOLD, where, strict=True)) | {"what": f"{run}: the epoch kept is not the best"})
            continue
        losses = {p: _cross_entropy(groups.get((run, *where, p))) for p in ("validation", "test")}
        if np.isnan(losses["validation"]):
            continue
        near = {p: bool(abs(v - kept_loss) < 2e-3 * max(kept_loss, 0.01)) for p, v in losses.items()}
        told += near["validation"]
        if near["test"] and not near["validation"]:
            cases.append(
                dict(zip(FOLD, where, strict=True)) | {"what": f"{run}: the loss watched is that of test rows"}
            )
    if cases or not histories or told:
        return outcome(
            name, cases, f"{len(cases)} of {len(histories)} fits kept an epoch that validation did not choose.",
            f"The epoch kept is the best by validation in all {len(histories)} fits; in {told} of them its loss was "
            "computed anew from the predictions and agrees."
            if histories else "No run trains for epochs.",
        )  # fmt: skip
    return Check(
        name, "unknown",
        f"The epoch kept is the best by validation in all {len(histories)} fits, but its loss could not be "
        "computed anew, so on whom it was measured is not confirmed.",
    )  # fmt: skip


def _kept_best(history: pd.DataFrame) -> bool:
    """Whether the last epoch marked as best has the best value of what was watched: the loss, or `train.monitor`."""
    kept = history[history["best"] == 1].iloc[-1]
    if "monitored" not in history or history["monitored"].isna().all():
        return bool(float(kept["validation_loss"]) <= float(history["validation_loss"].min()) + 1e-6)
    falls = str(kept["monitor"]).partition(":")[0] in ("loss", "brier", "log_loss")
    values = history["monitored"].astype(float) * (1 if falls else -1)
    return bool(values[kept.name] <= values.min() + 1e-6)


def _cross_entropy(rows: pd.DataFrame | None) -> float:
    """Mean over exams and targets of what the network said of them; NaN without rows, or with a failed one."""
    if rows is None or rows["logit"].isna().any():
        return float("nan")
    x, y = rows["logit"].to_numpy(float), rows["y_true"].to_numpy(float)
    return float(np.mean(np.logaddexp(0, x) - y * x))


def composition_kept(planned: Mapping[str, Sequence[str]], used: Mapping[str, Mapping[str, Sequence[str]]]) -> Check:
    """Are means of runs made of what was planned before any test patient was scored?

    Args:
        planned: Name of a mean -> its members, in plan.json.
        used: Where else it is written -> name -> members.
    """
    cases = [
        {"what": f"{name}: planned as the mean of {listed(members)}, and {where} has {listed(own.get(name, ['none']))}"}
        for where, own in used.items()
        for name, members in planned.items()
        if sorted(own.get(name, [])) != sorted(members)
    ]
    return outcome(
        "composition", cases, f"The composition changed after planning: {'; '.join(c['what'] for c in cases)}.",
        f"{listed(planned)} {'is' if len(planned) == 1 else 'are'} made of the runs that were planned before any test "
        "patient was scored.",
    )  # fmt: skip
