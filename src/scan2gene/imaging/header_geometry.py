"""Where a header that nibabel reads places its voxels, and what is odd about that."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from scan2gene.core.axes import axis_codes
from scan2gene.core.text import dimensions

_UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: not stated, metre, millimetre, micron
_MISPLACED = 0.5  # of the smallest voxel side: what qform and sform may differ by
_SKEW_DEGREES = 1.0
UNPLACED = "{}: taken as {}, left and right may be swapped"


def affine_mm(image: Any) -> np.ndarray:
    """Affine (4, 4) of a nibabel image, voxel index -> RAS+ mm; the header's unit is obeyed, mm where it has none."""
    affine = np.array(image.affine, float)
    affine[:3] *= _unit_mm(image.header)
    return affine


def _unit_mm(header: Any) -> float:
    has_units = "xyzt_units" in (header.keys() if hasattr(header, "keys") else ())
    return _UNITS_MM.get(int(header["xyzt_units"]) & 7, 1.0) if has_units else 1.0


def odd_geometry(image: Any, affine: np.ndarray) -> list[str]:
    """What a header leaves open about the place of its voxels, or says in two ways."""
    header = image.header
    keys = header.keys() if hasattr(header, "keys") else ()
    notes = []
    codes = axis_codes(affine)
    if "sform_code" in keys:
        qform, sform = (int(header[name]) for name in ("qform_code", "sform_code"))
        if qform <= 0 and sform <= 0:
            notes.append(UNPLACED.format("no orientation in the header (qform and sform are 0)", codes))
        elif qform > 0 and sform > 0:
            notes += _forms_differ(header, image.shape)
        sides = np.asarray(header["pixdim"][1:4], float) * _unit_mm(header)
        if sform > 0 and not np.allclose(np.linalg.norm(affine[:3, :3], axis=0), np.abs(sides), rtol=0.01):
            notes.append(f"voxel sizes in pixdim are {dimensions(sides)} mm, those of the sform are taken")
    elif "goodRASFlag" in keys:
        if not int(header["goodRASFlag"]):
            notes.append(UNPLACED.format("no orientation in the header (goodRASFlag is 0)", codes))
    else:  # Analyze
        notes.append(UNPLACED.format("Analyze headers have no orientation", codes))
    return notes + skew(affine)


def _forms_differ(header: Any, shape: tuple[int, ...]) -> list[str]:
    """A note where the two affines of a header place the corners of the field differently; sform is taken."""
    second = header.get_sform()
    try:
        first = header.get_qform()
    except ValueError:  # a quaternion that is none
        first = np.full((4, 4), np.nan)
    if not np.isfinite(first).all():
        return ["qform is not valid: sform is taken"]
    corners = np.array([[*corner, 1] for corner in product(*[(0, n - 1) for n in shape[:3]])], float)
    apart = float(np.linalg.norm(corners @ (first - second)[:3].T, axis=1).max())
    if apart <= _MISPLACED * float(np.linalg.norm(second[:3, :3], axis=0).min()):
        return []
    return [f"qform and sform differ by up to {apart * _unit_mm(header):.3g} mm: sform is taken"]


def skew(affine: np.ndarray) -> list[str]:
    """A note where the voxel axes are not at right angles."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosine = float(np.abs(axes.T @ axes - np.eye(3)).max())
    degrees = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    return [f"voxel axes are {degrees:.1f} degrees off right angles"] if degrees > _SKEW_DEGREES else []
