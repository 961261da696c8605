"""A nominal slice distance in place of one that is not real."""

from __future__ import annotations

from typing import Literal

import numpy as np

from scan2gene.core.volume import Volume

VERSION = 1


def nominal_spacing(volume: Volume, *, extent_mm: float, axis: Literal["i", "j", "k"] = "k") -> Volume:
    """Let the slices of a volume span a given length about its centre; no voxel changes.

    For sets of single pictures whose slice distance was lost and is 1 mm in the header: sizes in mm are then
    comparable between patients if the scans cover the same part of the body.

    Args:
        volume: Array (I, J, K).
        extent_mm: From the first to the last slice, edges included.
        axis: Along which slices were stacked.
    """
    affine, number = volume.affine.copy(), "ijk".index(axis)
    middle = (np.array(volume.shape) - 1) / 2
    centre = affine[:3, :3] @ middle + affine[:3, 3]
    affine[:3, number] *= extent_mm / volume.shape[number] / np.linalg.norm(affine[:3, number])
    affine[:3, 3] = centre - affine[:3, :3] @ middle
    return Volume(volume.array, affine, volume.kind)
