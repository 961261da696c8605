"""Only what a segmentation covers."""

from __future__ import annotations

from typing import Literal

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import like

VERSION = 1


def apply_mask(volume: Volume, *, mask: Volume, outside: Literal["minimum", "zero"] = "minimum") -> Volume:
    """Blank every voxel that a mask does not cover.

    Args:
        volume: Array (I, J, K).
        mask: Label volume, any class counts; brought to the volume's grid if it has another.
            In a study file: the name of the role.
        outside: "minimum" sets the rest to the volume's minimum, "zero" to 0.

    Raises:
        ScanError: The mask is empty, or `outside` is not known.
    """
    if outside not in ("minimum", "zero"):
        raise ScanError(f"outside must be 'minimum' or 'zero', got {outside!r}")
    inside = like(mask, volume).array > 0
    if not inside.any():
        raise ScanError("the mask is empty, so nothing would be left")
    blank = volume.array.min() if outside == "minimum" else volume.array.dtype.type(0)
    return volume.with_array(np.where(inside, volume.array, blank))
