"""What a cohort of a given size can show."""

from __future__ import annotations

import math
from statistics import NormalDist

POWER = 0.8
LEVEL = 0.95


def auroc_error(auroc: float, positives: int, negatives: int) -> float:
    """Standard error of an AUROC.

    Args:
        auroc: Its true value.
        positives: Patients of one class.
        negatives: Of the other.

    Source: Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve",
    with their exponential approximation.
    """
    q1, q2 = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    spread = auroc * (1 - auroc) + (positives - 1) * (q1 - auroc**2) + (negatives - 1) * (q2 - auroc**2)
    return math.sqrt(spread / (positives * negatives))


def detectable_auroc(positives: int, negatives: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """Smallest true AUROC that a test of these patients tells from 0.5 with the given power.

    Args:
        positives: Test patients of one class.
        negatives: Of the other.
        power: Probability that the two-sided interval lies above 0.5.
        level: Of the interval.

    Returns:
        The AUROC; None when even a perfect model would not do, or a class is empty.
    """
    if positives < 1 or negatives < 1:
        return None
    z_level, z_power = NormalDist().inv_cdf((1 + level) / 2), NormalDist().inv_cdf(power)
    chance = auroc_error(0.5, positives, negatives)

    def enough(auroc: float) -> bool:
        return auroc - 0.5 >= z_level * chance + z_power * auroc_error(auroc, positives, negatives)

    if not enough(0.999):
        return None
    low, high = 0.5, 0.999
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
