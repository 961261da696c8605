"""Calibration against scikit-learn, SciPy and closed forms, and on probabilities that are right by making."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from scan2gene.stats.calibration import (
    RECALIBRATIONS,
    brier_parts,
    chance_calibration_error,
    expected_calibration_error,
    fit_isotonic,
    fit_platt,
    fit_temperature,
    slope_and_intercept,
)
from scan2gene.stats.linear import logit


def _drawn(n: int, seed: int, stretch: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Truth drawn from probabilities, and the probabilities told, made too extreme by `stretch`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.2, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-(x + shift)))).astype(float)
    return y, 1 / (1 + np.exp(-stretch * x))


def test_slope_and_intercept_are_those_of_scikit_learns_regression():
    y, prob = _drawn(300, 1, stretch=1.7, shift=0.4)
    slope, intercept = slope_and_intercept(y, prob, np.arange(300))
    theirs = LogisticRegression(C=np.inf, tol=1e-10).fit(logit(prob)[:, None], y)
    assert slope.value == pytest.approx(theirs.coef_[0, 0], rel=1e-4)
    moved = 1 / (1 + np.exp(-(logit(prob) + intercept.value)))
    assert moved.mean() == pytest.approx(y.mean())  # what calibration in the large means
    assert slope.low < 1 / 1.7 < slope.high


def test_clustered_errors_are_those_of_resampled_patients():
    y, prob = _drawn(150, 2)
    y, prob, patient = (np.repeat(v, 2) for v in (y, prob, np.arange(150)))
    slope, _ = slope_and_intercept(y, prob, patient)
    rng, drawn = np.random.default_rng(0), []
    for _ in range(200):
        rows = rng.integers(0, 150, 150)
        rows = np.concatenate([rows, rows])
        drawn.append(slope_and_intercept(y[2 * rows], prob[2 * rows], np.arange(300))[0].value)
    assert slope.high - slope.low == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.2)
    alone = slope_and_intercept(y, prob, np.arange(300))[0]
    assert slope.high - slope.low == pytest.approx(np.sqrt(2) * (alone.high - alone.low), rel=0.02)


def test_intervals_of_slope_and_intercept_hold_the_truth_as_often_as_they_say():
    held = np.zeros(2)
    for seed in range(200):
        found = slope_and_intercept(*_drawn(120, seed, stretch=2.0), np.arange(120))
        held += [found[0].low <= 0.5 <= found[0].high, found[1].low <= found[1].value <= found[1].high]
    assert 0.90 <= held[0] / 200 <= 0.99
    assert held[1] == 200


def test_the_parts_of_the_brier_score_add_up_and_are_murphys_where_bins_are_groups():
    y, prob = _drawn(400, 3, stretch=2.0)
    parts = brier_parts(y, prob)
    assert parts.score == pytest.approx(brier_score_loss(y, prob))
    assert parts.score == pytest.approx(parts.reliability - parts.resolution + parts.uncertainty + parts.within)
    rounded = prob.round(0) * 0.6 + 0.2  # two values: bins are the groups of equal probability, nothing is within
    parts = brier_parts(y, rounded)
    groups = [(rounded == v) for v in (0.2, 0.8)]
    reliability = sum(g.mean() * (v - y[g].mean()) ** 2 for g, v in zip(groups, (0.2, 0.8), strict=True))
    assert parts.reliability == pytest.approx(reliability)
    assert parts.resolution == pytest.approx(sum(g.mean() * (y[g].mean() - y.mean()) ** 2 for g in groups))
    assert parts.within == pytest.approx(0, abs=1e-12)


def test_the_calibration_error_of_right_probabilities_is_what_luck_makes_it():
    errors = []
    for seed in range(100):
        y, prob = _drawn(150, seed)
        errors.append(expected_calibration_error(y, prob))
    mean, low, high = chance_calibration_error(prob, np.arange(150), seed=1)
    assert np.mean(errors) == pytest.approx(mean, rel=0.1)
    assert low < mean < high
    y, prob = _drawn(150, 1, stretch=4.0)
    assert expected_calibration_error(y, prob) > chance_calibration_error(prob, np.arange(150), seed=1)[2]


def test_recalibrations_are_scikit_learns_and_scipys():
    y, prob = _drawn(200, 4, stretch=3.0, shift=-0.5)
    grid = np.linspace(0.01, 0.99, 50)
    platt = _SigmoidCalibration().fit(logit(prob), y)
    assert fit_platt(y, prob)(grid) == pytest.approx(platt.predict(logit(grid)), abs=2e-4)
    isotonic = IsotonicRegression(out_of_bounds="clip").fit(prob, y)
    assert fit_isotonic(y, prob)(grid) == pytest.approx(isotonic.predict(grid), abs=1e-9)
    big = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / ((1 - y).sum() + 2))
    loss = minimize_scalar(
        lambda t: (np.logaddexp(0, t * logit(prob)) - big * t * logit(prob)).sum(), bounds=(0, 5), method="bounded"
    )
    assert logit(fit_temperature(y, prob)(grid)) == pytest.approx(loss.x * logit(grid), abs=1e-3)


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_what_is_mended_on_some_is_better_on_others(method):
    y, prob = _drawn(800, 5, stretch=3.0)
    mended = RECALIBRATIONS[method](y[:400], prob[:400])(prob[400:])
    assert expected_calibration_error(y[400:], mended) < expected_calibration_error(y[400:], prob[400:]) / 1.5
    assert brier_score_loss(y[400:], mended) < brier_score_loss(y[400:], prob[400:])
    assert ((mended >= 0) & (mended <= 1)).all()


@pytest.mark.parametrize("method", RECALIBRATIONS)
def test_classes_that_are_wholly_apart_leave_recalibration_finite(method):
    y, prob = np.repeat([0.0, 1.0], 20), np.repeat([0.2, 0.7], 20)
    mended = RECALIBRATIONS[method](y, prob)(np.array([0.0, 0.5, 1.0]))
    assert np.isfinite(mended).all()


def test_what_cannot_be_estimated_says_why():
    y = np.repeat([0.0, 1.0], 20)
    apart, _ = slope_and_intercept(y, np.repeat([0.2, 0.7], 20), np.arange(40))
    assert (apart.value, apart.reason) == (None, "a cut on the probability separates the classes wholly")
    equal, intercept = slope_and_intercept(y, np.full(40, 0.3), np.arange(40))
    assert (equal.value, equal.reason) == (None, "all probabilities are equal")
    assert intercept.value == pytest.approx(logit(np.array(0.5)) - logit(np.array(0.3)))
    assert (
        slope_and_intercept(np.ones(9), np.linspace(0.1, 0.9, 9), np.arange(9))[0].reason == "both classes are needed"
    )
