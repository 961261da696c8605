"""DeLong against its definition spelled out, closed forms, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from scan2gene.stats.delong import delong, delong_difference, delong_interval


def _spelled_out(y: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong 1988, equations 2 to 6: every pair looked at, every covariance summed by hand."""
    up, down = scores[:, y == 1], scores[:, y == 0]
    kernel = [[[float(a > b) + 0.5 * float(a == b) for b in n] for a in p] for p, n in zip(up, down, strict=True)]
    psi = np.array(kernel)  # (K, m, n)
    area, rows, columns = psi.mean(axis=(1, 2)), psi.mean(axis=2), psi.mean(axis=1)
    found = np.zeros((len(scores), len(scores)))
    for r in range(len(scores)):
        for s in range(len(scores)):
            of_rows = sum((rows[r] - area[r]) * (rows[s] - area[s])) / (up.shape[1] - 1)
            of_columns = sum((columns[r] - area[r]) * (columns[s] - area[s])) / (down.shape[1] - 1)
            found[r, s] = of_rows / up.shape[1] + of_columns / down.shape[1]
    return area, found


@pytest.mark.parametrize("seed", range(8))
def test_ranks_give_what_the_definition_gives_ties_included(seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat([0, 1], [rng.integers(2, 12), rng.integers(2, 9)]))
    scores = rng.normal(y, 1, (3, len(y))).round(seed % 3)
    found, (area, covariance) = delong(y, scores), _spelled_out(y, scores)
    assert found.auroc == pytest.approx(area)
    assert found.auroc == pytest.approx([roc_auc_score(y, row) for row in scores])
    assert found.covariance == pytest.approx(covariance)


def test_a_two_by_two_example_by_hand():
    """Positives 1, 3; negatives 0, 2: three of four pairs right; each class's shares are 1/2 and 1."""
    found = delong(np.array([1, 1, 0, 0]), np.array([1.0, 3.0, 0.0, 2.0]))
    assert found.auroc[0] == 0.75
    assert found.covariance[0, 0] == pytest.approx(0.125 / 2 + 0.125 / 2)


def test_simulated_scatter_of_one_and_of_a_difference_equals_the_estimate():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1], [60, 40])
    values, variances = [], []
    for _ in range(1500):
        shared = rng.normal(y)
        found = delong(y, shared + rng.normal(0, [[0.5], [1.0]], (2, 100)))
        values.append(found.auroc)
        variances.append(found.covariance)
    empirical = np.cov(np.transpose(values))
    assert np.mean(variances, axis=0) == pytest.approx(empirical, rel=0.12)  # 1500 variances: 4 % standard error


def test_p_values_of_a_null_difference_are_uniform_and_a_real_one_is_found():
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 50)
    found = []
    for _ in range(600):
        shared = rng.normal(y)
        found.append(delong_difference(y, *(shared + rng.normal(0, 0.7, (2, 100))))[1])
    assert 0.03 <= np.mean(np.array(found) < 0.05) <= 0.075
    assert stats.kstest(found, "uniform").pvalue > 0.01
    estimate, p = delong_difference(y, y + rng.normal(0, 0.3, 100), rng.normal(size=100))
    assert p < 1e-6
    assert 0 < estimate.low < estimate.value < estimate.high


def test_the_interval_covers_as_often_as_normal_theory_says():
    rng = np.random.default_rng(4)
    y = np.repeat([0, 1], 100)
    truth = stats.norm.cdf(1 / np.sqrt(2))
    covered = sum((e := delong_interval(y, rng.normal(y))).low <= truth <= e.high for _ in range(1000))
    assert 0.93 <= covered / 1000 <= 0.97


def test_what_has_no_spread_has_a_reason_and_no_interval():
    y = np.array([0, 0, 1, 1])
    assert delong_interval(np.zeros(4), np.arange(4.0)).value is None
    perfect = delong_interval(y, np.arange(4.0))
    assert (perfect.value, perfect.low) == (1.0, None)
    assert "no spread" in perfect.reason
    assert delong_interval(np.array([0, 0, 1]), np.array([1.0, 3.0, 2.0])).low is None  # one positive
    rng = np.random.default_rng(5)
    y, score = np.repeat([0, 1], 10), rng.normal(size=20)
    estimate, p = delong_difference(y, score, np.exp(score))
    assert (estimate.value, p) == (0, 1.0)


# Patients with poor/good outcome at each value, ascending, of the aSAH data (Turck et al. 2010): the steps of the ROC
# curves that the R package pROC (Robin et al. 2011) prints for them.
S100B = (
    "1/0 0/5 0/3 0/2 3/6 1/6 2/6 2/7 1/4 1/0 2/3 1/4 0/4 1/3 0/2 0/1 0/2 1/0 1/0 0/1 1/0 1/0 1/0 0/1 1/0 "
    "1/1 1/1 0/1 1/0 0/1 1/0 0/1 2/0 0/1 0/1 0/2 1/1 1/0 0/2 1/0 1/0 1/0 1/0 2/0 1/0 1/0 1/0 1/0 1/0 1/0"
)
WFNS = "2/37 12/20 1/3 8/8 18/4"


def _steps(text: str) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([step.split("/") for step in text.split()], int)  # (values, 2)
    y = np.concatenate([np.repeat([1, 0], pair) for pair in counts])
    return y, np.repeat(np.arange(len(counts)), counts.sum(axis=1))


def test_figures_are_those_that_proc_publishes():
    """The s100b example of pROC's manual, DeLong's interval: 0.6301-0.8326; areas to all printed digits."""
    s100b = delong_interval(*_steps(S100B))
    assert s100b.value == pytest.approx(0.73136856368563685, abs=1e-12)
    assert (round(s100b.low, 4), round(s100b.high, 4)) == (0.6301, 0.8326)
    y, score = _steps(WFNS)
    assert (int(y.sum()), len(y)) == (41, 113)
    assert delong_interval(y, score).value == pytest.approx(0.82367886178861793, abs=1e-12)
