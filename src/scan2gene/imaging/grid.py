"""The grid of one volume: the order of its slices, and where each voxel lies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.core.text import counted
from scan2gene.imaging.frame import Frame

MIN_SLICES = 3
ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine within one volume
SPACING_TOLERANCE_MM = 0.05  # slice gaps may differ from their median by this, or by 2 %, whichever is larger
SPACING_TOLERANCE = 0.02
ROUNDED_MM = 0.0505  # a position rounded to 0.1 mm lies so far off its place, coordinate by coordinate
TILT_TOLERANCE_MM = 0.1  # sideways shift from slice to slice, as of a tilted gantry
MISSING_SLICE = 1.5  # a gap of so many typical ones is a missing slice
_MEND = "fetch them again, or delete them to use what is left"


@dataclass(frozen=True)
class Stack:
    """The frames of one volume.

    Args:
        frames: In any order; `grid` orders them.
        apart: What tells this volume from the others of its series, such as "EchoTime=90".
        copies: Repeated files that were left aside.
        trouble: Why these frames make no volume, known before the grid is tried.
        damaged: Slices of this volume that cannot be read.
        lost: Files whose header cannot be read and that may be slices of this volume.
    """

    frames: list[Frame]
    apart: str = ""
    copies: int = 0
    trouble: str = ""
    damaged: list[Frame] = field(default_factory=list)
    lost: int = 0


def grid(stack: Stack) -> tuple[list[Frame], tuple[int, int, int], np.ndarray]:
    """Order and place of the frames of one volume.

    Returns:
        The frames from first to last slice; shape (I, J, K) = columns, rows, slices;
        affine (4, 4) voxel index -> RAS+ mm.

    Raises:
        ScanError: Not a regular stack: few slices, repeated or missing positions, tilt.
    """
    if stack.trouble:
        raise ScanError(stack.trouble)
    frames = stack.frames
    if not frames:
        raise ScanError(stack.damaged[0].damage)
    if len(frames) < MIN_SLICES <= len(frames) + len(stack.damaged):
        raise ScanError(_unread(stack))
    if len(frames) < MIN_SLICES:
        raise ScanError(f"only {counted(len(frames), 'slice')}; a volume needs at least {MIN_SLICES}")
    row, column = np.array(frames[0].orientation[:3]), np.array(frames[0].orientation[3:])
    lengths = np.linalg.norm([row, column], axis=1)
    if abs(row @ column) > ORIENTATION_TOLERANCE or np.abs(lengths - 1).max() > 0.01:
        raise ScanError("the row and column directions are not perpendicular unit vectors")
    normal = np.cross(row, column)
    positions = np.array([f.position for f in frames])  # (N, 3)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _slice_step(positions, normal)
    if stack.damaged or stack.lost:  # a gap would have been found, so they lie at the ends
        raise ScanError(_unread(stack))
    row_mm, column_mm = frames[0].spacing  # between rows, between columns
    affine = np.eye(4)
    affine[:3, 0] = row * column_mm
    affine[:3, 1] = column * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return [frames[n] for n in order], (*frames[0].size, len(frames)), LPS_TO_RAS @ affine


def _unread(stack: Stack) -> str:
    """How many slices a volume lacks because their files cannot be read."""
    few, bad = len(stack.frames), len(stack.damaged)
    if not bad:
        lost = counted(stack.lost, "file")
        return f"{lost} among its {few} slices cannot be read and may be slices at its ends: {_MEND}"
    whys = Counter(f.damage or f.trouble for f in stack.damaged)
    return f"{bad} of its {few + bad} slices cannot be read ({whys.most_common(1)[0][0]}): {_MEND}"


def _slice_step(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Vector (3,) from a slice to the next, in mm; refuses irregular stacks."""
    gaps = np.diff(positions @ normal)
    typical = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * typical)
    if typical <= SPACING_TOLERANCE_MM or gaps.min() <= SPACING_TOLERANCE_MM:
        raise ScanError("several slices at one position: repeated files, or a 4D series")
    if gaps.max() > MISSING_SLICE * typical:
        raise ScanError(f"a slice is missing: a gap of {gaps.max():.2f} mm among slices {typical:.2f} mm apart")
    step, rounded = (positions[-1] - positions[0]) / (len(positions) - 1), False
    unequal = np.abs(gaps - typical).max() > tolerance
    off = np.abs(positions - positions[0] - np.outer(np.arange(len(positions)), step)).max()
    if unequal or off > max(tolerance, TILT_TOLERANCE_MM):
        step, rounded = _rounded_step(positions)
        if not rounded and unequal:
            raise ScanError(f"unequal slice spacing, {gaps.min():.2f} to {gaps.max():.2f} mm")
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    if sideways > TILT_TOLERANCE_MM:
        raise ScanError(f"slices are sheared by {sideways:.2f} mm from one to the next, as of a tilted gantry")
    if off > max(tolerance, TILT_TOLERANCE_MM) and not rounded:
        raise ScanError(f"a slice lies {off:.2f} mm beside the line of the others")
    return step


def _rounded_step(positions: np.ndarray) -> tuple[np.ndarray, bool]:
    """Step (3,) that fits positions (N, 3) best, and whether rounding alone explains how far they lie off it."""
    places = np.arange(len(positions)) - (len(positions) - 1) / 2
    step = places @ positions / (places @ places)  # least squares
    reach = 2 * ROUNDED_MM / (len(positions) - 1)

    def spread(steps: np.ndarray) -> np.ndarray:
        return np.ptp(positions - np.outer(places, steps), axis=0)

    low, high = step - reach, step + reach
    for _ in range(30):  # the spread of each coordinate is convex in its step
        third = (high - low) / 3
        left = spread(low + third) < spread(high - third)
        low, high = np.where(left, low, low + third), np.where(left, high - third, high)
    best = (low + high) / 2
    return best, bool(spread(best).max() <= 2 * ROUNDED_MM)
