"""The body's bounding box."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import bounding_box, cropped
from scan2gene.core.volume import Volume
from scan2gene.preprocess.remove_background import body
from scan2gene.preprocess.resample import like

VERSION = 1


def body_crop(volume: Volume, *, reference: Volume | None = None, margin_voxels: int = 4) -> Volume:
    """Cut out the box around the body; air inside the box stays as it is.

    The body is the largest 26-connected component above the noise of the air (see `foreground`).

    Args:
        volume: Array (I, J, K).
        reference: The volume in which the body is looked for; default: this one. In a study
            file the name of a role; needed where there are several, so that all get one box.
        margin_voxels: Added on every side, as far as the field goes.

    Raises:
        ScanError: There is no body, or it lies outside this volume.
    """
    shown = volume if reference is None else reference
    inside = like(body(shown), volume).array
    if not inside.any():
        raise ScanError("the body of the reference lies outside this volume's field")
    low, high = bounding_box(inside)
    return cropped(volume, np.maximum(low - margin_voxels, 0), np.minimum(high + margin_voxels, volume.shape))
