"""Histogram equalisation."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume


def equalise(volume: Volume, *, bins: int = 256) -> Volume:
    """Spread grey values so that their histogram over the whole volume is as flat as it can be.

    Args:
        volume: Array (I, J, K), finite.
        bins: Grey levels told apart.

    Returns:
        Volume (I, J, K) uint8: 255 * (cdf - cdf_0) / (1 - cdf_0), rounded; the lowest
        level is 0. Order of grey values is kept.

    Source: Gonzalez & Woods, "Digital image processing", section 3.3.
    """
    array = volume.array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    if high <= low:
        return volume.with_array(np.zeros(volume.shape, np.uint8))
    level = np.minimum(((array - low) * (bins / (high - low))).astype(np.int32), bins - 1)
    cdf = np.cumsum(np.bincount(level.ravel(), minlength=bins)).astype(np.float64)
    table = np.rint(255 * (cdf - cdf[0]) / (cdf[-1] - cdf[0])).astype(np.uint8)
    return volume.with_array(table[level])
