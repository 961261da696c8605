"""Corrected fits, shuffled labels, power: closed forms, scikit-learn, and where nothing is there to find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from scan2gene.learners.clinical import fit_clinical, linear_logits
from scan2gene.stats.corrected_t_test import corrected
from scan2gene.stats.label_permutation import Part, permute_labels
from scan2gene.stats.linear import logistic_scores, ridge_scores
from scan2gene.stats.power import detectable_auroc, patients_needed, power_of


def test_without_overlap_the_corrected_interval_is_students():
    values = np.random.default_rng(0).normal(0.6, 0.1, 12)
    found = corrected(values.tolist(), test_share=0.0)
    theirs = stats.ttest_1samp(values, 0.5)
    ends = theirs.confidence_interval(0.95)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(theirs.pvalue)
    wide = corrected(values.tolist(), test_share=0.25).estimate
    assert wide.high - wide.low == pytest.approx((ends.high - ends.low) * np.sqrt((1 / 12 + 0.25) / (1 / 12)))


@pytest.mark.parametrize(
    ("values", "why"),
    [([0.5, 0.6], "2 fits; at least 3"), ([0.5, None, 0.7, 0.6], "1 of 4 test parts have one class"),
     ([0.6, 0.6, 0.6], "all fits are alike")],
)  # fmt: skip
def test_fits_that_say_nothing_say_so(values, why):
    found = corrected(values, 0.25)
    assert why in found.estimate.reason
    assert (found.estimate.low, found.p) == (None, None)


def test_corrected_intervals_hold_the_mean_where_plain_ones_do_not():
    """Repeated 5-fold of nearest means; the truth is the method's mean on new cohorts of that size."""
    rng = np.random.default_rng(1)

    def cohort() -> tuple[np.ndarray, np.ndarray]:
        y = np.repeat([0.0, 1.0], 30)
        return y, rng.normal(size=(60, 5)) + 0.35 * y[:, None]

    def fits(y: np.ndarray, x: np.ndarray, repeats: int) -> list[float]:
        found = []
        for _ in range(repeats):
            fold = np.r_[rng.permutation(30) % 5, rng.permutation(30) % 5]
            for k in range(5):
                train, test = fold != k, fold == k
                towards = x[train][y[train] == 1].mean(axis=0) - x[train][y[train] == 0].mean(axis=0)
                s = x[test] @ towards
                found.append(float((s[y[test] == 1][:, None] > s[y[test] == 0]).mean()))
        return found

    truth = np.mean([np.mean(fits(*cohort(), 1)) for _ in range(300)])
    plain = mended = 0
    for _ in range(120):
        values = fits(*cohort(), 4)
        for share in (0.0, 0.25):
            e = corrected(values, share).estimate
            hit = e.low <= truth <= e.high
            plain, mended = plain + (hit and not share), mended + (hit and bool(share))
    assert plain / 120 < 0.8
    assert mended / 120 > 0.9


def _parts(x: np.ndarray, folds: int) -> list[Part]:
    number = np.arange(len(x))
    seats = [(number[number % folds != k], number[number % folds == k]) for k in range(folds)]
    return [Part(train, test, x[train], x[test]) for train, test in seats]


def test_shuffled_labels_find_a_planted_signal_and_nothing_in_nothing():
    rng = np.random.default_rng(2)
    y = (rng.random(80) < 0.5).astype(float)
    x = rng.normal(size=(80, 30))
    planted = x.copy()
    planted[:, 0] += 2 * y
    site = np.arange(80) // 4 % 2
    found = permute_labels(y, site, _parts(planted, 4), ridge_scores, 199, 1)
    assert found.p == 1 / 200
    assert found.by_chance == pytest.approx(0.5, abs=0.03)
    p = []
    for seed in range(60):
        noise = np.random.default_rng(seed)
        y, x = (noise.random(40) < 0.5).astype(float), noise.normal(size=(40, 10))
        p.append(permute_labels(y, np.zeros(40), _parts(x, 4), ridge_scores, 99, seed).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) <= 0.15


def test_a_site_that_carries_the_label_is_no_evidence_within_sites():
    """Features know the site, the site knows the label; shuffling everything would find that, within sites not."""
    rng = np.random.default_rng(3)
    site = np.repeat([0, 1], 40)
    y = (rng.random(80) < np.where(site == 1, 0.9, 0.1)).astype(float)
    x = rng.normal(size=(80, 3)) + 3 * site[:, None]
    within = permute_labels(y, site, _parts(x, 4), ridge_scores, 199, 1)
    overall = permute_labels(y, np.zeros(80), _parts(x, 4), ridge_scores, 199, 1)
    assert within.auroc == overall.auroc > 0.8
    assert overall.p == 1 / 200
    assert within.p > 0.05
    assert within.by_chance > 0.75
    alone = permute_labels(site.astype(float), site, _parts(x, 4), ridge_scores, 19, 1)
    assert "nothing to shuffle within sites" in alone.reason


def test_the_refitted_clinical_model_is_the_clinical_model():
    rng = np.random.default_rng(4)
    values, labels = rng.normal(50, 10, (60, 3)), (rng.random((60, 5)) < 0.4).astype(float)
    values[rng.random((60, 3)) < 0.1] = np.nan
    labels[:, 4] = 1.0
    model = fit_clinical(values[:40], labels[:40], columns=["a", "b", "c"], strength=0.7)
    ours = logistic_scores(values[:40], labels[:40], values[40:], strength=0.7)
    assert ours == pytest.approx(linear_logits(model, values[40:]), abs=1e-9)


def test_the_ridge_probe_is_scikit_learns():
    rng = np.random.default_rng(5)
    train, test, labels = rng.normal(size=(20, 50)), rng.normal(size=(8, 50)), rng.integers(0, 2, (20, 3)).astype(float)
    scaled = (train - train.mean(axis=0)) / train.std(axis=0)
    theirs = Ridge(alpha=np.trace(scaled @ scaled.T) / 20, fit_intercept=False).fit(
        scaled, labels - labels.mean(axis=0)
    )
    asked = (test - train.mean(axis=0)) / train.std(axis=0)
    assert ridge_scores(train, labels, test) == pytest.approx(theirs.predict(asked), abs=1e-8)


def test_power_is_what_simulation_gives_and_agrees_with_the_detectable_auroc():
    detectable = detectable_auroc(20, 40)
    assert power_of(detectable, 20, 40) == pytest.approx(0.8, abs=0.005)
    assert power_of(0.5, 20, 40) == pytest.approx(0.05)
    n = patients_needed(0.7, 0.3)
    assert power_of(0.7, round(0.3 * n), n - round(0.3 * n)) >= 0.8
    assert power_of(0.7, round(0.3 * (n - 2)), n - 2 - round(0.3 * (n - 2))) < 0.8
    assert patients_needed(0.5, 0.3) is None
    rng, found = np.random.default_rng(6), 0
    for _ in range(1000):
        a, b = rng.normal(np.sqrt(2) * stats.norm.ppf(0.7), 1, 20), rng.normal(0, 1, 40)
        found += stats.mannwhitneyu(a, b).pvalue < 0.05
    assert power_of(0.7, 20, 40) == pytest.approx(found / 1000, abs=0.06)  # Hanley's approximation
