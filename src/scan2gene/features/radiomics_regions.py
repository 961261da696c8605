"""Where features are measured: the mask, its outer shell (rim), and the shell around it (ring)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scan2gene.core.volume import Volume

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Regions:
    """Regions of an exam in the box that holds them all.

    Args:
        box: The box along k, j, i of the grid.
        spacing: Along k, j, i, in mm.
        masks: Name -> (K, J, I) bool within the box; none has a voxel where the exam has no mask.
        inside: The mask's voxels, (K, J, I) bool within the box.
    """

    box: Box
    spacing: tuple[float, ...]
    masks: Mapping[str, np.ndarray]
    inside: np.ndarray


def regions_of(mask: Volume | None, name: str, rim_mm: float, ring_mm: float) -> Regions:
    """The mask, a rim and a ring.

    Args:
        mask: (I, J, K), above 0 is inside; None where the exam has no mask.
        name: The mask's region.
        rim_mm: Thickness of the region `rim`: voxels of the mask whose centre lies within this of the centre of a
            voxel outside; beyond the border of the grid all is outside. 0 for no such region.
        ring_mm: Thickness of the region `ring`: voxels outside the mask whose centre lies within this of the centre
            of a voxel inside. 0 for no such region.
    """
    names = [name, *(["rim"] if rim_mm > 0 else []), *(["ring"] if ring_mm > 0 else [])]
    if mask is None or not mask.array.any():
        nothing = np.zeros((1, 1, 1), bool)
        return Regions((slice(0, 1),) * 3, (1.0, 1.0, 1.0), dict.fromkeys(names, nothing), nothing)
    spacing = mask.spacing_mm[::-1]
    whole = np.ascontiguousarray(mask.array.T > 0)  # of any memory order: kernels are compiled for this one
    box = bounds(whole, [int(ring_mm / s) for s in spacing])
    inside = whole[box]
    masks = {name: inside}
    if rim_mm > 0:
        distance = _distance(np.pad(inside, 1), spacing)[1:-1, 1:-1, 1:-1]
        masks["rim"] = inside & (distance <= rim_mm)
    if ring_mm > 0:
        masks["ring"] = ~inside & (_distance(~inside, spacing) <= ring_mm)
    return Regions(box, spacing, masks, inside)


def bounds(mask: np.ndarray, margins: tuple[int, ...] | list[int] = (0, 0, 0)) -> Box:
    """The box of the voxels that are set, at least one, wider by margins in voxels but within the array."""
    box = []
    for axis, margin in enumerate(margins):
        others = tuple(other for other in range(3) if other != axis)
        line = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(0, int(line[0]) - margin), min(mask.shape[axis], int(line[-1]) + 1 + margin)))
    return tuple(box)


def enough(mask: np.ndarray, min_voxels: int) -> bool:
    """True where a mask has enough voxels, and extends along two axes at least."""
    if mask.sum() < max(min_voxels, 2):
        return False
    return sum(span.stop - span.start > 1 for span in bounds(mask)) > 1


def _distance(mask: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(mask, sampling=spacing)
