"""The spread of an AUROC over pairs inside folds: against simulation, and coverage of the interval made from it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from scan2gene.stats.auroc_variance import spread_of_pairs
from scan2gene.stats.delong import delong
from scan2gene.stats.intervals import bca_interval, p_value
from scan2gene.stats.resampling import Sample


def _cohort(rng: np.random.Generator, positives: int, negatives: int, folds: int, auroc: float) -> pd.DataFrame:
    y = np.repeat([1.0, 0.0], [positives, negatives])
    score = rng.normal(np.sqrt(2) * norm.ppf(auroc) * y)
    fold = np.r_[np.arange(positives) % folds, np.arange(negatives) % folds]
    table = {"repeat": 0, "fold": fold, "patient_id": [f"{n:04d}" for n in range(len(y))], "side": ""}
    return pd.DataFrame(table | {"y_true": y, "prob": norm.cdf(score), "decision": 0.0})


@pytest.mark.parametrize(("positives", "folds"), [(30, 1), (12, 1), (30, 5), (12, 5)])
def test_the_variance_is_that_of_new_cohorts(positives, folds):
    rng = np.random.default_rng(positives + folds)
    values, known = [], []
    for _ in range(600):
        table = _cohort(rng, positives, 60 - positives, folds, 0.75)
        columns = [table[c].to_numpy() for c in ("y_true", "prob", "repeat", "fold")]
        known.append(spread_of_pairs(np.arange(60), *columns).variance)
        values.append(Sample(table).statistic("auroc", np.ones(60)))
    assert np.mean(known) == pytest.approx(np.var(values), rel=0.2)  # standard error of the variance: 6 %


def test_of_one_fold_it_is_delongs_less_a_part_of_the_pairs():
    """DeLong's is too large by the rest's variance over the number of pairs, which is little where pairs are many."""
    rng = np.random.default_rng(3)
    table = _cohort(rng, 150, 150, 1, 0.75)
    found = spread_of_pairs(np.arange(300), *(table[c].to_numpy() for c in ("y_true", "prob", "repeat", "fold")))
    theirs = delong(table["y_true"].to_numpy(), table["prob"].to_numpy()).covariance[0, 0]
    assert found.variance == pytest.approx(theirs, rel=0.01)
    assert found.variance < theirs
    assert 149 < found.freedom < 299


def test_a_repeat_that_says_the_same_adds_nothing():
    table = _cohort(np.random.default_rng(4), 20, 40, 5, 0.75)
    one = spread_of_pairs(np.arange(60), *(table[c].to_numpy() for c in ("y_true", "prob", "repeat", "fold")))
    twice = pd.concat([table, table.assign(repeat=1)])
    columns = [twice[c].to_numpy() for c in ("y_true", "prob", "repeat", "fold")]
    two = spread_of_pairs(np.tile(np.arange(60), 2), *columns)
    assert two.variance == pytest.approx(one.variance)
    assert two.freedom == pytest.approx(one.freedom)


def test_what_cannot_be_separated_is_not():
    one = np.array([0, 0])
    assert spread_of_pairs(np.arange(2), np.array([0.0, 1]), np.array([0.1, 0.9]), one, one) is None
    both = spread_of_pairs(
        np.array([0, 0, 1]), np.array([0.0, 1, 0]), np.array([0.1, 0.9, 0.2]), np.zeros(3), np.zeros(3)
    )
    assert both is None  # the first patient's sides are of both classes


def test_the_variance_of_a_difference_is_that_of_new_cohorts_and_its_p_value_fits_its_interval():
    rng, values, known = np.random.default_rng(6), [], []
    for trial in range(500):
        one = _cohort(rng, 24, 36, 5, 0.75)
        two = one.assign(prob=norm.cdf(norm.ppf(one["prob"]) + rng.normal(0, 1, 60)))
        columns = [one[c].to_numpy() for c in ("y_true", "prob", "repeat", "fold")]
        known.append(spread_of_pairs(np.arange(60), *columns, two["prob"].to_numpy()).variance)
        pair = Sample(one), Sample(two.sample(frac=1, random_state=trial))
        values.append(np.subtract(*(s.statistic("auroc", np.ones(60)) for s in pair)))
    assert np.mean(known) == pytest.approx(np.var(values), rel=0.2)
    found = pair[0].difference(pair[1], "auroc", 4000, 1)
    plain = [s.resampled(["auroc"], 4000, 1)["auroc"].draws for s in pair]
    # not narrower than the patients' draws: of nearly equal runs the estimate may be next to nothing by luck
    assert np.var(found.draws) >= np.var(plain[0] - plain[1]) * (1 - 1e-9)
    assert np.var(found.draws) >= known[-1] * (1 - 1e-9)
    ends = bca_interval(found)
    assert [p_value(found, end) for end in (ends.low, ends.high)] == pytest.approx([0.05, 0.05], abs=0.003)


def test_nearly_equal_runs_are_seldom_told_apart():
    rng, apart = np.random.default_rng(3), 0
    for trial in range(120):
        one = _cohort(rng, 40, 40, 5, 0.9)
        scores = [one.assign(prob=norm.cdf(norm.ppf(one["prob"]) + rng.normal(0, 0.25, 80))) for _ in range(2)]
        p = p_value(Sample(scores[0]).difference(Sample(scores[1]), "auroc", 300, trial))
        apart += p is not None and p < 0.05
    assert apart <= 12  # 5 % and luck; by the variance of the few pairs that differ alone it would be one in eight


@pytest.mark.parametrize("folds", [1, 5])
def test_the_reported_interval_covers_as_often_as_it_says(folds):
    """`studies/interval_coverage.py` does this with 2,000 cohorts a cell; here 150, standard error 1.8 %."""
    rng, covered = np.random.default_rng(5), 0
    for trial in range(150):
        found = Sample(_cohort(rng, 12, 48, folds, 0.8)).interval("auroc", 300, trial)
        covered += found.low <= 0.8 <= found.high
    assert 0.90 <= covered / 150 <= 0.993
