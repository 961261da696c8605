"""Shares of two groups of patients, and their difference."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scan2gene.core.levels import CONFIDENCE, Z
from scan2gene.stats.intervals import Estimate


def effective_counts(labels: pd.DataFrame) -> tuple[float, float]:
    """Positives and all, as if so many were independent: sides of a patient tell less than as many patients.

    Source: effective sample size by the ratio estimator's variance over patients, Rao and Scott 1992, "A simple method
    for the analysis of clustered binary data"; never more than sides, and patients where all are alike.
    """
    whole = float(len(labels))
    of_patient = labels.groupby("patient_id")["value"].agg(["sum", "size"]).to_numpy(float)
    people = len(of_patient)
    if people == whole:
        return float(labels["value"].sum()), whole
    share = float(labels["value"].mean())
    variance = (
        people / (people - 1) * float(((of_patient[:, 0] - share * of_patient[:, 1]) ** 2).sum()) / whole**2
        if people > 1
        else 0.0
    )
    if share in (0, 1):
        whole = float(people)
    elif variance > 0:
        whole = min(whole, share * (1 - share) / variance)
    return share * whole, whole


def newcombe(k_first: float, n_first: float, k_second: float, n_second: float) -> Estimate:
    """Difference of two independent shares with a 95 % interval.

    Source: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    first, low_first, high_first = _wilson(k_first, n_first)
    second, low_second, high_second = _wilson(k_second, n_second)
    value = first - second
    low = value - float(np.hypot(first - low_first, high_second - second))
    return Estimate(value, low, value + float(np.hypot(high_first - first, second - low_second)))


def _wilson(k: float, n: float) -> tuple[float, float, float]:
    """A share and its 95 % score interval (Wilson 1927); scipy has it for whole numbers only."""
    p, grown = k / n, 1 + Z**2 / n
    middle, reach = p + Z**2 / (2 * n), Z * np.sqrt(p * (1 - p) / n + (Z / (2 * n)) ** 2)
    return p, float((middle - reach) / grown), float((middle + reach) / grown)


def upper_limit(k: int, n: int) -> float:
    """One-sided upper 95 % limit of a share (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    return float(binomtest(k, n, alternative="less").proportion_ci(CONFIDENCE).high) if n else 1.0
