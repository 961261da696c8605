"""Steps by percentiles: robust against a few voxels that are far too bright or too dark."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import like

VERSION = 1


def clip_percentile(volume: Volume, *, low: float = 0.5, high: float = 99.5, mask: Volume | None = None) -> Volume:
    """Raise the darkest and lower the brightest voxels to two percentiles.

    Args:
        volume: Array (I, J, K).
        low: Lower percentile, 0 to 100.
        high: Upper percentile, above `low`.
        mask: Voxels that the percentiles are taken from; default: all. In a study file: the
            name of the role.

    Returns:
        Volume (I, J, K) of the same dtype, every voxel between the two.

    Raises:
        ScanError: The percentiles are no range, or the mask is empty.
    """
    ends = percentiles_of(volume, (low, high), mask)
    return volume.with_array(np.clip(volume.array, *ends.astype(volume.array.dtype)))


def normalise_percentile(volume: Volume, *, low: float = 1.0, high: float = 99.0, mask: Volume | None = None) -> Volume:
    """Map two percentiles to 0 and 1, and what lies beyond them too.

    Args:
        volume: Array (I, J, K).
        low: Lower percentile, 0 to 100.
        high: Upper percentile, above `low`.
        mask: Voxels that the percentiles are taken from; default: all. In a study file: the
            name of the role.

    Returns:
        Volume (I, J, K) float32 from 0 to 1.

    Raises:
        ScanError: Both percentiles are the same value, they are no range, or the mask is empty.
    """
    start, stop = percentiles_of(volume, (low, high), mask)
    if stop <= start:
        raise ScanError(f"percentiles {low:g} and {high:g} are one value, so intensities cannot be normalised")
    scaled = (volume.array.astype(np.float32) - np.float32(start)) / np.float32(stop - start)
    return volume.with_array(np.clip(scaled, 0, 1, out=scaled))


def percentiles_of(volume: Volume, percentiles: tuple[float, ...], mask: Volume | None) -> np.ndarray:
    """Values (P,) at ascending percentiles, over all voxels or those of a mask.

    Raises:
        ScanError: Percentiles do not ascend within 0 to 100, or the mask is empty.
    """
    wanted = np.asarray(percentiles, float)
    if not (wanted[0] >= 0 and wanted[-1] <= 100 and (np.diff(wanted) > 0).all()):
        raise ScanError(f"percentiles must ascend within 0 to 100, got {list(percentiles)}")
    return np.percentile(voxels_in(volume, mask), wanted)


def voxels_in(volume: Volume, mask: Volume | None) -> np.ndarray:
    """Voxels (N,) that a mask covers, all of them without one.

    Raises:
        ScanError: The mask is empty.
    """
    if mask is None:
        return volume.array.ravel()
    sample = volume.array[like(mask, volume).array > 0]
    if sample.size == 0:
        raise ScanError("the mask is empty, so no intensities can be measured in it")
    return sample
