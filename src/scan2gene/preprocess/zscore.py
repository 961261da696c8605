"""Zero mean, unit variance."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume


def zscore(volume: Volume, *, nonzero: bool = False) -> Volume:
    """Subtract the mean and divide by the standard deviation of this one volume.

    Args:
        volume: Array (I, J, K).
        nonzero: Estimate both over voxels that are not 0, and leave the others 0.

    Returns:
        Volume (I, J, K) float32.

    Raises:
        ScanError: All voxels are equal.
    """
    array = volume.array.astype(np.float32)
    where = array != 0 if nonzero else np.ones(array.shape, bool)
    sample = array[where]
    if sample.size == 0 or sample.min() == sample.max():  # rounding gives one value a tiny deviation, not 0
        raise ScanError("all voxels have one value, so intensities cannot be standardised")
    return volume.with_array(np.where(where, (array - sample.mean()) / sample.std(), 0).astype(np.float32))
