"""A fixed number of voxels, without stretching."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from scan2gene.core.geometry import checked_shape, cropped
from scan2gene.core.volume import Volume
from scan2gene.preprocess.foreground import foreground
from scan2gene.preprocess.notes import note

VERSION = 1
CUT_OFF = re.compile(r"crop_or_pad: (\d+\.\d+) % of the body cut off")


def crop_or_pad(volume: Volume, *, shape: Sequence[int]) -> Volume:
    """Cut or fill around the centre to a fixed shape; voxels keep their place in the patient.

    The manifest notes the share of the body that is cut off, if any.

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
    if volume.kind == "intensity" and (start > 0).any():
        inside = foreground(volume.array)
        kept = inside[tuple(slice(max(a, 0), a + n) for a, n in zip(start, new, strict=True))]
        share = 100 * (1 - kept.sum() / max(inside.sum(), 1))
        if share >= 0.1:
            note(f"crop_or_pad: {share:.1f} % of the body cut off")
    return cropped(volume, start, start + new, fill)
