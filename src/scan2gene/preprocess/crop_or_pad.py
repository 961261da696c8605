"""A fixed number of voxels, without stretching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.geometry import checked_shape, cropped
from scan2gene.core.volume import Volume


def crop_or_pad(volume: Volume, *, shape: Sequence[int]) -> Volume:
    """Cut or fill around the centre to a fixed shape; voxels keep their place in the patient.

    Args:
        volume: Array (I, J, K).
        shape: Voxels along i, j, k of the result. New voxels take the volume's minimum,
            in a mask 0.

    Raises:
        GeometryError: The shape is not three positive integers.
    """
    new = checked_shape(shape)
    start = (np.asarray(volume.shape) - new) // 2
    fill = 0.0 if volume.kind == "label" else float(volume.array.min())
    return cropped(volume, start, start + new, fill)
