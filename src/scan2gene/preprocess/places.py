"""Slices that `edge_slices` kept, among those of the scan: maps and masks in their places."""

from __future__ import annotations

import numpy as np

from scan2gene.core.geometry import to_sitk
from scan2gene.core.volume import Volume


def with_gaps(volume: Volume, kept: np.ndarray | None) -> Volume:
    """A volume of kept slices with the slices between them, which are 0.

    Args:
        volume: Array (I, J, K), slices that need not adjoin; the affine is that of the first.
        kept: (K,) ascending numbers of the slices; None: they adjoin.
    """
    if kept is None:
        return volume
    array = np.zeros((*volume.shape[:2], int(kept[-1] - kept[0]) + 1), volume.array.dtype)
    array[:, :, kept - kept[0]] = volume.array
    return Volume(array, volume.affine, volume.kind)


def laid_on(mask: Volume, image: Volume, kept: np.ndarray | None) -> np.ndarray:
    """A mask in the voxels of another volume, nearest neighbour: (I, J, K) bool.

    Args:
        mask: Of kind label, on any grid.
        image: Whose voxels.
        kept: As in `with_gaps`, of the image.
    """
    import SimpleITK as sitk

    if kept is None and mask.shape == image.shape and np.allclose(mask.affine, image.affine, atol=1e-3):
        return mask.array > 0
    full = with_gaps(image, kept)
    grid = to_sitk(Volume(np.broadcast_to(np.uint8(0), full.shape), full.affine))
    marked = to_sitk(Volume((mask.array > 0).astype(np.uint8), mask.affine))
    array = sitk.GetArrayFromImage(sitk.Resample(marked, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)).T > 0
    return array if kept is None else array[:, :, kept - kept[0]]
