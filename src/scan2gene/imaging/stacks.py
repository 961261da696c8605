"""From frames to volumes: which frames of a series belong together, in which order, on which grid."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from operator import itemgetter

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.text import counted, listed
from scan2gene.imaging.frame import KEPT, MARKS, TIMES, Frame
from scan2gene.imaging.grid import MIN_SLICES, ORIENTATION_TOLERANCE, SPACING_TOLERANCE_MM, Stack, grid
from scan2gene.imaging.tags import KEYWORDS

PIXEL_TOLERANCE_MM = 1e-3  # of the pixel spacing within one volume
PROJECTIONS = frozenset({"MIP", "MAXIP", "MINIP", "MNIP", "PROJECTION IMAGE", "VOLREN"})  # values of ImageType
# Files that differ in one of these are of different series, whatever their SeriesInstanceUID says.
SERIES_WORDS = ("Modality", "SeriesNumber", "SeriesDescription", "ProtocolName")
# So are stacks of slices that differ in one of these; a stray slice that does makes its stack doubtful.
_PARAMETERS = ("EchoTime", "InversionTime", "FlipAngle", "ContrastBolusAgent", "ScanningSequence")
_MAY_VARY = ("RepetitionTime", "SequenceName")  # from slice to slice, as with a trigger
_PARAMETER_TOLERANCE = 0.03  # of a number, within one volume
_FREE_TEXT = frozenset({"SeriesDescription", "ProtocolName", "ContrastBolusAgent"})
series_words = itemgetter(*[KEPT.index(word) for word in SERIES_WORDS])  # of a frame's header
_SHOWN = 5  # how many ids a reason quotes
_DIRECTIONALITY = ("DIRECTIONAL", "BMATRIX", "ISOTROPIC", "NONE")  # defined terms of enhanced files


def stacks(frames: Sequence[Frame], lost: int = 0) -> list[Stack]:
    """Divide one series into volumes.

    Frames of another size, pixel spacing or orientation are another volume, and so are
    projections kept beside their volume, and files of another series that share the
    SeriesInstanceUID (`SERIES_WORDS`). Frames that share their positions are divided by
    the mark that does so best (`MARKS`), else by the order in which the scanner numbered
    them. Repeated files count once.

    Args:
        frames: Of all files with one SeriesInstanceUID.
        lost: Files whose header cannot be read and that may be slices of this series.

    Returns:
        At least one; ordered by instance number, whatever the files are called.
    """
    unique, copies = _without_copies(sorted(frames, key=_order))
    exams = {f.exam for f in unique}
    if len(exams) > 1:
        return [Stack(unique, "", copies, _of_several(sorted({patient for patient, _ in exams})))]
    parts = [_with_damage(part) for part in _volumes([f for f in unique if not f.trouble])]
    placeless = [f for f in unique if f.trouble]
    parts = [_lacking(part, placeless, lost) for part in parts if part.frames]
    for trouble in dict.fromkeys(f.trouble for f in unique if f.trouble and not f.damage):
        parts.append(Stack([f for f in unique if f.trouble == trouble], trouble=trouble))
    if not parts:
        return [Stack([], copies=copies, damaged=unique, lost=lost)]
    parts.sort(key=lambda part: (min(_rank(f) for f in part.frames), bool(part.trouble)))
    names = _told_apart([part.frames for part in parts])
    return [replace(part, apart=name, copies=copies) for part, name in zip(parts, names, strict=True)]


def _of_several(patients: list[str]) -> str:
    named = f": {listed(patients, most=_SHOWN)}" if len(patients) > 1 else ""
    return f"files of several patients or studies share this SeriesInstanceUID{named}"


def _volumes(placed: list[Frame]) -> list[Stack]:
    """Volumes of frames that have a place, and what is left over, with the trouble."""
    groups: list[list[Frame]] = []
    strays: list[list[Frame]] = []
    for group in _by_geometry(placed):
        (groups if len(group) >= MIN_SLICES else strays).append(group)
    parts = []
    for part in (part for group in groups for part in _by_series(group)):
        parts += [part] if part.trouble else _divided(part.frames)
    odd = [f for group in strays for f in group if not f.damage]
    if odd:
        parts.append(_strays(odd, alone=not groups and len(strays) == 1))
    return parts


def _strays(frames: list[Frame], alone: bool) -> Stack:
    if alone:
        return Stack(frames)  # the grid says how many slices are too few
    places = len({f.orientation for f in frames})
    what = "of different orientation, such as a localiser" if places > 1 else "of different size or pixel spacing"
    if places == 1 and all(map(_is_projection, frames)):
        what = "projected from a volume"
    return Stack(frames, trouble=f"{counted(len(frames), 'slice')} {what}: no {MIN_SLICES} of them share a grid")


def _with_damage(part: Stack) -> Stack:
    intact = [f for f in part.frames if not f.damage]
    return replace(part, frames=intact, damaged=[f for f in part.frames if f.damage])


def _lacking(part: Stack, placeless: list[Frame], lost: int) -> Stack:
    """A volume, with the slices of its series that have no place."""
    if part.trouble:
        return part
    like = part.frames[0]
    mine = [f for f in placeless if _may_belong(f, like)]
    return replace(part, damaged=[*part.damaged, *mine], lost=lost)


def _may_belong(lost: Frame, like: Frame) -> bool:
    """Whether an image without a place may be a slice of the volume of another: nothing in its header differs."""
    if not lost.damage and lost.said("SOPClassUID") != like.said("SOPClassUID"):
        return False  # a captured screen kept beside the volume
    mine, theirs = ((*series_words(f.header), f.marks[0]) for f in (lost, like))  # the last is ImageType
    same = all(a in (b, "") if lost.damage else a == b for a, b in zip(mine, theirs, strict=True))
    return same and 0 not in like.size and (lost.size == like.size or (bool(lost.damage) and 0 in lost.size))


def _by_series(frames: list[Frame]) -> list[Stack]:
    """Frames of one geometry by the words that tell one series from another."""
    kinds: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        kinds[series_words(frame.header)].append(frame)
    if len(kinds) == 1:
        return [Stack(frames)]
    place = dict(zip(map(id, frames), _places(frames), strict=True))
    large = [kind for kind in kinds.values() if len(kind) >= MIN_SLICES]
    few = [f for kind in kinds.values() if len(kind) < MIN_SLICES for f in kind]
    taken = {place[id(f)] for kind in large for f in kind}
    words = [word for n, word in enumerate(SERIES_WORDS) if len({kind[n] for kind in kinds}) > 1]
    if not all(place[id(f)] in taken for f in few):  # they may be slices of the others
        return [Stack(frames, trouble=_mixed(words))]
    parts = [Stack(kind) for kind in large]
    if few:
        parts.append(Stack(few, trouble=f"{counted(len(few), 'slice')} with another {listed(words)} than the volume"))
    return parts


def _mixed(words: Sequence[str]) -> str:
    return (
        f"its slices differ in {', '.join(words)}: files of several series seem to share this SeriesInstanceUID, "
        "and which belongs to which cannot be told"
    )


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], int]:
    """Frames without repeated files, and the number of those: an image identifier counts once per place.

    Of a damaged file and its intact copy the intact one is kept.
    """
    at: dict[tuple[str, int], set[tuple[float, ...]]] = defaultdict(set)
    for frame in frames:
        if not frame.damage:
            at[frame.instance, frame.number].add(frame.position)
    seen: set[tuple] = set()
    unique: list[Frame] = []
    for frame in sorted(frames, key=lambda frame: bool(frame.damage)):
        places = at[frame.instance, frame.number]
        key = (frame.instance, frame.number, frame.position, frame.order, frame.marks, series_words(frame.header))
        if frame.damage:
            repeated = len(places) == 1 and (not frame.position or frame.position in places)
        else:
            repeated = len(places) == 1 and key in seen
        # An identifier that some anonymiser wrote into different slices tells nothing about copies.
        if not frame.instance or not repeated:
            unique.append(frame)
        seen.add(key)
    kept = {frame.source for frame in unique}
    unique.sort(key=_order)
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
        return _by_parameters(frames)
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


def _by_parameters(frames: list[Frame]) -> list[Stack]:
    """Frames of different places by what was set at the scanner: each part is a volume of its own."""
    kinds = _by_levels(frames, _PARAMETERS)
    if len(kinds) > 1 and min(map(len, kinds)) < MIN_SLICES:
        return [Stack(frames, trouble=_mixed([word for word in _PARAMETERS if len(_by_levels(frames, [word])) > 1]))]
    parts = []
    for kind in kinds:
        finer = _by_levels(kind, _MAY_VARY)
        parts += [Stack(part) for part in (finer if all(map(_is_regular, finer)) else [kind])]
    return parts


def _by_levels(frames: list[Frame], words: Sequence[str]) -> list[list[Frame]]:
    """Frames by the values of some marks; numbers that differ little are one value."""
    places = [MARKS.index(word) for word in words]
    values = [{f.marks[place] for f in frames} for place in places]
    if all(len(texts) == 1 for texts in values):
        return [frames]
    levels = [_levels(texts) for texts in values]
    kinds: dict[tuple, list[Frame]] = defaultdict(list)
    for frame in frames:
        kinds[tuple([level[frame.marks[n]] for n, level in zip(places, levels, strict=True)])].append(frame)
    return list(kinds.values())


def _levels(values: set[str]) -> dict[str, object]:
    """For each text the value that it stands for."""
    level: dict[str, object] = {text: text for text in values}
    if len(values) < 2:
        return level
    found: list[tuple[float, str]] = []
    for text in values:
        with suppress(ValueError):
            found.append((float(text), text))
    last = first = 0.0
    for n, (number, text) in enumerate(sorted(found)):
        if n == 0 or number - last > _PARAMETER_TOLERANCE * abs(number):
            first = number
        level[text], last = first, number
    return level


def _is_regular(frames: list[Frame]) -> bool:
    try:
        grid(Stack(frames))
    except ScanError:
        return False
    return True


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


def _order(frame: Frame) -> tuple:
    """What frames are sorted by; nothing of it hangs on file names."""
    return (*_rank(frame), frame.header, frame.position, frame.instance)


def _rank(frame: Frame) -> tuple[float, int, tuple[str, ...]]:
    return (*frame.order, frame.marks)


def _told_apart(parts: list[list[Frame]]) -> list[str]:
    """For each part, the marks that all of its frames share and that differ between parts."""
    if len(parts) == 1:
        return [""]
    words = [*MARKS, *SERIES_WORDS]
    told = [[(*f.marks, *series_words(f.header)) for f in part] for part in parts]
    values = [[set(column) for column in zip(*part, strict=True)] for part in told]
    telling = [n for n in range(len(words)) if len({frozenset(v[n]) for v in values}) > 1]
    return ["; ".join(filter(None, (_shown(words[n], v[n]) for n in telling))) for v in values]


def _shown(word: str, texts: set[str]) -> str:
    """A mark as the index shows it: of free text the keyword; no text where a number belongs, for it may be a name."""
    (text, *more) = texts
    if more or not text:
        return ""
    if word in _FREE_TEXT:
        return word
    known = word in KEYWORDS or text in _DIRECTIONALITY
    return f"{word}={text}" if known or re.fullmatch(r"[-+0-9.eE\\]*", text) else ""
