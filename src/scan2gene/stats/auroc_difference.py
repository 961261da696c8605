"""Two AUROCs apart: of other people, or of the same, also where one of them is perfect and shows no spread."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from scan2gene.core.levels import Z
from scan2gene.stats.intervals import SINGLE, Estimate, Resampled, bca_interval, p_value
from scan2gene.stats.resampling import Sample


def difference_of_intervals(first: Estimate, second: Estimate) -> tuple[Estimate, float | None]:
    """Difference of two shares from their own intervals, and its two-sided P value.

    For where one is 1 or 0 in every draw: draws then know no spread of it, though its exact interval does, and the
    other's alone would make the two look apart. Figures of the same patients are taken to be independent, which
    widens the interval.

    Args:
        first: With its 95 % interval.
        second: The other.

    Source: Zou and Donner 2008, "Construction of confidence intervals about effect measures: a general approach";
    with exact ends of Clopper and Pearson 1934.
    """
    ends = [end for e in (first, second) for end in (e.value, e.low, e.high)]
    if any(end is None for end in ends):
        return Estimate(None, reason=first.reason or second.reason), None
    value, low, high, other, least, most = (float(end or 0) for end in ends)
    difference = value - other
    below, above = np.hypot(value - low, most - other), np.hypot(high - value, other - least)
    reach = float(below if difference > 0 else above)
    p = 1.0 if difference == 0 or not reach > 0 else 2 * NormalDist().cdf(-Z * abs(difference) / reach)
    return Estimate(difference, max(-1.0, float(difference - below)), min(1.0, float(difference + above))), p


def tested_difference(paired: Resampled, first: Estimate, second: Estimate) -> tuple[Estimate, float | None]:
    """A difference of two AUROCs with its interval and two-sided P value.

    Args:
        paired: The difference in each draw.
        first: One AUROC with its interval.
        second: The other; where one of the two is 1 or 0, `difference_of_intervals` is taken.
    """
    if first.value != second.value and any(e.value in (0.0, 1.0) for e in (first, second)):
        return difference_of_intervals(first, second)
    return bca_interval(paired), p_value(paired)


def auroc_drop(inside: Sample, outside: Sample, draws: int, seed: int) -> tuple[Estimate, float | None]:
    """AUROC of one set of patients less that of another, with its interval and two-sided P value.

    Both are drawn by themselves, so that the two are independent; the degrees of freedom are Welch's.

    Args:
        inside: One set.
        outside: The other, no patient of it in the first.
        draws: Of each.
        seed: Of the first; the second has another.

    Source: Efron and Tibshirani 1993, chapter 8 on two samples; Welch 1947 for the degrees of freedom.
    """
    for what, sample in (("inside", inside), ("outside", outside)):
        why = sample.lacking or ("" if sample.fewest > 1 else SINGLE)
        if why:
            return Estimate(None, reason=f"{what}: {why}"), None
    first, second = inside.auroc(draws, seed), outside.auroc(draws, seed + 1)
    if np.isnan(first.value) or np.isnan(second.value):
        return Estimate(None, reason="no fold has tested patients of both classes"), None
    ends = [sample.interval("auroc", draws, seed) for sample in (inside, outside)]
    spread = [float(np.nanvar(r.draws)) for r in (first, second)]
    parts = sum(v**2 / r.freedom for v, r in zip(spread, (first, second), strict=True) if np.isfinite(r.freedom))
    freedom = sum(spread) ** 2 / parts if parts > 0 else np.inf
    difference = Resampled(
        first.value - second.value, first.draws - second.draws,
        np.concatenate([first.left_out - second.value, first.value - second.left_out]), freedom, (-1.0, 1.0),
    )  # fmt: skip
    return tested_difference(difference, *ends)
