"""Histogram equalisation."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.preprocess.grey import histogram, looked_up


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
    low, high = float(volume.array.min()), float(volume.array.max())
    if high <= low:
        return volume.with_array(np.zeros(volume.shape, np.uint8))
    cdf = np.cumsum(histogram(volume.array, low, high, bins)).astype(np.float64)
    table = np.rint(255 * (cdf - cdf[0]) / (cdf[-1] - cdf[0])).astype(np.uint8)
    return volume.with_array(looked_up(volume.array, low, high, table))
