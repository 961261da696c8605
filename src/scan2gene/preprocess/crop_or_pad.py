"""A fixed number of voxels, without stretching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import GeometryError
from scan2gene.core.geometry import cropped
from scan2gene.core.volume import Volume


def crop_or_pad(volume: Volume, *, shape: Sequence[int]) -> Volume:
    """Cut or fill around the centre to a fixed shape; voxels keep their place in the patient.

    Args:
        volume: Array (I, J, K).
        shape: Voxels along i, j, k of the result. New voxels take the volume's minimum.

    Raises:
        GeometryError: The shape is not three positive integers.
    """
    new = np.asarray(shape)
    if new.shape != (3,) or not (new >= 1).all():
        raise GeometryError(f"shape needs three positive integers, got {list(shape)}")
    start = (np.asarray(volume.shape) - new) // 2
    return cropped(volume, start, start + new, fill=float(volume.array.min()))
