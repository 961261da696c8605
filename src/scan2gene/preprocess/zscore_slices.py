"""Zero mean, unit variance, slice by slice."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume

VERSION = 1


def zscore_slices(volume: Volume) -> Volume:
    """Subtract from each slice (along k) its mean and divide by its standard deviation.

    Args:
        volume: Array (I, J, K), k the slice axis.

    Returns:
        Volume (I, J, K) float32; a slice of one value becomes 0.
    """
    out = np.empty(volume.shape, np.float32, order="F" if volume.array.flags.f_contiguous else "C")
    for k in range(volume.shape[2]):
        # Rows first, as most volumes lie in memory; squares of large values leave float32.
        plane = np.ascontiguousarray(volume.array[:, :, k].T, dtype=np.float64)
        if plane.min() == plane.max():  # rounding gives one value a tiny deviation, not 0
            out[:, :, k] = 0
            continue
        plane -= plane.mean()
        plane /= np.sqrt(np.vdot(plane, plane) / plane.size)
        out[:, :, k] = plane.T
    return volume.with_array(out)
