"""A target of several classes as a whole: the figures of scikit-learn, honest intervals, nothing found in nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    log_loss,
    roc_auc_score,
)
from tests.several_classes import CLASSES, predictions

from scan2gene.evaluate.multiclass import OVER_CLASSES, WHOLE_METRICS, ClassSample, classes_of
from scan2gene.stats.permutation import p_chance_of_mean
from scan2gene.stats.resampling import Sample

ORDER = sorted(CLASSES)


def sample_of(table: pd.DataFrame) -> ClassSample:
    """Of the tested rows."""
    rows = table[table["part"] == "test"].sort_values(["repeat", "fold", "patient_id", "side"])
    return ClassSample({c: Sample(rows[rows["label"] == c].reset_index(drop=True)) for c in ORDER})


def arrays(sample: ClassSample) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers and probabilities."""
    y, prob = (np.stack([s.table[c] for s in sample.by_class.values()], axis=1) for c in ("y_true", "prob"))
    return y.argmax(axis=1), prob


def test_values_are_those_of_scikit_learn():
    sample = sample_of(predictions(n=90, folds=1)[0])
    y, prob = arrays(sample)
    said, several = prob.argmax(axis=1), {"multi_class": "ovr", "labels": range(4)}
    expected = {
        "auroc_macro": roc_auc_score(y, prob, average="macro", **several),
        "auroc_weighted": roc_auc_score(y, prob, average="weighted", **several),
        "accuracy": accuracy_score(y, said),
        "balanced_accuracy": balanced_accuracy_score(y, said),
        "macro_f1": f1_score(y, said, average="macro"),
        "kappa": cohen_kappa_score(y, said),
        "log_loss": log_loss(y, prob, labels=range(4)),
        "brier": ((prob - np.eye(4)[y]) ** 2).sum(axis=1).mean(),
    }
    assert list(expected) == list(WHOLE_METRICS)
    figures = {m: sample.interval(m, 300, 1) for m in WHOLE_METRICS}
    assert {m: e.value for m, e in figures.items()} == pytest.approx(expected)
    assert all(e.low < e.value < e.high for e in figures.values())
    assert (sample.confusion() == confusion_matrix(y, said)).all()


def test_a_draw_counts_patients_as_scikit_learn_counts_their_copies():
    sample = sample_of(predictions(n=60, folds=1)[0])
    y, prob = arrays(sample)
    counts = np.random.default_rng(3).integers(0, 4, 60)
    drawn = np.repeat(np.arange(60), counts)
    found = sample.at_weights(WHOLE_METRICS, counts[None])
    weighted = roc_auc_score(y[drawn], prob[drawn], multi_class="ovr", average="weighted")
    assert found["auroc_weighted"][0] == pytest.approx(weighted)
    assert found["macro_f1"][0] == pytest.approx(f1_score(y[drawn], prob[drawn].argmax(axis=1), average="macro"))
    assert found["log_loss"][0] == pytest.approx(log_loss(y[drawn], prob[drawn], labels=range(4)))


def test_folds_and_repeats_are_pooled_as_those_of_two_classes():
    sample = sample_of(predictions(n=60, repeats=2)[0])
    each = [s.interval("auroc", 100, 1).value for s in sample.by_class.values()]
    assert sample.interval("auroc_macro", 100, 1).value == pytest.approx(np.mean(each))
    per_repeat = [arrays(sample_of(t)) for _, t in predictions(n=60, repeats=2)[0].groupby("repeat")]
    kappas = [cohen_kappa_score(y, prob.argmax(axis=1)) for y, prob in per_repeat]
    assert sample.interval("kappa", 100, 1).value == pytest.approx(np.mean(kappas))
    assert sample.confusion().sum() == sample.n_units == 60


def test_sides_of_a_patient_are_drawn_together():
    table, _ = predictions(n=60, sides=("L", "R"))
    sample = sample_of(table)
    assert (sample.n_patients, sample.n_units) == (60, 120)
    alike = table[table["side"] == "L"]
    twice = sample_of(pd.concat([alike, alike.assign(side="R", exam_id=alike["exam_id"])]))
    single = sample_of(alike)
    wide, narrow = (s.interval("log_loss", 500, 1) for s in (single, twice))
    assert (narrow.low, narrow.high) == pytest.approx((wide.low, wide.high))  # a second, equal side tells nothing


def test_without_patients_of_a_class_means_over_classes_are_withheld():
    table, _ = predictions()
    gone = table.loc[(table["label"] == "her2") & (table["y_true"] == 1), "patient_id"]
    sample = sample_of(table[~table["patient_id"].isin(gone)])
    figures = {m: sample.interval(m, 100, 1) for m in WHOLE_METRICS}
    for metric, figure in figures.items():
        assert (figure.value is None) == (metric in OVER_CLASSES)
        if metric in OVER_CLASSES:
            assert figure.reason == "no labelled test patient is her2; 3 of 4 classes have some"
    assert p_chance_of_mean(list(sample.by_class.values()), 99) is None


def test_a_class_that_is_absent_from_a_fold_has_its_pairs_in_the_others():
    table, _ = predictions()
    rows = table[(table["fold"] == 0) & (table["part"] == "test") & (table["label"] == "her2")]
    gone = rows.loc[rows["y_true"] == 1, "patient_id"]
    sample = sample_of(table[~table["patient_id"].isin(gone)])
    assert not sample.lacking and sample.interval("auroc_macro", 200, 1).low is not None


def test_unknown_labels_of_classes_are_read_from_names():
    table = pd.DataFrame({"target": ["a:b:x", "a:b:y", "gene", "odd:"], "label": ["x", "y", "positive", ""]})
    assert classes_of(table) == {"a:b": {"x": "a:b:x", "y": "a:b:y"}}


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    everyone = sample_of(predictions(n=8000, folds=1, seed=99)[0]).at_weights(WHOLE_METRICS, np.ones((1, 8000)))
    held = dict.fromkeys(WHOLE_METRICS, 0)
    for seed in range(50):
        sample = sample_of(predictions(n=60, folds=1, seed=seed)[0])
        sample.resampled(WHOLE_METRICS, 200, seed)
        for metric in WHOLE_METRICS:
            figure = sample.interval(metric, 200, seed)
            held[metric] += figure.low <= everyone[metric][0] <= figure.high
    assert min(held.values()) >= 43, held


def test_scores_that_know_nothing_are_rarely_called_better_than_chance():
    p = [p_chance_of_mean(list(sample_of(predictions(n=48, signal=0, seed=s)[0]).by_class.values()), 199, s)
         for s in range(50)]  # fmt: skip
    assert np.mean(np.array(p) < 0.05) <= 0.1
    assert 0.3 <= np.mean(np.array(p) < 0.5) <= 0.7
    planted = sample_of(predictions(n=48)[0])
    assert p_chance_of_mean(list(planted.by_class.values()), 199) == pytest.approx(1 / 200)
