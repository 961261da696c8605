"""What choosing by validation adds: nothing where nothing was chosen, and as much as was planted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from scan2gene.evaluate.optimism import optimism


def _table(validation: float, test: float, n: int = 200, seed: int = 0) -> pd.DataFrame:
    """One holdout fold whose scores tell the classes apart by so many standard deviations."""
    rng = np.random.default_rng(seed)
    rows = []
    for part, effect in (("validation", validation), ("test", test)):
        y = np.arange(n) % 2
        for i, (label, score) in enumerate(zip(y, rng.normal(effect * y), strict=True)):
            rows.append({"patient_id": f"{part}{i:04d}", "part": part, "y_true": float(label),
                         "prob": 1 / (1 + np.exp(-score))})  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(run_id="r", split="holdout", variant="original", repeat=0, fold=0, target="t", side="",
                        site="", exam_id=table["patient_id"], reason="")  # fmt: skip


def test_both_figures_are_those_of_scikit_learn_and_the_difference_is_theirs():
    table = _table(2.0, 0.5)
    (row,) = optimism(table, 300, 1)
    expected = [
        roc_auc_score(p["y_true"], p["prob"]) for p in (table[table["part"] == n] for n in ("validation", "test"))
    ]
    assert (row["validation"], row["test"]) == pytest.approx(tuple(expected))
    assert row["optimism"] == pytest.approx(expected[0] - expected[1])
    assert 0 < row["low"] < row["optimism"] < row["high"]


def test_without_a_choice_the_interval_holds_zero_about_nineteen_times_in_twenty():
    held = 0
    for seed in range(100):
        (row,) = optimism(_table(1.0, 1.0, 60, seed), 200, 1)
        held += row["low"] <= 0 <= row["high"]
    assert 88 <= held <= 99


def test_a_validation_part_of_one_class_is_said():
    table = _table(1.0, 1.0, 20)
    table.loc[table["part"] == "validation", "y_true"] = 0.0
    (row,) = optimism(table, 200, 1)
    assert row["optimism"] is None
    assert row["reason"] == "validation: 0 positive among 20 labelled patients; both classes are needed"
