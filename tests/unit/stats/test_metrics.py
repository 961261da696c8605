"""Every metric against scikit-learn, with ties and weights."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from scan2gene.stats.metrics import METRICS, auroc, metric_value, weighted_metrics


@st.composite
def scored(draw):
    n = draw(st.integers(4, 40))
    y = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)), float)
    y[:2] = 0, 1  # both classes
    steps = draw(st.lists(st.integers(0, 8), min_size=n, max_size=n))  # coarse, so that ties are common
    weights = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    w = np.array(weights, float)
    w[:2] = 1
    return y, np.array(steps) / 8, w


def placement_oracle(y, s, w, level=0.9):
    """Positives one by one: the weight of negatives below, ties half."""
    hits = [
        weight * (sum(v * ((t < score) + 0.5 * (t == score)) for t, v in zip(s[y == 0], w[y == 0], strict=True))
                  >= level * w[y == 0].sum() - 1e-9)
        for score, weight in zip(s[y == 1], w[y == 1], strict=True)
    ]  # fmt: skip
    return sum(hits) / w[y == 1].sum()


def mcc_oracle(y, s, w):
    alike = len(np.unique(s[w > 0])) == 1
    return np.nan if alike else sk.matthews_corrcoef(y, s, sample_weight=w)


ORACLES = {
    "sensitivity_at_90_specificity": placement_oracle,
    "balanced_accuracy": lambda y, s, w: sk.balanced_accuracy_score(y, s, sample_weight=w),
    "mcc": mcc_oracle,
    "auroc": lambda y, s, w: sk.roc_auc_score(y, s, sample_weight=w),
    "average_precision": lambda y, s, w: sk.average_precision_score(y, s, sample_weight=w),
    "brier": lambda y, s, w: sk.brier_score_loss(y, s, sample_weight=w),
    "log_loss": lambda y, s, w: sk.log_loss(y, s, sample_weight=w, labels=[0, 1]),
    "accuracy": lambda y, s, w: sk.accuracy_score(y, s, sample_weight=w),
    "precision": lambda y, s, w: sk.precision_score(y, s, sample_weight=w, zero_division=np.nan),
    "npv": lambda y, s, w: sk.precision_score(1 - y, 1 - s, sample_weight=w, zero_division=np.nan),
    "recall": lambda y, s, w: sk.recall_score(y, s, sample_weight=w),
    "f1": lambda y, s, w: sk.f1_score(y, s, sample_weight=w, zero_division=np.nan),
    "specificity": lambda y, s, w: sk.recall_score(1 - y, 1 - s, sample_weight=w),
}


def oracle(name, y, score, w, fold=None):
    """scikit-learn's value; of metrics of pairs the mean over folds, each weighing as its pairs, or positives, do."""
    if fold is None or name not in ("auroc", "sensitivity_at_90_specificity"):
        positive, negative = w[y == 1].sum(), w[y == 0].sum()
        needs_both = name in ("auroc", "sensitivity_at_90_specificity", "balanced_accuracy", "mcc")
        if not w.sum() or (needs_both and not positive * negative):
            return np.nan
        if name in ("average_precision", "recall") and not positive:
            return np.nan
        if name == "specificity" and not negative:
            return np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of precision without a positive decision
            return ORACLES[name](y[w > 0], score[w > 0], w[w > 0])
    values, sizes = [], []
    for inside in (fold == f for f in np.unique(fold)):
        positive, negative = w[inside & (y == 1)].sum(), w[inside & (y == 0)].sum()
        if positive * negative:
            values.append(oracle(name, y[inside], score[inside], w[inside]))
            sizes.append(positive * negative if name == "auroc" else positive)
    return np.average(values, weights=sizes) if values else np.nan


@given(data=scored())
@settings(max_examples=60, deadline=None)
def test_equals_scikit_learn(data):
    y, score, weights = data
    for name, kind in METRICS.items():
        scores = (score >= 0.5).astype(float) if kind == "decision" else score
        found = metric_value(name, y, scores, weights)
        assert found == pytest.approx(ORACLES[name](y, scores, weights), abs=1e-12, nan_ok=True), name


@given(n=st.integers(1, 30), folds=st.integers(1, 4), levels=st.integers(1, 30), seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_many_weightings_in_folds_equal_scikit_learn_one_by_one(n, folds, levels, seed):
    rng = np.random.default_rng(seed)
    y, prob, fold = rng.integers(0, 2, n).astype(float), rng.integers(0, levels, n) / levels, rng.integers(0, folds, n)
    decision = (prob >= 0.5).astype(float)
    weights = rng.integers(0, 3, (3, n)).astype(float)
    found = weighted_metrics(METRICS, y, prob, decision, fold, weights)
    assert list(found) == list(METRICS)
    for name, kind in METRICS.items():
        score = decision if kind == "decision" else prob
        wanted = [oracle(name, y, score, w, fold) for w in weights]
        assert found[name] == pytest.approx(wanted, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("name", METRICS)
def test_row_order_does_not_matter(name):
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 30).astype(float), rng.random(30).round(1)
    score = (score >= 0.5).astype(float) if METRICS[name] == "decision" else score
    order = rng.permutation(len(y))
    assert metric_value(name, y[order], score[order]) == pytest.approx(metric_value(name, y, score), abs=1e-12)


def test_auroc_knows_only_ranks_and_turns_over():
    rng = np.random.default_rng(2)
    y, score = rng.integers(0, 2, 50).astype(float), rng.normal(size=50)
    assert auroc(y, np.exp(3 * score)) == pytest.approx(auroc(y, score))
    assert auroc(y, -score) == pytest.approx(1 - auroc(y, score))


def test_grouped_auroc_compares_only_within_a_fold():
    y = np.array([0, 1, 0, 1, 1, 0, 0], float)
    score = np.array([0.1, 0.2, 0.8, 0.9, 0.7, 0.75, 0.6])  # second fold's scores all lie higher
    fold = np.array([0, 0, 1, 1, 1, 1, 1])
    pairs = [(1, 0), (3, 2), (3, 5), (3, 6), (4, 2), (4, 5), (4, 6)]
    wanted = np.mean([score[p] > score[n] for p, n in pairs])
    assert auroc(y, score, groups=fold) == pytest.approx(wanted)
    assert auroc(y, score) != pytest.approx(wanted)


def test_one_class_is_undefined_not_a_number_of_luck():
    assert np.isnan(auroc(np.ones(5), np.arange(5.0)))
    assert np.isnan(metric_value("precision", np.array([0.0, 1.0]), np.zeros(2)))


def test_sensitivity_at_a_specificity_is_read_off_the_roc_curve():
    name, rng = "sensitivity_at_90_specificity", np.random.default_rng(5)
    y = rng.integers(0, 2, 400).astype(float)
    score = rng.normal(size=400) + y  # no ties
    fpr, tpr, _ = sk.roc_curve(y, score, drop_intermediate=False)
    expected = tpr[fpr <= 0.1].max()
    assert metric_value(name, y, score) == pytest.approx(expected, abs=0.02)
    shifted = np.where(np.arange(400) < 200, score, score + 100)  # another network's scale
    fold = (np.arange(400) >= 200).astype(int)
    assert metric_value(name, y, shifted, groups=fold) == metric_value(name, y, score, groups=fold)
