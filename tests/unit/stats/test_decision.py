"""What scores are worth in use, against counting and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from scan2gene.stats.decision import (
    conformal_sets,
    conformal_threshold,
    net_benefit,
    predictive_values,
    risk_coverage,
    useful_range,
)
from scan2gene.stats.intervals import bootstrap_counts, resample
from scan2gene.stats.metrics import metric_value


def _drawn(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    prob = rng.random(n)
    return (rng.random(n) < prob).astype(float), prob


def test_net_benefit_is_counted_by_hand():
    """Vickers and Elkin's formula on 10 rows: 3 true and 1 false positives at 0.25."""
    y = np.array([1, 1, 1, 0, 0, 0, 0, 1, 0, 0.0])
    prob = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.1, 0.1, 0.1, 0.05, 0.0])
    curve = net_benefit(y, prob, np.ones((3, 10)), np.array([0.25]))
    assert curve.model[0] == pytest.approx(3 / 10 - 1 / 10 * 0.25 / 0.75)
    assert curve.all_treated[0] == pytest.approx(4 / 10 - 6 / 10 * 0.25 / 0.75)
    assert curve.low[0] == curve.high[0] == pytest.approx(curve.model[0])


def test_right_probabilities_are_useful_and_noise_is_not():
    y, prob = _drawn(800, 1)
    counts = bootstrap_counts(y, 300, 0)
    useful = useful_range(net_benefit(y, prob, counts))
    assert useful[0] < 0.2
    assert useful[1] > 0.7
    noise = np.random.default_rng(2).random(800)
    assert useful_range(net_benefit(y, noise, counts)) is None


def test_predictive_values_at_the_cohorts_own_prevalence_are_precision_and_its_twin():
    y, prob = _drawn(300, 3)
    decision = (prob >= 0.4).astype(float)
    counts = bootstrap_counts(y, 500, 0)
    drawn = [resample(lambda w, m=m: metric_value(m, y, decision, w), counts) for m in ("recall", "specificity")]
    positive, negative = predictive_values(*drawn, prevalence=y.mean())
    assert positive.value == pytest.approx(y[decision == 1].mean())
    assert negative.value == pytest.approx(1 - y[decision == 0].mean())
    rare, _ = predictive_values(*drawn, prevalence=0.01)
    assert rare.low < rare.value < rare.high < positive.low


def test_risk_falls_with_coverage_where_sureness_knows_and_stays_where_it_does_not():
    y, prob = _drawn(1000, 4)
    wrong, place = ((prob >= 0.5) != y).astype(float), np.arange(1000)
    counts = bootstrap_counts(y, 200, 0)
    kept = risk_coverage(wrong, np.abs(prob - 0.5), counts, place)
    assert kept[0].coverage == 1
    assert kept[0].error.value == pytest.approx(wrong.mean())
    half = next(k for k in kept if k.coverage == pytest.approx(0.5))
    assert half.error.high < kept[0].error.low
    assert half.error.value == pytest.approx(wrong[np.argsort(-np.abs(prob - 0.5))[:500]].mean())
    luck = risk_coverage(wrong, np.random.default_rng(5).random(1000), counts, place)
    assert abs(luck[5].error.value - wrong.mean()) < 0.05
    ties = risk_coverage(wrong, np.ones(1000), counts, place)
    assert {k.coverage for k in ties} == {1.0}  # equally sure rows stay together


def test_sets_hold_the_class_as_often_as_they_say():
    held, sizes = [], []
    for seed in range(300):
        y, prob = _drawn(60, seed)
        positive, negative = conformal_sets(prob[30:], conformal_threshold(y[:30], prob[:30]))
        held += np.where(y[30:] == 1, positive, negative).tolist()
        sizes += (positive.astype(int) + negative).tolist()
    assert 0.89 <= np.mean(held) <= 0.95  # exact: between 0.9 and 0.9 + 1 / 31
    assert np.mean(sizes) < 1.9


def test_too_few_validation_patients_give_sets_of_both():
    y, prob = _drawn(8, 0)
    assert conformal_threshold(y, prob) is None
    assert all(np.all(s) for s in conformal_sets(prob, None))
    assert conformal_threshold(*_drawn(9, 0)) is not None
