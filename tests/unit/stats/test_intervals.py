"""Bootstrap intervals against scipy and against resampling spelled out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from scan2gene.stats.intervals import bootstrap_counts, bootstrap_interval
from scan2gene.stats.metrics import auroc


def _mean(sample: np.ndarray):
    return lambda w: (w * sample).sum(axis=-1) / w.sum(axis=-1)


def test_bca_of_a_skewed_mean_equals_scipy():
    sample = np.random.default_rng(3).exponential(size=40)
    ours = bootstrap_interval(_mean(sample), bootstrap_counts(np.zeros(40), 40_000, seed=1))
    theirs = stats.bootstrap(
        (sample,), np.mean, n_resamples=40_000, method="BCa", random_state=np.random.default_rng(2)
    ).confidence_interval
    monte_carlo = 0.02 * sample.std()  # of a 2.5 % quantile at 40 000 draws, twice over
    assert ours.low == pytest.approx(theirs.low, abs=monte_carlo)
    assert ours.high == pytest.approx(theirs.high, abs=monte_carlo)


def test_counting_patients_equals_resampling_rows():
    rng = np.random.default_rng(4)
    y, score = (np.arange(30) % 3 == 0).astype(float), rng.random(30).round(1)
    counts = bootstrap_counts(y, 20, seed=5)
    for row in counts:
        drawn = np.repeat(np.arange(30), row.astype(int))
        assert auroc(y, score, row) == pytest.approx(roc_auc_score(y[drawn], score[drawn]))


def test_every_draw_keeps_the_size_of_each_class():
    y = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    counts = bootstrap_counts(y, 500, seed=0)
    assert (counts[:, y == 1].sum(axis=1) == 3).all()
    assert (counts[:, y == 0].sum(axis=1) == 5).all()
    assert np.array_equal(counts, bootstrap_counts(y, 500, seed=0))


def test_interval_of_a_perfect_score_is_refused_with_a_reason():
    y = np.array([0, 0, 0, 1, 1, 1.0])
    found = bootstrap_interval(lambda w: auroc(y, y, w), bootstrap_counts(y, 200, seed=0))
    assert found.value == 1.0
    assert found.low is None
    assert "same value" in found.reason


def test_undefined_figure_has_a_reason_and_no_value():
    found = bootstrap_interval(lambda w: np.full(np.shape(w)[:-1], np.nan), np.ones((100, 5)))
    assert found.value is None
    assert found.reason


def test_mostly_undefined_draws_give_no_interval():
    found = bootstrap_interval(
        lambda w: np.where(w[..., 0] > 0, w.mean(axis=-1), np.nan), bootstrap_counts(np.zeros(6), 400, seed=1)
    )
    assert found.value == 1.0
    assert found.low is None
    assert "undefined in" in found.reason


def test_interval_covers_the_true_auroc_about_as_often_as_it_says():
    # 300 cohorts of 60 drawn from a binormal model; 95 % nominal, standard error 1.3 %
    truth = stats.norm.cdf(1 / np.sqrt(2))
    rng = np.random.default_rng(6)
    covered = 0
    for trial in range(300):
        y = np.repeat([0.0, 1.0], 30)
        score = rng.normal(y)
        found = bootstrap_interval(lambda w, y=y, s=score: auroc(y, s, w), bootstrap_counts(y, 400, seed=trial))
        covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 300 <= 0.985


@pytest.mark.parametrize("right", [0.0, 1.0])
def test_a_share_without_a_mistake_has_the_exact_interval(right):
    """Clopper and Pearson's ends, from scipy's binomial test."""
    from scipy.stats import binomtest

    counts = bootstrap_counts(np.repeat([0, 1], [30, 12]), 200, 0)
    found = bootstrap_interval(lambda w: np.full(np.shape(w)[:-1], right), counts, fewest=12)
    exact = binomtest(int(12 * right), 12).proportion_ci(0.95, "exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    assert bootstrap_interval(lambda w: np.full(np.shape(w)[:-1], right), counts).low is None
