"""Zero mean, unit variance."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.percentiles import voxels_in

VERSION = 1


def zscore(volume: Volume, *, nonzero: bool = False, mask: Volume | None = None) -> Volume:
    """Subtract the mean and divide by the standard deviation of this one volume.

    Args:
        volume: Array (I, J, K).
        nonzero: Estimate both over voxels that are not 0, and leave the others 0.
        mask: Estimate both over the voxels of a mask; those outside are scaled with the
            others. In a study file: the name of the role.

    Returns:
        Volume (I, J, K) float32.

    Raises:
        ScanError: All voxels are equal, or the mask is empty.
    """
    array = volume.array.astype(np.float32)
    sample = voxels_in(volume.with_array(array), mask)
    if nonzero:
        sample = sample[sample != 0]
    if sample.size == 0 or sample.min() == sample.max():  # rounding gives one value a tiny deviation, not 0
        raise ScanError("all voxels have one value, so intensities cannot be standardised")
    # measured in double precision: squares of large values leave float32
    scaled = (array - float(sample.mean(dtype=np.float64))) / float(sample.std(dtype=np.float64))
    if nonzero:
        scaled[array == 0] = 0
    return volume.with_array(scaled.astype(np.float32, copy=False))
