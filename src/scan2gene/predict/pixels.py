"""What single places of prepared images hold: numbers that no network made, to look for marks that go with the label.

A letter, an arrow or a bright corner lies at the same place of every picture, at its border, or
outside the body. So pictures are measured there: each pixel against its neighbours, the border, and
the air. All numbers are in units of the grain of the same region of the same slice, since
normalisation of a scan, or of each slice, lets a bright lesion change every grey value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, binary_fill_holes, label, uniform_filter

from scan2gene.evaluate.places import Cues
from scan2gene.preprocess.remove_background import otsu

BORDER = 0.125  # of each edge of the plane
NEAR = (3, 5)  # edges of the boxes that each pixel is held against
REACH = 3  # pixels around a lesion that are coloured by it, or held against it
MOST_BYTES = 256e6  # of all exams' places together; beyond, pictures are made coarser
_CLIP = 10.0  # times the grain
_LEAST_AIR = 0.02  # of the field
_BODY_LEVEL = 90.0  # percentile to which brighter voxels are lowered before the body is looked for
_QUIET = 0.25  # spread of air over its distance from the body's grey values, at most


@dataclass(frozen=True)
class Picture:
    """One role of an exam.

    Args:
        slices: (D, H, W), in the plane H and W.
        lesion: (D, H, W) bool, left out; None where it is not known.
        levels: Whether slice d of all exams is the same level; False where slices were chosen.
        role: Its name.
    """

    slices: np.ndarray
    lesion: np.ndarray | None = None
    levels: bool = True
    role: str = ""


def cues_of(read: Callable[[int], Sequence[Picture | None]], rows: Sequence[Hashable]) -> Cues:
    """Numbers about the places, the border and the air of exams.

    Args:
        read: Position in `rows` -> pictures of the roles, None where one lacks; all have one size of plane.
        rows: Names of the exams.
    """
    found: list[list[tuple[np.ndarray, ...] | None]] = []
    names: list[list[str]] = []
    coarse = 1
    for n in range(len(rows)):
        pictures = read(n)
        coarse = coarse if n else _coarseness(pictures, len(rows))
        found.append([None if p is None else _measures(p, coarse) for p in pictures])
        names = names or [[] for _ in pictures]
        names = [old or ([] if p is None else _names(p)) for old, p in zip(names, pictures, strict=True)]
    places, border, air = (_joined([[None if f is None else f[k] for f in roles] for roles in found]) for k in range(3))
    maps = tuple(name for own in names for name in own)
    return Cues({row: n for n, row in enumerate(rows)}, places, border, air, maps, coarse)


def _coarseness(pictures: Sequence[Picture | None], exams: int) -> int:
    """Edge of the squares of pixels that are averaged, so that all places fit in memory."""
    known = [p for p in pictures if p is not None]
    depth, height, width = known[0].slices.shape
    each = 2 * len(NEAR) * (3 + depth * known[0].levels) * height * width * len(pictures)  # float16
    return int(np.ceil(np.sqrt(max(1.0, each * exams / MOST_BYTES))))


def _joined(rows: Sequence[Sequence[np.ndarray | None]]) -> np.ndarray:
    """(N, F, ...): what each role has, one after the other, 0 where it lacks."""
    some = [next((v for row in rows if (v := row[r]) is not None), None) for r in range(len(rows[0]))]
    ends = np.cumsum([0, *(0 if v is None else len(v) for v in some)])
    shape = next((v.shape[1:] for v in some if v is not None), ())
    out = np.zeros((len(rows), ends[-1], *shape), np.float16)
    for n, row in enumerate(rows):
        for values, start, end in zip(row, ends[:-1], ends[1:], strict=True):
            if values is not None:
                out[n, start:end] = values
    return out


def _measures(picture: Picture, coarse: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, border and air of one role of an exam."""
    x = picture.slices.astype(np.float32)
    near = np.zeros(x.shape, bool)
    if picture.lesion is not None and picture.lesion.any():
        near = binary_dilation(picture.lesion, np.ones((3, 1 + 2 * REACH, 1 + 2 * REACH)))
    apart = _contrasts(x, near)
    small = apart if coarse == 1 else _contrasts(pooled(x, coarse), pooled(near, coarse) > 0)
    places = _places([_over(v) for v in small], picture.levels)
    return places, _border(x, apart, ~near), _air(x, apart, air_of(x) & ~near)


def pooled(x: np.ndarray, edge: int) -> np.ndarray:
    """Means of squares of the plane; what is left at the far ends is cut off."""
    h, w = x.shape[1] // edge, x.shape[2] // edge
    squares = x[:, : h * edge, : w * edge].reshape(len(x), h, edge, w, edge)
    return np.asarray(squares.mean(axis=(2, 4), dtype=np.float32))


def _contrasts(x: np.ndarray, near: np.ndarray) -> list[np.ndarray]:
    """Each pixel less the mean of its surroundings in the plane; 0 near a lesion."""
    return [np.where(near, 0, x - uniform_filter(x, (1, edge, edge), mode="nearest")) for edge in NEAR]


def _over(values: np.ndarray, region: np.ndarray | None = None) -> np.ndarray:
    """Contrasts (D, H, W) in units of their grain in each slice: the median size of those of a region, 0 left out."""
    out = np.zeros_like(values)
    for d, level in enumerate(values):
        size = np.abs(level if region is None else level[region[d]])
        size = size[size > 1e-4 * size.max()] if size.size else size  # smaller ones are rounding
        if size.size:
            out[d] = np.clip(level / np.median(size), -_CLIP, _CLIP)
    return out


def _against(x: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Grey values (D, H, W) less the median of a region in each slice, in units of the mean distance from it there."""
    out = np.zeros_like(x)
    for d, level in enumerate(x):
        inside = level[region[d]]
        if inside.size:
            middle = float(np.median(inside))
            spread = float(np.abs(inside - middle).mean())
            out[d] = np.clip((level - middle) / (spread if spread > 1e-9 * abs(middle) else 1.0), -_CLIP, _CLIP)
    return out


def _places(contrasts: Sequence[np.ndarray], levels: bool) -> np.ndarray:
    """(M, H, W): contrast of every pixel, and its mean, highest and lowest over the slices."""
    found = list(contrasts) if levels else []
    for v in contrasts:
        found.append(np.stack([v.mean(axis=0), v.max(axis=0), v.min(axis=0)]))
    return np.concatenate(found).astype(np.float16)


def _names(picture: Picture) -> list[str]:
    """What the M maps of `_places` are about."""
    every = [f"{picture.role}, slice {d}" for d in range(len(picture.slices))] if picture.levels else []
    return every * len(NEAR) + [f"{picture.role}, over its slices"] * 3 * len(NEAR)


def border_width(length: int) -> int:
    """Pixels of the border along one edge of the plane."""
    return min(max(2, round(BORDER * length)), length // 2)


def border_of(height: int, width: int) -> np.ndarray:
    """(H, W) bool, the border of the plane."""
    inside = np.zeros((height, width), bool)
    a, b = border_width(height), border_width(width)
    inside[a : height - a, b : width - b] = True
    return ~inside


def _border(x: np.ndarray, contrasts: Sequence[np.ndarray], shown: np.ndarray) -> np.ndarray:
    """Of four corners and four sides: grey values (mean, highest, lowest) and contrasts, against all of the border."""
    border = border_of(*x.shape[1:]) & shown
    grey, contrasts = _against(x, border), [_over(v, border) for v in contrasts]
    a, b = (border_width(n) for n in x.shape[1:])
    ends = [[slice(0, w), slice(w, n - w), slice(n - w, n)] for w, n in ((a, x.shape[1]), (b, x.shape[2]))]
    parts = [(slice(None), i, j) for n, i in enumerate(ends[0]) for m, j in enumerate(ends[1]) if (n, m) != (1, 1)]
    return np.array([value for p in parts for v in (grey, *contrasts) for value in _ends(v[p][shown[p]])])


def _ends(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, highest, lowest; 0 of nothing."""
    return (float(values.mean()), float(values.max()), float(values.min())) if values.size else (0.0, 0.0, 0.0)


def air_of(x: np.ndarray) -> np.ndarray:
    """(D, H, W) bool: what lies two pixels and more outside the body; nothing where no quiet air is seen."""
    none = np.zeros(x.shape, bool)
    low, high = float(x.min()), float(np.percentile(x, _BODY_LEVEL))
    if high <= low:
        return none
    lowered = np.minimum(x, high)
    parts, number = label(lowered > otsu(lowered, low, high), np.ones((3, 3, 3)))
    if not number:
        return none
    body = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
    body = np.stack([binary_fill_holes(level) for level in body])
    air = ~binary_dilation(body, np.ones((1, 5, 5)))
    if air.mean() < _LEAST_AIR:
        return none
    level, inside = float(np.median(x[air])), float(np.median(x[body]))
    quiet = float(np.median(np.abs(x[air] - level))) <= _QUIET * (inside - level)
    return air if quiet else none


def _air(x: np.ndarray, contrasts: Sequence[np.ndarray], air: np.ndarray) -> np.ndarray:
    """Of all the air, and of its four quarters: mean, highest and lowest of grey value and contrast."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    quarters = [(slice(None), i, j) for i in (slice(0, h), slice(h, None)) for j in (slice(0, w), slice(w, None))]
    values = [_against(x, air), *(_over(v, air) for v in contrasts)]
    return np.array([end for p in [(slice(None),), *quarters] for v in values for end in _ends(v[p][air[p]])])
