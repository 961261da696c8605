"""Prediction tables of a target of several classes, simulated: with a planted signal, or with none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

CLASSES = ("luminal_a", "luminal_b", "her2", "tnbc")


def predictions(
    n: int = 120, signal: float = 1.5, runs: Sequence[str] = ("net",), seed: int = 0, repeats: int = 1,
    sides: Sequence[str] = ("",), classes: Sequence[str] = CLASSES, target: str = "subtype", folds: int = 3,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """The prediction table and split.csv: a row for each exam, side and class, every patient tested once a repeat.

    Args:
        n: Patients.
        signal: By how much the logit of the true class is higher; 0 for a network that knows nothing.
        runs: Names; their scores differ by chance.
        seed: Of everything.
        repeats: Of the split.
        sides: ("L", "R") for a target that is known per side.
        classes: Names.
        target: Name.
        folds: Of the split.
    """
    rng = np.random.default_rng(seed)
    ids = [f"P{p:03d}" for p in range(n)]
    truth = {s: rng.permutation(np.arange(n) % len(classes)) for s in sides}
    tables, split = [], []
    for repeat in range(repeats):
        place = rng.permutation(n) % folds
        for fold in range(folds):
            part = np.where(place == fold, "test", np.where(rng.random(n) < 0.3, "validation", "train"))
            split.append(pd.DataFrame({"split": "cv", "patient_id": ids, "repeat": repeat, "fold": fold, "part": part}))
            for run in runs:
                for side in sides:
                    z = rng.normal(size=(n, len(classes))) + signal * np.eye(len(classes))[truth[side]]
                    prob = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
                    for k, label in enumerate(classes):
                        tables.append(split[-1].assign(
                            run_id=run, variant="original", site="A", exam_id=[f"E{i}" for i in ids], side=side,
                            unit="side" if side else "exam", unit_id=[f"E{i}{side}" for i in ids], target=target,
                            label=label, y_true=(truth[side] == k).astype(float), prob=prob[:, k],
                            logit=np.log(prob[:, k] / (1 - prob[:, k])), status="ok", reason="",
                        ))  # fmt: skip
    return pd.concat(tables, ignore_index=True), pd.concat(split, ignore_index=True)
