"""Bit-depth reduction, as the BRCA study does."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume


def min_max_uint8(volume: Volume) -> Volume:
    """Map the smallest voxel to 0 and the largest to 255, rounded to uint8.

    Args:
        volume: Array (I, J, K), finite.

    Returns:
        Volume (I, J, K) uint8; all 0 if every voxel is equal.
    """
    array = volume.array.astype(np.float32)
    low, high = float(array.min()), float(array.max())
    scale = 255.0 / (high - low) if high > low else 0.0
    return volume.with_array(np.rint((array - low) * scale).astype(np.uint8))
