"""Maps and masks on grids: from the prepared one to that of the scan, and from slices back to a volume."""

from __future__ import annotations

import re

import numpy as np

from scan2gene.core.files import value_hash
from scan2gene.core.geometry import to_sitk
from scan2gene.core.volume import Volume

LEVELS = 255  # a map on the scan's grid is rounded to so many steps: it then packs well


def on_grid(volume: Volume, scan: Volume) -> Volume:
    """A map on the grid of a scan: linear between voxels, 0 outside the prepared field."""
    import SimpleITK as sitk

    shape = scan.shape
    grid = to_sitk(Volume(np.broadcast_to(np.uint8(0), shape), scan.affine))
    moved = sitk.Resample(to_sitk(volume), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    array = sitk.GetArrayFromImage(moved).T
    top = float(array.max()) or 1.0
    return Volume((np.rint(array * (LEVELS / top)) * (top / LEVELS)).astype(np.float32), scan.affine)


def slug(text: str) -> str:
    """A file name that no two ids share."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text)
    return plain if plain == text else f"{plain}-{value_hash(text)[:6]}"


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
