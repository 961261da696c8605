"""Histogram equalisation."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.preprocess.grey import histogram, looked_up

VERSION = 1


def equalise(volume: Volume, *, bins: int = 256, body: bool = False) -> Volume:
    """Spread grey values so that their histogram is as flat as it can be.

    Args:
        volume: Array (I, J, K), finite.
        bins: Number of grey levels.
        body: Do not count voxels at the volume's minimum, which is what `remove_background`
            leaves outside the body; they become 0. Else the whole volume is counted.

    Returns:
        Volume (I, J, K) uint8: 255 * (cdf - cdf_0) / (1 - cdf_0), rounded; the lowest
        level is 0, with `body` that of the minimum alone. Order of grey values is kept.

    Source: Gonzalez & Woods, "Digital image processing", section 3.3.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    if high <= low:
        return volume.with_array(np.zeros(volume.shape, np.uint8))
    counts = histogram(volume.array, low, high, bins)
    outside = (volume.array == low) if body else None
    floor = counts[0]
    if outside is not None:
        counts[0] -= outside.sum()
        floor = 0
    cdf = np.cumsum(counts).astype(np.float64)
    table = np.rint(255 * (cdf - floor) / (cdf[-1] - floor)).astype(np.uint8)
    array = looked_up(volume.array, low, high, table)
    return volume.with_array(array if outside is None or table[0] == 0 else np.where(outside, np.uint8(0), array))
