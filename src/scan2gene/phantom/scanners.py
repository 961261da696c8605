"""Scanners that differ as real ones do, and what they acquire. None knows the label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scanner:
    """One scanner's habits. Directions are DICOM's (LPS) row and column cosines."""

    manufacturer: str
    model: str
    field_strength_t: float
    row: tuple[float, float, float]
    column: tuple[float, float, float]
    in_plane_mm: float
    slice_spacing_mm: float
    slice_thickness_mm: float
    gain: float
    noise_std: float
    organs: tuple[str, ...] = ("breast", "brain")


SCANNERS = {
    "espree": Scanner("SIEMENS", "Espree", 1.5, (1, 0, 0), (0, 1, 0), 2.4, 3.0, 3.0, 900, 0.03),
    "skyra": Scanner("SIEMENS", "Skyra", 3.0, (-1, 0, 0), (0, -1, 0), 2.0, 3.0, 2.5, 600, 0.02, ("breast",)),
    "signa": Scanner("GE MEDICAL SYSTEMS", "Signa HDxt", 1.5, (0, 1, 0), (0, 0, -1), 2.4, 2.8, 3.0, 3200, 0.03),
    "ingenia": Scanner("Philips Medical Systems", "Ingenia", 3.0, (1, 0, 0), (0, 1, 0), 2.2, 3.2, 3.0, 1500, 0.02),
}
SITES = {"A": ("espree", "skyra"), "B": ("signa",), "C": ("ingenia", "espree")}

# sequence -> (SeriesDescription by organ, ContrastBolusAgent)
SEQUENCES = {
    "t1": ({"breast": "AX T1 FS PRE", "brain": "T1 SE"}, ""),
    "t1c": ({"breast": "T1 FS POST GD 2 MIN", "brain": "T1 SE POST GD"}, "Gadavist"),
    "t2": ({"breast": "T2 TSE", "brain": "T2 TSE"}, ""),
    "flair": ({"breast": "T2 FS", "brain": "FLAIR TRA"}, ""),
}
FIELD_MM = {  # (low, high) along x, y, z in RAS
    "breast": ((-150.0, 150.0), (-40.0, 84.0), (-66.0, 66.0)),
    "brain": ((-84.0, 84.0), (-100.0, 100.0), (-76.0, 76.0)),
}


def acquisition_grid(scanner: Scanner, organ: str) -> tuple[tuple[int, int, int], np.ndarray]:
    """Columns, rows, slices and the LPS affine (column index, row index, slice index) -> mm."""
    row, column = np.array(scanner.row), np.array(scanner.column)
    directions = np.stack([row, column, np.cross(row, column)], axis=1)  # (3, 3), one per voxel axis
    spacing = np.array([scanner.in_plane_mm, scanner.in_plane_mm, scanner.slice_spacing_mm])
    ras = np.array(FIELD_MM[organ])
    lps = np.stack([[-ras[0, 1], -ras[0, 0]], [-ras[1, 1], -ras[1, 0]], ras[2]])  # (3, 2)
    extent = np.abs(directions.T) @ (lps[:, 1] - lps[:, 0])
    shape = np.floor(extent / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    # the first voxel lies at the low end of each world axis that its direction ascends
    forward = directions.sum(axis=1) > 0
    affine[:3, 3] = np.where(forward, lps[:, 0], lps[:, 1])
    return (int(shape[0]), int(shape[1]), int(shape[2])), affine
