"""From frames to volumes: which frames of a series belong together, in which order, on which grid."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.imaging.frame import MARKS, TIMES, Frame
from scan2gene.imaging.tags import KEYWORDS

MIN_SLICES = 3
ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine within one volume
SPACING_TOLERANCE_MM = 0.05  # slice gaps may differ from their median by this, or by 2 %, whichever is larger
SPACING_TOLERANCE = 0.02
PIXEL_TOLERANCE_MM = 1e-3  # of the pixel spacing within one volume
TILT_TOLERANCE_MM = 0.1  # sideways shift from slice to slice, as of a tilted gantry
MISSING_SLICE = 1.5  # a gap of so many typical ones is a missing slice
PROJECTIONS = frozenset({"MIP", "MAXIP", "MINIP", "MNIP", "PROJECTION IMAGE", "VOLREN"})  # values of ImageType
_DIRECTIONALITY = ("DIRECTIONAL", "BMATRIX", "ISOTROPIC", "NONE")  # defined terms of enhanced files


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

    Frames of another size, pixel spacing or orientation are another volume, and so are
    projections kept beside their volume. Frames that share their positions are divided by
    the mark that does so best (`MARKS`), else by the order in which the scanner numbered
    them. Repeated files count once.

    Returns:
        At least one; ordered by instance number, whatever the files are called.
    """
    unique, copies = _without_copies(frames)
    if len({f.exam for f in frames}) > 1:
        return [Stack(unique, "", copies, "files of several patients or studies share this SeriesInstanceUID")]
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
    if places == 1 and all(map(_is_projection, frames)):
        what = "projected from a volume"
    return Stack(frames, trouble=f"{len(frames)} slice(s) {what}: no {MIN_SLICES} of them share a grid")


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """Frames without repeated files, and the number of those: an image identifier counts once per place."""
    at: dict[tuple[str, int], set[tuple[float, ...]]] = defaultdict(set)
    for frame in frames:
        at[frame.instance, frame.number].add(frame.position)
    seen: set[tuple] = set()
    unique: list[Frame] = []
    for frame in frames:
        key = (frame.instance, frame.number, frame.position, frame.order, frame.marks)
        # An identifier that some anonymiser wrote into different slices tells nothing about copies.
        if not frame.instance or len(at[frame.instance, frame.number]) > 1 or key not in seen:
            unique.append(frame)
        seen.add(key)
    kept = {frame.source for frame in unique}
    return unique, len({frame.source for frame in frames} - kept)


def _by_geometry(frames: list[Frame]) -> list[list[Frame]]:
    """Frames of one size, pixel spacing and orientation, each within its tolerance."""
    groups: list[list[Frame]] = []
    known: dict[tuple, int] = {}
    for frame in frames:
        key = (frame.size, frame.samples, frame.spacing, frame.orientation, _is_projection(frame))
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
        and _is_projection(a) == _is_projection(b)
        and bool(np.abs(np.subtract(a.spacing, b.spacing)).max() <= PIXEL_TOLERANCE_MM)
        and bool(np.abs(np.subtract(a.orientation, b.orientation)).max() <= ORIENTATION_TOLERANCE)
    )


def _is_projection(frame: Frame) -> bool:
    return not PROJECTIONS.isdisjoint(frame.marks[0].upper().split("\\"))  # ImageType


def _divided(frames: list[Frame]) -> list[Stack]:
    """Parts in which no slice position repeats."""
    places = _places(frames)
    counts = Counter(places)
    most = max(counts.values())
    if most == 1:
        return [Stack(frames)]
    even = min(counts.values()) == most
    best: dict[str, list[int]] = {}
    least = (True, len(frames) - len(counts))  # whether parts lack positions; frames too many
    for mark, name in enumerate(MARKS):
        parts: dict[str, list[int]] = defaultdict(list)
        for n, frame in enumerate(frames):
            parts[frame.marks[mark]].append(n)
        # A mark that differs from slice to slice, such as a time, makes as many parts as slices: no division.
        if not 1 < len(parts) <= most + (name not in TIMES):
            continue
        held = [Counter(places[n] for n in part) for part in parts.values()]
        lacking = any(len(h) < len(counts) or len(set(h.values())) > 1 for h in held)
        left = sum(h.total() - len(h) for h in held)
        # Where no slice is missing, parts that lack positions are not the volumes: a coarse clock, say.
        if (lacking and even) or (lacking and name in TIMES and left):
            continue
        if (lacking, left) < least:
            best, least = parts, (lacking, left)
    if best:
        return [stack for part in best.values() for stack in _divided([frames[n] for n in part])]
    return _by_number(frames, places, even)


def _by_number(frames: list[Frame], places: list[int], even: bool) -> list[Stack]:
    """The n-th frame at each place is the n-th volume's, if the numbers run through the volumes in order."""
    at: dict[int, list[Frame]] = defaultdict(list)
    for frame, place in zip(frames, places, strict=True):
        at[place].append(frame)
    ordered = [sorted(here, key=_rank) for here in at.values()]
    why = "nothing tells their volumes apart"
    if not all(len({f.order for f in here}) == len(here) for here in ordered):
        why = "their numbers repeat too, as of a converted copy"
    elif even and len(at) >= MIN_SLICES:
        if _in_turn(ordered):
            return [Stack(list(volume)) for volume in zip(*ordered, strict=True)]
        why = "their numbers run neither volume by volume nor slice by slice"
    return [Stack(frames, trouble=f"several slices at one position, and {why}")]


def _in_turn(ordered: list[list[Frame]]) -> bool:
    """Whether frames, as places x volumes, are numbered volume by volume, slice by slice, or alike at every place."""
    rank = {order: n for n, order in enumerate(sorted({f.order for here in ordered for f in here}))}
    numbers = np.array([[rank[f.order] for f in here] for here in ordered])  # (places, volumes)
    numbers = numbers[np.argsort(numbers[:, 0])]
    by_volume = (numbers.max(axis=0)[:-1] < numbers.min(axis=0)[1:]).all()
    by_slice = (numbers[:-1].max(axis=1) < numbers[1:].min(axis=1)).all()
    alike = (numbers - numbers[:, :1] == numbers[0] - numbers[0, 0]).all()
    return bool(by_volume or by_slice or alike)


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
        "; ".join(f"{MARKS[m]}={text}" for m in telling if len(v[m]) == 1 and (text := _shown(MARKS[m], *v[m])))
        for v in values
    ]


def _shown(mark: str, text: str) -> str:
    """A mark as the index shows it; no text where a number belongs, for it may be a name."""
    known = mark in KEYWORDS or text in _DIRECTIONALITY
    return text if known or re.fullmatch(r"[-+0-9.eE\\]*", text) else ""


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
