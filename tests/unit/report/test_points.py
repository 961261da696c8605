"""Numbers behind the curves, against scikit-learn, and the curves as drawn."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, confusion_matrix, precision_recall_curve

from scan2gene.core.text import percent
from scan2gene.report import curves
from scan2gene.report.points import BIN_SIZE, confusion, precision_recall, reliability


def sample(seed: int, n: int = 120, ties: bool = False):
    rng = np.random.default_rng(seed)
    prob = rng.beta(2, 3, n)
    y = (rng.random(n) < prob).astype(float)
    return y, np.round(prob, 1) if ties else prob


@pytest.mark.parametrize("seed", range(4))
def test_precision_and_recall_are_those_of_scikit_learn(seed):
    y, score = sample(seed, ties=seed % 2 == 1)
    recall, precision = precision_recall(y, score)
    theirs = precision_recall_curve(y, score)
    np.testing.assert_allclose(recall, theirs[1][:-1][::-1])
    np.testing.assert_allclose(precision, theirs[0][:-1][::-1])


@pytest.mark.parametrize("seed", range(4))
def test_the_area_below_the_drawn_curve_is_the_average_precision(seed):
    y, score = sample(seed, ties=seed % 2 == 1)
    drawn = curves.precision_recall_curves([(y, score)], [(y, score)], "t", "t")
    (points,) = re.findall(r'<polyline points="([^"]*)"', drawn)
    x, up = np.array([p.split(",") for p in points.split()], float).T
    recall, precision = (x - curves.LOW) / curves.SPAN, 1 - (up - curves.TOP) / curves.SPAN
    area = float((np.diff(recall) * precision[1:]).sum())
    assert area == pytest.approx(average_precision_score(y, score), abs=4e-3)  # points have one decimal


@pytest.mark.parametrize("seed", range(4))
def test_bins_are_those_of_scikit_learn(seed):
    y, prob = sample(seed, 200, ties=seed % 2 == 1)
    found = reliability(y, prob, np.arange(200), 0)
    share, mean = calibration_curve(y, prob, n_bins=200 // BIN_SIZE, strategy="quantile")
    np.testing.assert_allclose(found.share, share)
    np.testing.assert_allclose(found.probability, mean)
    assert found.n.sum() == 200


def test_the_interval_holds_the_curve_and_the_truth():
    y, prob = sample(1, 2000)
    found = reliability(y, prob, np.arange(2000), 0)
    assert (found.low <= found.curve).all() and (found.curve <= found.high).all()
    middle = (found.grid > 0.15) & (found.grid < 0.7)
    inside = (found.low <= found.grid) & (found.grid <= found.high)  # the probabilities are right as they are made
    assert inside[middle].mean() > 0.8
    overdone = reliability(y, np.clip(2 * prob - 0.4, 0, 1), np.arange(2000), 0)
    inside = (overdone.low <= overdone.grid) & (overdone.grid <= overdone.high)
    assert inside[(overdone.grid < 0.25) | (overdone.grid > 0.75)].mean() < 0.3


def test_rows_of_a_patient_are_drawn_together():
    y, prob = sample(2)
    once = reliability(y, prob, np.arange(120), 0)
    twice = reliability(np.tile(y, 2), np.tile(prob, 2), np.tile(np.arange(120), 2), 0)
    np.testing.assert_allclose(twice.high, once.high, rtol=0.02, atol=0.02)
    taken_for_more = reliability(np.tile(y, 2), np.tile(prob, 2), np.arange(240), 0)
    assert (taken_for_more.high - taken_for_more.low).mean() < 0.9 * (once.high - once.low).mean()


def test_few_patients_of_one_probability_are_still_drawn():
    y, prob = np.array([0.0, 1.0, 1.0]), np.full(3, 0.5)
    found = reliability(y, prob, np.arange(3), 0)
    assert found.n.tolist() == [3] and found.share[0] == pytest.approx(2 / 3)
    assert "nan" not in curves.calibration(found, y, prob, "t", "t")


def test_decisions_are_those_of_scikit_learn_and_stand_in_the_figure():
    y, prob = sample(3)
    counts = confusion(y, prob > 0.4)
    theirs = confusion_matrix(y, prob > 0.4)
    assert [[counts[t, d] for d in (0, 1)] for t in (0, 1)] == theirs.tolist()
    words = re.findall(r">([^<>]+)</text>", curves.decisions(counts, "t", "t"))
    for truth, decided in counts:
        at = words.index(
            {(1, 1): "found", (1, 0): "missed", (0, 1): "false alarm", (0, 0): "left alone"}[truth, decided]
        )
        share = counts[truth, decided] / theirs[truth].sum()
        assert words[at - 2 : at] == [str(counts[truth, decided]), percent(share)]
