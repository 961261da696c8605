"""The neighbourhood of a segmentation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import bounding_box, checked_shape, cropped
from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import like

VERSION = 1


def crop_to_mask(volume: Volume, *, mask: Volume, margin_voxels: int = 4, shape: Sequence[int] | None = None) -> Volume:
    """Cut the box around a mask out of a volume.

    Args:
        volume: Array (I, J, K).
        mask: Label volume; brought to the volume's grid if it has another. In a study
            file: the name of the role.
        margin_voxels: Added on every side. Ignored when `shape` is given.
        shape: Fixed box size, centred on the mask's box: keeps the scale comparable.

    Returns:
        The cut-out; parts outside the field take the volume's minimum, in a mask 0.

    Raises:
        ScanError: The mask is empty.
        GeometryError: The shape is not three positive integers.
    """
    inside = like(mask, volume).array > 0
    if not inside.any():
        raise ScanError("the mask is empty, so there is nothing to crop to")
    low, high = bounding_box(inside)
    if shape is None:
        start, stop = np.maximum(low - margin_voxels, 0), np.minimum(high + margin_voxels, volume.shape)
    else:
        start = (low + high - checked_shape(shape)) // 2
        stop = start + checked_shape(shape)
    fill = 0.0 if volume.kind == "label" else float(volume.array.min())
    return cropped(volume, start, stop, fill)
