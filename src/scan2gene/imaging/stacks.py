"""From frames to volumes: which frames of a series belong together, in which order, on which grid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.imaging.frames import MARKS, Frame

MIN_SLICES = 3
ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine within one volume
SPACING_TOLERANCE_MM = 0.05  # slice gaps may differ from their median by this, or by 2 %, whichever is larger
SPACING_TOLERANCE = 0.02
PIXEL_TOLERANCE_MM = 1e-3  # of the pixel spacing within one volume
TILT_TOLERANCE_MM = 0.1  # sideways shift from slice to slice, as of a tilted gantry
MISSING_SLICE = 1.5  # a gap of so many typical ones is a missing slice


@dataclass(frozen=True)
class Stack:
    """The frames of one volume.

    Args:
        frames: In any order; `grid` orders them.
        apart: What tells this volume from the others of its series, such as "EchoTime=90".
        copies: Repeated files that were left aside.
        trouble: Why these frames make no volume, known before the grid is tried.
    """

    frames: list[Frame]
    apart: str = ""
    copies: int = 0
    trouble: str = ""


def stacks(frames: Sequence[Frame]) -> list[Stack]:
    """Divide one series into volumes.

    Frames of another size, pixel spacing or orientation are another volume. Frames that
    share their positions are divided by the first mark that does so (`MARKS`), else by the
    order in which the scanner numbered them. Repeated files count once.

    Returns:
        At least one; ordered by instance number, whatever the files are called.
    """
    unique, copies = _without_copies(frames)
    placed = [f for f in unique if not f.trouble]
    groups: list[list[Frame]] = []
    strays: list[list[Frame]] = []
    for group in _by_geometry(placed):
        (groups if len(group) >= MIN_SLICES else strays).append(group)
    parts = [part for group in groups for part in _divided(group)]
    parts = [Stack(p.frames, trouble=p.trouble) for p in parts]
    if strays:
        parts.append(_strays([f for group in strays for f in group], alone=not groups and len(strays) == 1))
    for trouble in dict.fromkeys(f.trouble for f in unique if f.trouble):
        parts.append(Stack([f for f in unique if f.trouble == trouble], trouble=trouble))
    parts.sort(key=lambda part: (min(_rank(f) for f in part.frames), bool(part.trouble)))
    names = _told_apart([part.frames for part in parts])
    return [Stack(p.frames, name, copies, p.trouble) for p, name in zip(parts, names, strict=True)]


def _strays(frames: list[Frame], alone: bool) -> Stack:
    if alone:
        return Stack(frames)  # the grid says how many slices are too few
    places = len({f.orientation for f in frames})
    what = "of different orientation, such as a localiser" if places > 1 else "of different size or pixel spacing"
    return Stack(frames, trouble=f"{len(frames)} slice(s) {what}: no {MIN_SLICES} of them share a grid")


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """Frames without repeated files, and the number of those: an image identifier counts once per place."""
    seen: set[tuple] = set()
    unique: list[Frame] = []
    for frame in frames:
        key = (frame.instance, frame.number, frame.position, frame.order, frame.marks)
        if not frame.instance or key not in seen:
            unique.append(frame)
        seen.add(key)
    kept = {frame.source for frame in unique}
    return unique, len({frame.source for frame in frames} - kept)


def _by_geometry(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one size, pixel spacing and orientation, each within its tolerance."""
    groups: list[list[Frame]] = []
    known: dict[tuple, int] = {}
    for frame in frames:
        key = (frame.size, frame.samples, frame.spacing, frame.orientation)
        if key not in known:
            known[key] = next((n for n, g in enumerate(groups) if _alike(g[0], frame)), len(groups))
            if known[key] == len(groups):
                groups.append([])
        groups[known[key]].append(frame)
    return groups


def _alike(a: Frame, b: Frame) -> bool:
    return (
        a.size == b.size
        and a.samples == b.samples
        and bool(np.abs(np.subtract(a.spacing, b.spacing)).max() <= PIXEL_TOLERANCE_MM)
        and bool(np.abs(np.subtract(a.orientation, b.orientation)).max() <= ORIENTATION_TOLERANCE)
    )


def _divided(frames: list[Frame]) -> list[Stack]:
    """Parts in which no slice position repeats."""
    places = _places(frames)
    most = max(Counter(places).values())
    if most == 1:
        return [Stack(frames)]
    best: dict[str, list[Frame]] = {}
    fewest = len(frames) - len(set(places))  # frames too many
    for mark in range(len(MARKS)):
        parts: dict[str, list[Frame]] = defaultdict(list)
        for frame in frames:
            parts[frame.marks[mark]].append(frame)
        # A mark that differs from slice to slice, such as a time, makes as many parts as slices: no division.
        if 1 < len(parts) <= most + 1:
            left = sum(len(p) - len(set(_places(p))) for p in parts.values())
            if left < fewest:
                best, fewest = parts, left
    if best:
        return [stack for part in best.values() for stack in _divided(part)]
    return _by_number(frames, places, most)


def _by_number(frames: list[Frame], places: list[int], most: int) -> list[Stack]:
    """The n-th frame at each place is the n-th volume's."""
    counts = Counter(places)
    at: dict[int, list[Frame]] = defaultdict(list)
    for frame, place in zip(frames, places, strict=True):
        at[place].append(frame)
    numbered = all(len({f.order for f in here}) == len(here) for here in at.values())
    if len(counts) < MIN_SLICES or min(counts.values()) < most or not numbered:
        why = "nothing tells their volumes apart" if numbered else "their numbers repeat too, as of a converted copy"
        return [Stack(frames, trouble=f"several slices at one position, and {why}")]
    ordered = [sorted(here, key=_rank) for here in at.values()]
    return [Stack([here[n] for here in ordered]) for n in range(most)]


def _places(frames: list[Frame]) -> list[int]:
    """Number of the slice position of each frame, counted along the normal."""
    orientation = np.array(frames[0].orientation)
    normal = np.cross(orientation[:3], orientation[3:])
    along = np.array([f.position for f in frames]) @ normal
    order = np.argsort(along, kind="stable")
    place = np.empty(len(frames), int)
    place[order] = np.concatenate([[0], np.cumsum(np.diff(along[order]) > SPACING_TOLERANCE_MM)])
    return place.tolist()


def _rank(frame: Frame) -> tuple[float, int, tuple[str, ...]]:
    return (*frame.order, frame.marks)


def _told_apart(parts: list[list[Frame]]) -> list[str]:
    """For each part, the marks that all of its frames share and that differ between parts."""
    if len(parts) == 1:
        return [""]
    values = [[{f.marks[m] for f in part} for m in range(len(MARKS))] for part in parts]
    telling = [m for m in range(len(MARKS)) if len({frozenset(v[m]) for v in values}) > 1]
    return [
        "; ".join(f"{MARKS[m]}={next(iter(v[m]))}" for m in telling if len(v[m]) == 1 and next(iter(v[m])))
        for v in values
    ]


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
    if len(frames) < MIN_SLICES:
        raise ScanError(f"only {len(frames)} slice(s); a volume needs at least {MIN_SLICES}")
    row, column = np.array(frames[0].orientation[:3]), np.array(frames[0].orientation[3:])
    lengths = np.linalg.norm([row, column], axis=1)
    if abs(row @ column) > ORIENTATION_TOLERANCE or np.abs(lengths - 1).max() > 0.01:
        raise ScanError("the row and column directions are not perpendicular unit vectors")
    normal = np.cross(row, column)
    positions = np.array([f.position for f in frames])  # (N, 3)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _slice_step(positions, normal)
    row_mm, column_mm = frames[0].spacing  # between rows, between columns
    affine = np.eye(4)
    affine[:3, 0] = row * column_mm
    affine[:3, 1] = column * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return [frames[n] for n in order], (*frames[0].size, len(frames)), LPS_TO_RAS @ affine


def _slice_step(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Vector (3,) from a slice to the next, in mm; refuses irregular stacks."""
    gaps = np.diff(positions @ normal)
    typical = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * typical)
    if typical <= SPACING_TOLERANCE_MM or gaps.min() <= SPACING_TOLERANCE_MM:
        raise ScanError("several slices at one position: repeated files, or a 4D series")
    if gaps.max() > MISSING_SLICE * typical:
        raise ScanError(f"a slice is missing: a gap of {gaps.max():.2f} mm among slices {typical:.2f} mm apart")
    if np.abs(gaps - typical).max() > tolerance:
        raise ScanError(f"unequal slice spacing, {gaps.min():.2f} to {gaps.max():.2f} mm")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    if sideways > TILT_TOLERANCE_MM:
        raise ScanError(f"slices are sheared by {sideways:.2f} mm from one to the next, as of a tilted gantry")
    off = np.abs(positions - positions[0] - np.outer(np.arange(len(positions)), step)).max()
    if off > max(tolerance, TILT_TOLERANCE_MM):
        raise ScanError(f"a slice lies {off:.2f} mm beside the line of the others")
    return step
