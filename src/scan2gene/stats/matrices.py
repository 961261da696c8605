"""Tables of numbers without columns that repeat others."""

from __future__ import annotations

import numpy as np


def uncorrelated(values: np.ndarray, limit: float) -> np.ndarray:
    """Numbers of the columns that stay when each goes that agrees with an earlier one that stayed.

    Args:
        values: (N, F) without NaN and without constant columns.
        limit: Largest absolute Pearson correlation.
    """
    x = values - values.mean(axis=0)
    x /= np.maximum(np.sqrt((x**2).sum(axis=0)), 1e-12)
    x = np.ascontiguousarray(x.T, dtype=np.float32)
    kept = np.empty_like(x)
    numbers: list[int] = []
    for number, column in enumerate(x):
        n = len(numbers)
        if not n or np.abs(kept[:n] @ column).max() <= limit:
            kept[n] = column
            numbers.append(number)
    return np.array(numbers, int)
