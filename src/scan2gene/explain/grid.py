"""Maps on the grid of the scan, and names of their files."""

from __future__ import annotations

import numpy as np

from scan2gene.core.files import value_hash
from scan2gene.core.geometry import to_sitk
from scan2gene.core.text import slug
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


def unique_slug(text: str) -> str:
    """A file name that no two ids share."""
    plain = slug(text)
    return plain if plain == text else f"{plain}-{value_hash(text)[:6]}"
