"""DeLong's variance of one AUROC, and of the difference of two on the same patients, in O(N log N).

For one row per patient, and scores that share a scale. Folds and sides need the patient
bootstrap, which is what reports show; DeLong stands beside it for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from scan2gene.core.levels import Z
from scan2gene.stats.intervals import Estimate


@dataclass(frozen=True)
class DeLong:
    """AUROCs (K,) of K scores of the same patients, and their covariance (K, K)."""

    auroc: np.ndarray
    covariance: np.ndarray


def delong(y_true: np.ndarray, scores: np.ndarray) -> DeLong:
    """AUROCs and their covariance from mid-ranks.

    Args:
        y_true: (N,) 0 or 1.
        scores: (N,) or (K, N), higher means more positive.

    Returns:
        AUROCs in [0, 1], NaN where a class is empty; covariance NaN where one has fewer than two.

    Source: DeLong, DeLong and Clarke-Pearson 1988; mid-ranks as Sun and Xu 2014, "Fast
    implementation of DeLong's algorithm".
    """
    from scipy.stats import rankdata

    scores = np.atleast_2d(np.asarray(scores, dtype=float))
    positive = np.asarray(y_true) == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return DeLong(np.full(len(scores), np.nan), np.full((len(scores), len(scores)), np.nan))
    ranks = rankdata(scores, axis=1)
    within = np.empty_like(ranks)
    for group in (positive, ~positive):
        within[:, group] = rankdata(scores[:, group], axis=1)
    of_positive = (ranks - within)[:, positive] / n  # (K, m): share of negatives below each positive
    of_negative = 1 - (ranks - within)[:, ~positive] / m  # (K, n): share of positives above each negative
    covariance = _covariance(of_positive) / m + _covariance(of_negative) / n
    return DeLong(of_positive.mean(axis=1), covariance)


def delong_interval(y_true: np.ndarray, score: np.ndarray) -> Estimate:
    """AUROC with its 95 % interval by the normal approximation, cut at 0 and 1."""
    found = delong(y_true, score)
    value, variance = float(found.auroc[0]), float(found.covariance[0, 0])
    if np.isnan(value):
        return Estimate(None, reason="both classes are needed")
    if not variance > 0:
        return Estimate(
            value, reason="no spread to estimate: too few of a class, or all or no pairs in the right order"
        )
    reach = Z * variance**0.5
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def delong_difference(y_true: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[Estimate, float | None]:
    """AUROC of one score less that of another on the same patients: 95 % interval and two-sided P value.

    The P value is None where there is no spread to estimate, 1 where both order all pairs alike.
    """
    found = delong(y_true, np.stack([first, second]))
    value = float(found.auroc[0] - found.auroc[1])
    if np.isnan(value):
        return Estimate(None, reason="both classes are needed"), None
    variance = float(found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1])
    if not variance > 1e-15:  # rounding leaves about 1e-17
        alike = value == 0 and variance == variance
        return Estimate(value, reason="no spread to estimate"), 1.0 if alike else None
    normal, error = NormalDist(), variance**0.5
    reach = Z * error
    return Estimate(value, value - reach, value + reach), 2 * normal.cdf(-abs(value) / error)


def _covariance(rows: np.ndarray) -> np.ndarray:
    """Of K rows, divided by one less than their length; NaN for a single column."""
    if rows.shape[1] < 2:
        return np.full((len(rows), len(rows)), np.nan)
    return np.atleast_2d(np.cov(rows))
