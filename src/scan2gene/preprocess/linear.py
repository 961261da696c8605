"""Linear resampling along the voxel axes, smoothed first where voxels grow, as three banded matrix products.

Smoothing and interpolation are both linear, so along one axis they fold into one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from scan2gene.preprocess.spline import band_of, places, readable, run_bands, same_band

TRUNCATE = 4.0  # standard deviations at which the Gaussian ends, as in scipy


def resample_linear(array: np.ndarray, shape: Sequence[int], factor: Sequence[float]) -> np.ndarray:
    """Resample onto voxels `factor` times as wide, the outer corner of voxel 0 fixed.

    Args:
        array: (I, J, K) of any real type.
        shape: Voxels of the result.
        factor: New voxel width over old, along i, j, k; > 0.

    Returns:
        (I', J', K') of float32, or of the given whole-number type, rounded. Beyond the centres of the outermost voxels
        the edge value is repeated.
    """
    source = readable(array)
    whole = np.issubdtype(array.dtype, np.integer)
    out = np.empty(tuple(int(n) for n in shape)[::-1], array.dtype.newbyteorder("=") if whole else np.float32)
    bands = [linear_band(n, m, float(f)) for n, m, f in zip(source.shape, out.shape, tuple(factor)[::-1], strict=True)]
    run_bands(source, bands, (float(source.min()), float(source.max())), out)
    return out.T


@lru_cache(maxsize=64)
def linear_band(size: int, count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of one axis, band only: a Gaussian of sigma = (factor - 1) / 2 voxels where factor > 1, then linear.

    Args:
        size: Old voxels.
        count: New voxels.
        factor: New width over old.

    Returns:
        Weights (count, W) float32, W a multiple of 4, and the old voxel of each row's first weight (count,) int64.
        Weights beyond the last voxel are 0.
    """
    if size == count and factor == 1:
        return same_band(size)
    base, t = places(size, count, factor)
    sigma = max(0.0, (factor - 1) / 2)
    radius = int(TRUNCATE * sigma + 0.5)
    reach = np.arange(-radius, radius + 1)
    heights = np.exp(-0.5 * (reach / sigma) ** 2) if radius else np.ones(1)
    dense = np.zeros((count, size))
    for d, height in zip(reach, heights / heights.sum(), strict=True):
        for neighbour, weight in ((0, 1 - t), (1, t)):
            # the edge value is repeated, for both the Gaussian and the last half voxel
            column = np.clip(np.minimum(base + neighbour, size - 1) + d, 0, size - 1)
            np.add.at(dense, (np.arange(count), column), weight * height)
    return band_of(dense, base - radius, -(-(2 * radius + 2) // 4) * 4)
