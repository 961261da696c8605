"""Bit-depth reduction, as the BRCA study does."""

from __future__ import annotations

from scan2gene.core.volume import Volume
from scan2gene.preprocess.grey import scaled_to_uint8

VERSION = 1


def min_max_uint8(volume: Volume) -> Volume:
    """Map the smallest voxel to 0 and the largest to 255, rounded to uint8.

    Args:
        volume: Array (I, J, K), finite.

    Returns:
        Volume (I, J, K) uint8; all 0 if every voxel is equal.
    """
    low, high = float(volume.array.min()), float(volume.array.max())
    return volume.with_array(scaled_to_uint8(volume.array, low, 255.0 / (high - low) if high > low else 0.0))
