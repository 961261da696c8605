"""What a cohort of a given size can show."""

from __future__ import annotations

import math
from statistics import NormalDist

from scan2gene.core.levels import CHANCE, MIN_CLASS_PATIENTS, POWER, Z
from scan2gene.stats.intervals import Estimate

_NORMAL = NormalDist()
_Z_POWER = _NORMAL.inv_cdf(POWER)


def too_few(n_positive: int, n_units: int, fewest: int | None = None, unit: str = "sides") -> str:
    """Why figures of so few in one class are not judged; empty where there are enough in both.

    The one rule for verdicts, tables, plots and sentences. Two sides of a patient count once.

    Args:
        n_positive: Positive patients, or sides.
        n_units: All of them.
        fewest: Patients of the rarer class, where more than one unit of a patient is scored.
        unit: What these are called.
    """
    least = MIN_CLASS_PATIENTS
    if fewest is not None:
        enough = fewest >= least
        return "" if enough else f"the rarer class has {unit} of {fewest} patients, and {least} patients are needed"
    rarer, word = min((n_positive, "positive"), (n_units - n_positive, "negative"))
    if rarer >= least:
        return ""
    are = "is" if rarer == 1 else "are"
    return f"{rarer} of {n_units} {are} {word}, and below {least} a single one can move an AUROC by a fifth or more"


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


def detectable_auroc(positives: int, negatives: int) -> float | None:
    """Smallest true AUROC that a test of these patients tells from 0.5 in a share `POWER` of such tests.

    Args:
        positives: Test patients of one class.
        negatives: Of the other.

    Returns:
        The AUROC; None when even a perfect model would not do, or a class is empty.
    """
    if positives < 1 or negatives < 1:
        return None
    error = auroc_error(CHANCE, positives, negatives)

    def enough(auroc: float) -> bool:
        return auroc - CHANCE >= Z * error + _Z_POWER * auroc_error(auroc, positives, negatives)

    if not enough(0.999):
        return None
    low, high = CHANCE, 0.999
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_of(auroc: float, positives: int, negatives: int) -> float | None:
    """Probability that as many new patients would show a difference from 0.5, were this the true AUROC.

    Args:
        auroc: The one that was observed, or supposed. Of an observed one this says no more than its P value
            does (Hoenig and Heisey 2001); it is for planning the next study.
        positives: Test patients of one class.
        negatives: Of the other.

    Returns:
        None where a class is empty.
    """
    if positives < 1 or negatives < 1:
        return None
    reach = Z * auroc_error(CHANCE, positives, negatives)
    error, far = auroc_error(auroc, positives, negatives), abs(auroc - CHANCE)
    if not error > 0:
        return 1.0 if far > reach else 0.0
    return _NORMAL.cdf((far - reach) / error) + _NORMAL.cdf((-far - reach) / error)


def patients_needed(auroc: float, prevalence: float) -> int | None:
    """Fewest test patients with which this AUROC would be told from 0.5 in a share `POWER` of such tests.

    Args:
        auroc: The true one.
        prevalence: Share of positives among them.

    Returns:
        None for an AUROC of 0.5, or where more than a million would not do.
    """

    def enough(n: int) -> bool:
        positives = round(n * prevalence)
        power = power_of(auroc, positives, n - positives)
        return power is not None and power >= POWER

    if auroc == CHANCE or not 0 < prevalence < 1 or not enough(1_000_000):
        return None
    low, high = 2, 1_000_000
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def patients_needed_for_difference(difference: Estimate, n: int) -> int | None:
    """Fewest patients with which a difference as large as this one would be shown in a share `POWER` of such tests.

    Args:
        difference: With its interval.
        n: Patients behind it.

    Returns:
        None for a difference that is not positive, or has no interval.
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None or low is None or high is None or value <= 0:
        return None
    error = (high - low) / (2 * Z)
    return math.ceil(n * ((Z + _Z_POWER) * error / value) ** 2)
