"""95 % intervals by resampling patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.95
MAX_UNDEFINED = 0.1  # a larger share of draws without a value makes the interval meaningless


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; None with a reason where it cannot be estimated."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def bootstrap_counts(strata: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each patient is drawn, with replacement within its stratum.

    Args:
        strata: (P,) class of each patient; each keeps its size, so no draw lacks a class.
        draws: Number of resamples.
        seed: Same seed, same draws: metrics of one table are then paired.

    Returns:
        (draws, P) float64 counts.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(strata)))
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return counts


def bca(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, fewest: int = 0) -> Estimate:
    """Bias-corrected and accelerated bootstrap interval.

    Args:
        statistic: Weights (..., P) -> values (...); NaN where undefined.
        counts: (draws, P) from `bootstrap_counts`.
        fewest: Patients of the rarer class, where the statistic is a share from 0 to 1. A share
            that is 1 (or 0) in every draw then gets the exact interval of so many successes
            (or failures) in so many trials, which is wider than that of all pairs or patients.

    Returns:
        The value at equal weights and its interval; without an interval, the reason.

    Source: Efron 1987, "Better bootstrap confidence intervals"; Clopper and Pearson 1934.
    """
    patients = counts.shape[1]
    value = float(statistic(np.ones(patients)))
    if np.isnan(value):
        return Estimate(None, reason="undefined on this test set")
    draws = np.asarray(statistic(counts))
    share = float(np.isnan(draws).mean())
    if share > MAX_UNDEFINED:
        return Estimate(value, reason=f"undefined in {share:.0%} of the bootstrap draws")
    draws = np.sort(draws[~np.isnan(draws)])
    if draws[0] == draws[-1] == value and value in (0.0, 1.0) and fewest:
        beyond = float(((1 - LEVEL) / 2) ** (1 / fewest))
        return Estimate(value, beyond, 1.0) if value else Estimate(value, 0.0, 1 - beyond)
    if draws[0] == draws[-1]:
        return Estimate(value, reason="every bootstrap draw gives the same value; too few cases for an interval")
    left_out = np.asarray(statistic(1 - np.eye(patients)))
    pull = np.nanmean(left_out) - left_out[~np.isnan(left_out)]
    spread = float((pull**2).sum())
    acceleration = float((pull**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    below = (float((draws < value).sum()) + 0.5 * float((draws == value).sum())) / len(draws)
    normal = NormalDist()
    bias = normal.inv_cdf(min(max(below, 1 / len(draws)), 1 - 1 / len(draws)))
    ends = []
    for tail in ((1 - LEVEL) / 2, (1 + LEVEL) / 2):
        z = bias + normal.inv_cdf(tail)
        ends.append(float(np.quantile(draws, normal.cdf(bias + z / (1 - acceleration * z)))))
    return Estimate(value, ends[0], ends[1])
