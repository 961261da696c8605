"""Plain functions of affines (4, 4), voxel index -> RAS+ mm.

Axis codes follow nibabel: the letter names the direction in which the index grows,
so 'RAS' grows towards right, anterior, superior.
"""

from __future__ import annotations

import numpy as np

LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))  # of the two directions of each world axis
OBLIQUE_DEGREES = 30.0  # a slice normal further than this from every axis is called oblique


def axis_map(affine: np.ndarray) -> list[tuple[int, int]]:
    """For each voxel axis its nearest world axis (0, 1, 2) and its sign.

    The assignment is one to one: the strongest alignment is taken first, so that an
    oblique volume cannot claim one world axis twice.
    """
    direction = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    strength = np.abs(direction)
    result: list[tuple[int, int]] = [(0, 1)] * 3
    for _ in range(3):
        world, voxel = np.unravel_index(int(np.argmax(strength)), (3, 3))
        result[voxel] = (int(world), 1 if direction[world, voxel] > 0 else -1)
        strength[world, :] = -1
        strength[:, voxel] = -1
    return result


def axis_codes(affine: np.ndarray) -> str:
    """Axis codes of an affine, e.g. 'LAS'."""
    return "".join(LETTERS[world][sign > 0] for world, sign in axis_map(affine))


def plane(affine: np.ndarray) -> str:
    """Name of the plane of slices along the last axis: axial, coronal, sagittal or oblique."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal = np.abs(normal / np.linalg.norm(normal))
    world = int(np.argmax(normal))
    if np.degrees(np.arccos(min(1.0, float(normal[world])))) > OBLIQUE_DEGREES:
        return "oblique"
    return ("sagittal", "coronal", "axial")[world]
