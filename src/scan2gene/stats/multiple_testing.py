"""P values corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(values: Sequence[float | None]) -> list[float | None]:
    """P values corrected for their number, in their order; what could not be computed counts as 1.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    given = np.array([1.0 if v is None else v for v in values])
    order = np.argsort(given, kind="stable")
    stepped = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1))
    out = np.empty(len(given))
    out[order] = np.minimum(stepped, 1.0)
    return [None if v is None else float(p) for v, p in zip(values, out, strict=True)]
