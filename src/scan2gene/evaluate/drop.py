"""The AUROC of one set of patients less that of another, who are other people."""

from __future__ import annotations

import numpy as np

from scan2gene.evaluate.intervals import Estimate, Resampled, interval_of, p_value
from scan2gene.evaluate.sample import Sample


def drop_of(inside: Sample, outside: Sample, draws: int, seed: int) -> tuple[Estimate, float | None]:
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
        why = sample.lacking or ("" if sample.fewest > 1 else "a single patient in the rarer class shows no spread")
        if why:
            return Estimate(None, reason=f"{what}: {why}"), None
    one, two = inside.auroc(draws, seed), outside.auroc(draws, seed + 1)
    if np.isnan(one.value) or np.isnan(two.value):
        return Estimate(None, reason="no fold has tested patients of both classes"), None
    spread = [float(np.nanvar(r.draws)) for r in (one, two)]
    parts = sum(v**2 / r.freedom for v, r in zip(spread, (one, two), strict=True) if np.isfinite(r.freedom))
    freedom = sum(spread) ** 2 / parts if parts > 0 else np.inf
    apart = Resampled(
        one.value - two.value, one.draws - two.draws,
        np.concatenate([one.left_out - two.value, one.value - two.left_out]), freedom, (-1.0, 1.0),
    )  # fmt: skip
    return interval_of(apart), p_value(apart)
