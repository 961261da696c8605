"""From the prediction table to figures: completeness, aggregation, thresholds, reasons."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_curve

from scan2gene.core.errors import RunError
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.evaluate import evaluate, to_patients
from scan2gene.stats.metrics import METRICS
from scan2gene.stats.thresholds import g_mean_threshold


def _tables(n: int = 40, folds: int = 2, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A prediction table and its split: informative scores, every patient tested once."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % 2)
    rows, split = [], []
    for fold in range(folds):
        for p in range(n):
            part = "test" if p % folds == fold else ("validation" if p % 5 == 0 else "train")
            prob = 1 / (1 + np.exp(-rng.normal(1.5 * (2 * y[p] - 1))))
            rows.append(
                dict.fromkeys(PREDICTION_COLUMNS, "")
                | {"run_id": "net", "split": "cv", "repeat": 0, "fold": fold, "part": part, "site": "A"}
                | {"variant": "original"}
                | {"patient_id": f"P{p:02d}", "exam_id": f"E{p:02d}", "target": "gene", "y_true": float(y[p])}
                | {"logit": float(np.log(prob / (1 - prob))), "prob": float(prob), "status": "ok"}
            )
            split.append(("cv", f"P{p:02d}", 0, fold, part))
    return pd.DataFrame(rows), pd.DataFrame(split, columns=["split", "patient_id", "repeat", "fold", "part"])


def _value(found, metric: str) -> pd.Series:
    return found.metrics.set_index("metric").loc[metric]


def test_figures_come_with_intervals_and_counts():
    predictions, split = _tables()
    found = evaluate(predictions, split, draws=300, seed=1)
    row = _value(found, "auroc")
    assert row["low"] < row["value"] < row["high"]
    assert (row["n"], row["n_positive"], row["n_failed"]) == (40, 20, 0)
    assert set(found.metrics["metric"]) == set(METRICS)


def test_row_order_changes_nothing():
    predictions, split = _tables()
    one = evaluate(predictions, split, 200, 1)
    two = evaluate(predictions.sample(frac=1, random_state=0), split.sample(frac=1, random_state=1), 200, 1)
    pd.testing.assert_frame_equal(one.metrics, two.metrics)
    assert one.thresholds == two.thresholds


def test_thresholds_see_validation_rows_only():
    predictions, split = _tables()
    spoiled = predictions.copy()
    test = spoiled["part"] == "test"
    spoiled.loc[test, "prob"] = np.random.default_rng(9).random(int(test.sum()))
    assert evaluate(predictions, split, 100, 1).thresholds == evaluate(spoiled, split, 100, 1).thresholds


def test_nobody_chooses_the_cut_by_which_he_is_judged():
    """A fold's threshold does not move when its test patients' scores and labels change in other folds' validation."""
    predictions, split = _tables(folds=4)
    before = {t["fold"]: t for t in evaluate(predictions, split, 100, 1).thresholds}
    for fold in range(4):
        tested = predictions.loc[(predictions["fold"] == fold) & (predictions["part"] == "test"), "patient_id"]
        rows = predictions["patient_id"].isin(tested) & (predictions["part"] == "validation")
        assert rows.any()
        spoiled = predictions.copy()
        spoiled.loc[rows, "prob"] = 1 - spoiled.loc[rows, "prob"]
        after = {t["fold"]: t for t in evaluate(spoiled, split, 100, 1).thresholds}
        assert after[fold] == before[fold]
        assert any(after[other] != before[other] for other in range(4))


def test_validation_patients_of_all_folds_choose():
    predictions, split = _tables(n=60, folds=4)
    (first, *_) = evaluate(predictions, split, 100, 1).thresholds
    validation = predictions[predictions["part"] == "validation"]
    tested = predictions.loc[(predictions["fold"] == 0) & (predictions["part"] == "test"), "patient_id"]
    assert first["n"] == len(validation[~validation["patient_id"].isin(tested)])
    assert first["n"] > 2 * len(validation[validation["fold"] == 0])


@pytest.mark.parametrize("seed", range(5))
def test_threshold_has_the_best_geometric_mean(seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(25) % 2).astype(float)
    prob = rng.random(25).round(2)
    fpr, tpr, _ = roc_curve(y, prob, drop_intermediate=False)
    cut = g_mean_threshold(y, prob)
    reached = np.sqrt((prob[y == 1] >= cut).mean() * (prob[y == 0] < cut).mean())
    assert reached == pytest.approx(np.sqrt(tpr * (1 - fpr)).max())


def test_a_missing_patient_is_refused():
    predictions, split = _tables()
    with pytest.raises(RunError, match="do not cover the split"):
        evaluate(predictions[predictions["patient_id"] != "P03"], split, 100, 1)


def test_exams_are_averaged_to_patients():
    predictions, _ = _tables()
    second = predictions[predictions["patient_id"] == "P01"].assign(exam_id="E01b", prob=0.25)
    both = to_patients(pd.concat([predictions, second]))
    first = predictions[(predictions["patient_id"] == "P01") & (predictions["fold"] == 0)]["prob"].iloc[0]
    row = both[(both["patient_id"] == "P01") & (both["fold"] == 0)].iloc[0]
    assert row["prob"] == pytest.approx((first + 0.25) / 2)
    assert len(both) == len(predictions)


def test_failed_exams_are_counted_not_forgotten():
    predictions, split = _tables()
    gone = predictions["patient_id"] == "P04"
    predictions.loc[gone, ["logit", "prob"]] = np.nan
    predictions.loc[gone, ["status", "reason"]] = ["failed", "constant volume"]
    row = _value(evaluate(predictions, split, 100, 1), "auroc")
    assert (row["n"], row["n_failed"]) == (39, 1)


def test_unknown_labels_are_left_out_of_the_figures():
    predictions, split = _tables()
    predictions.loc[predictions["patient_id"] == "P04", "y_true"] = np.nan
    assert _value(evaluate(predictions, split, 100, 1), "auroc")["n"] == 39


def test_one_class_gives_a_reason_instead_of_a_figure():
    predictions, split = _tables()
    predictions["y_true"] = 1.0
    found = evaluate(predictions, split, 100, 1)
    assert found.metrics["value"].isna().all()
    assert found.metrics["reason"].str.contains("both classes are needed").all()
    assert all(t["threshold"] == 0.5 and t["reason"] for t in found.thresholds)
