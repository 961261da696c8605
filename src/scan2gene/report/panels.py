"""Four figures of each run, split and target: ROC, precision-recall, calibration, decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.text import counted, number_text
from scan2gene.evaluate.evaluate import FOLD, to_patients
from scan2gene.report import curves, figures, points
from scan2gene.report.inputs import Inputs
from scan2gene.report.results import Scores

KINDS = ("roc", "precision-recall", "calibration", "confusion")
PAGE_BYTES = 2_000_000  # of these figures on the page; the others lie beside it

Pairs = list[tuple[np.ndarray, np.ndarray]]


def decided(inputs: Inputs) -> pd.DataFrame:
    """Test patients with label and probability, the threshold of their fold and the decision there."""
    table = inputs.predictions
    patients = to_patients(table[table["part"] == "test"]).dropna(subset=["y_true", "prob"])
    keys = [*FOLD, "target"]
    cuts = pd.DataFrame(inputs.thresholds, columns=[*keys, "threshold"])
    patients = patients.merge(cuts, on=keys, how="left")
    return patients.assign(decision=(patients["prob"] >= patients["threshold"]).astype(int))


def panels(inputs: Inputs, found: Scores) -> list[dict[str, Any]]:
    """By split and target, the figures of every run; why where there are none."""
    groups = dict(iter(decided(inputs).groupby(["run_id", "split", "target"])))
    made, room = [], PAGE_BYTES
    for split in inputs.study.splits:
        for target in inputs.questions:
            runs = []
            for run in inputs.study.runs:
                rows = groups.get((run.name, split.name, target))
                drawn = _drawn(rows, (run.name, split.name, target), found, inputs.study.seed)
                size = sum(map(len, drawn["figures"].values()))
                room -= size
                runs.append({"run": run.name, "shown": room >= 0, **drawn})
            made.append({"split": split.name, "target": target, "runs": runs})
        made += [_whole(inputs, found, split.name, target) for target in inputs.several]
    return made


def _whole(inputs: Inputs, found: Scores, split: str, target: str) -> dict[str, Any]:
    """The confusion matrix of each run on a target of several classes."""
    runs = []
    for run in inputs.study.runs:
        where = [run.name, split, target]
        own = inputs.confusion[(inputs.confusion[["run_id", "split", "target"]] == where).all(axis=1)]
        counts = own.pivot(index="true", columns="predicted", values="n")
        labels = [label for label in inputs.several[target] if label in counts]
        drawn = {}
        if labels:
            matrix = counts.loc[labels, labels].to_numpy(float)
            told = [
                f"{c}: {n[k]:.0f} of {n.sum():.0f} right" for k, (c, n) in enumerate(zip(labels, matrix, strict=True))
            ]
            title = f"Confusion matrix of {run.name}, {target}, split {split}"
            drawn = {"confusion": curves.confusion_matrix(matrix, labels, title, "; ".join(told))}
        scored = found.get((run.name, split, target, "auroc_macro"))
        runs.append({"run": run.name, "shown": True, "figures": drawn, "numbers": {}, "several": False,
                     "auroc": scored.estimate.value if scored else None,
                     "note": "" if drawn else "no labelled test patients"})  # fmt: skip
    return {"split": split, "target": target, "runs": runs}


def _drawn(rows: pd.DataFrame | None, key: tuple[str, str, str], found: Scores, seed: int) -> dict[str, Any]:
    nothing: dict[str, Any] = {"figures": {}, "numbers": {}, "auroc": None, "several": False}
    if rows is None or rows["y_true"].nunique() < 2:
        return nothing | {"note": "no curve: the test patients are not of both classes"}
    scored = found.get((*key, "auroc"))
    if scored is not None and scored.estimate.value is None:
        return nothing | {"note": f"no curves: {scored.estimate.reason}"}
    run, split, target = key
    folds, skipped = _pairs(rows, ["repeat", "fold"])
    repeats, _ = _pairs(rows, ["repeat"])
    y, prob = rows["y_true"].to_numpy(), rows["prob"].to_numpy()
    counts = points.confusion(y, rows["decision"].to_numpy())
    known = points.reliability(y, prob, rows["patient_id"].to_numpy(), seed)
    where = f"of {run}, {target}, split {split}"
    auroc, precision = (_told(found, (*key, metric)) for metric in ("auroc", "average_precision"))
    made = {}
    if folds:
        made["roc"] = figures.roc(folds, f"ROC curve {where}", f"{counted(len(folds), 'fold')}{auroc}")
    made["precision-recall"] = curves.precision_recall_curves(
        repeats, folds, f"Precision-recall curve {where}",
        f"{len(y)} test patients{precision}, prevalence {number_text(y.mean())}",
    )  # fmt: skip
    spread = "; ".join(f"{p:.2f} given, {s:.2f} met" for p, s in zip(known.probability, known.share, strict=True))
    made["calibration"] = curves.calibration(known, y, prob, f"Calibration {where}", f"Mean of each bin: {spread}")
    made["confusion"] = curves.decisions(
        counts, f"Decisions {where}",
        f"Positive: {counts[1, 1]} found, {counts[1, 0]} missed; negative: {counts[0, 0]} left alone, "
        f"{counts[0, 1]} false alarms",
    )  # fmt: skip
    return {
        "figures": made,
        "numbers": {"counts": counts, "reliability": known},
        "auroc": scored.estimate.value if scored else None,
        "several": len(folds) > 1,
        "note": f"{counted(skipped, 'fold')} with one class only: no ROC curve" if skipped else "",
    }


def _pairs(rows: pd.DataFrame, by: list[str]) -> tuple[Pairs, int]:
    """(y_true, prob) of each group with both classes, and how many have one only."""
    pairs = [(part["y_true"].to_numpy(), part["prob"].to_numpy()) for _, part in rows.groupby(by)]
    whole = [(y, prob) for y, prob in pairs if 0 < y.sum() < len(y)]
    return whole, len(pairs) - len(whole)


def _told(found: Scores, key: tuple[str, str, str, str]) -> str:
    scored = found.get(key)
    value = scored.estimate.value if scored else None
    name = "AUROC" if key[3] == "auroc" else "average precision"
    return "" if value is None else f", {name} {number_text(value)}"
