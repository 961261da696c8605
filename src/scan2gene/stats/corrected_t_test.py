"""Folds and repeats as a sample of fits: how a method would do, trained again on other patients.

The patient bootstrap asks how these networks do on other patients. This asks how other networks of the
same method do, trained and tested on other patients. Fits share training patients, so their scatter is too
small, which Nadeau and Bengio's correction makes up for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scan2gene.core.levels import ENDS
from scan2gene.stats.intervals import Estimate

MIN_FITS = 3


@dataclass(frozen=True)
class Corrected:
    """Mean over fits with its interval, and the two-sided P value of a mean of `null`."""

    estimate: Estimate
    p: float | None
    fits: int


def corrected(values: Sequence[float | None], test_share: float, null: float = 0.5) -> Corrected:
    """Mean of a figure over the fits of a repeated split, with the corrected resampled t interval.

    Args:
        values: The figure of each fit, or the difference of two runs in it; None where it has none.
        test_share: Patients of a test part over those that the fit learned from.
        null: The value that is doubted.

    Returns:
        Variance (1 / J + test_share) s^2 with J - 1 degrees of freedom.

    Source: Nadeau and Bengio 2003, "Inference for the generalization error"; for repeated
    cross-validation, Bouckaert and Frank 2004.
    """
    defined = np.array([v for v in values if v is not None and not math.isnan(v)])
    lost = len(values) - len(defined)
    if lost:
        many = f"{lost} of {len(values)} test parts have one class only"
        return Corrected(Estimate(None, reason=many), None, len(values))
    if len(defined) < MIN_FITS:
        few = f"{len(defined)} fits; at least {MIN_FITS} are needed"
        return Corrected(Estimate(None, reason=few), None, len(defined))
    mean, spread = float(defined.mean()), float(defined.var(ddof=1))
    if spread < 1e-18:
        return Corrected(Estimate(mean, reason="all fits are alike; no spread to estimate"), None, len(defined))
    from scipy.special import stdtr, stdtrit

    error, freedom = math.sqrt((1 / len(defined) + test_share) * spread), len(defined) - 1
    reach = float(stdtrit(freedom, ENDS[1])) * error
    p = 2 * float(stdtr(freedom, -abs(mean - null) / error))
    return Corrected(Estimate(mean, mean - reach, mean + reach), p, len(defined))
