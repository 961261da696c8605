"""Intensities by landmarks, after Nyul.

The standard scale is estimated across exams, so it is no part of the stored preprocessing of
a study: the step takes a fixed one, and `landmarks.py` learns one from training patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.percentiles import percentiles_of

VERSION = 1
PERCENTILES = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


def nyul(
    volume: Volume,
    *,
    standard: Sequence[float],
    percentiles: Sequence[float] = PERCENTILES,
    mask: Volume | None = None,
) -> Volume:
    """Map this volume's percentiles to those of a standard scale, linearly in between.

    Args:
        volume: Array (I, J, K).
        standard: Ascending values, one per percentile; `landmarks_of_training` learns them.
        percentiles: Ascending, 0 to 100.
        mask: Foreground, over which percentiles are taken; default: voxels above the mean.
            In a study file: the name of the role.

    Returns:
        Volume (I, J, K) float32; beyond the ends the outermost pieces go on.

    Raises:
        ScanError: The two lists do not fit, or the foreground has one value only.

    Source: Nyul, Udupa, Zhang 2000, "New variants of a method of MRI scale standardization".
    """
    target = np.asarray(standard, float)
    if target.shape != (len(percentiles),) or len(target) < 2 or not (np.diff(target) > 0).all():
        raise ScanError(f"standard needs {len(percentiles)} ascending values, one per percentile, got {list(standard)}")
    place = landmarks(volume, percentiles, mask)
    first = np.append(True, np.diff(place) > 0)  # of equal landmarks, as whole numbers have them, one
    place, target = place[first], target[first]
    if len(place) < 2:
        raise ScanError("the foreground has one value only, so intensities cannot be standardised")
    slope = np.diff(target) / np.diff(place)  # (P - 1,)
    array = volume.array.astype(np.float32)
    piece = np.searchsorted(place[1:-1], array, side="right")
    mapped = target[piece] + (array - place[piece]) * slope[piece]
    return volume.with_array(mapped.astype(np.float32))


def landmarks(volume: Volume, percentiles: Sequence[float] = PERCENTILES, mask: Volume | None = None) -> np.ndarray:
    """Percentiles (P,) of a volume's foreground: a mask, or the voxels above the mean."""
    if mask is None:
        mask = Volume((volume.array > volume.array.mean()).astype(np.uint8), volume.affine, "label")
        if not mask.array.any():
            raise ScanError("the foreground has one value only, so intensities cannot be standardised")
    return percentiles_of(volume, tuple(percentiles), mask)
