"""Are two volumes pictures of the same thing? A small print of each, and how alike two prints are.

A print keeps ranks of grey values on a coarse grid, so that another window, gain or grey scale
leaves it nearly as it was. Two prints are held together block by block, each block free to lie a
little elsewhere, so that a small crop, shift or change of scale does not part what belongs together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

GRID = 32  # voxels of a print along each axis
_COARSE = 8  # of what candidates are found by
_BLOCK, _REACH = 8, 4  # edge of a block, and how far it may lie elsewhere
_STARTS = (4, 12, 20)
_CROPS = (1, 2)  # voxels of a print that a copy may lack at each end
_AT_ONCE = 24  # pairs in memory
_HELD = 2_000  # volumes whose fine structure is held; of more, that of each pair is made when it is compared
_SMOOTH, _COARSER = 0.7, 1.5  # voxels of a print; what is finer a small crop blurs, what is coarser all bodies share
_WAVES = 6  # periods across a print, along each axis, of what shifted candidates are found by
_FLAT = 0.25  # blocks with less contrast than this share of the print's median block say nothing
_PLACES = [(i, j, k) for i in _STARTS for j in _STARTS for k in _STARTS]
_FEW = [place for place in _PLACES if sum(_STARTS.index(start) for start in place) % 3 == 0]  # 9, all over the print
_LOOK = 0.76  # by these few, from which all are looked at
FLIPS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (2,))


@dataclass(frozen=True)
class Pair:
    """Two volumes, by their places in a list.

    Args:
        one: The first.
        two: The second.
        likeness: From about 0 to 1; see `likeness`.
        flip: Axes along which the second was mirrored, empty for none.
    """

    one: int
    two: int
    likeness: float
    flip: tuple[int, ...] = ()


def print_of(array: np.ndarray) -> np.ndarray:
    """A volume's print: ranks of its grey values on a coarse grid.

    Args:
        array: (I, J, K), finite.

    Returns:
        (GRID, GRID, GRID) uint8; 0 the darkest, ties at their mean rank. All 0 for a volume of one grey value.
    """
    small = array.astype(np.float32)
    for axis in range(3):
        small = np.moveaxis(np.tensordot(_overlaps(array.shape[axis], GRID), small, axes=(1, axis)), 0, axis)
    _, inverse, counts = np.unique(np.round(small, 4), return_inverse=True, return_counts=True)
    if len(counts) < 2:
        return np.zeros((GRID,) * 3, np.uint8)
    middle = np.cumsum(counts) - (counts + 1) / 2
    return (middle[inverse].reshape(small.shape) * (255 / (small.size - 1))).astype(np.uint8)


def _overlaps(length: int, parts: int) -> np.ndarray:
    """(parts, length), rows sum to 1: share of each voxel in equal parts of the axis; of a short axis, in between."""
    if length < parts:
        where = np.clip((np.arange(parts) + 0.5) * length / parts - 0.5, 0, length - 1)
        return np.clip(1 - np.abs(where[:, None] - np.arange(length)), 0, None).astype(np.float32)
    edges = np.linspace(0, length, parts + 1)
    voxel = np.arange(length)
    share = np.minimum(edges[1:, None], voxel + 1) - np.maximum(edges[:-1, None], voxel)
    return (np.clip(share, 0, None) * (parts / length)).astype(np.float32)


def candidates(
    prints: np.ndarray, groups: Sequence[object], nearest: int = 2
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Pairs worth a closer look: the nearest prints of other groups to each, mirrored ones too.

    Args:
        prints: (N, GRID, GRID, GRID).
        groups: N patients; prints of one patient are no candidates.
        nearest: How many of each and of each way to mirror.
    """
    names = np.asarray([str(g) for g in groups])
    coarse, waves = _coarse(prints), _waves(prints)
    found: dict[tuple[int, int, tuple[int, ...]], None] = {}
    ways: list[tuple[tuple[int, ...], np.ndarray, np.ndarray, int]] = [
        ((), waves, waves, nearest),
        ((), coarse, coarse, nearest),
    ]
    ways += [(flip, coarse, _coarse(np.flip(prints, tuple(axis + 1 for axis in flip))), 1) for flip in FLIPS if flip]
    ways += [((), coarse, _coarse(prints, edge), nearest) for edge in _CROPS]
    for flip, ours, theirs, few in ways:
        for start in range(0, len(prints), 512):  # rows of the matrix of all pairs
            rows = slice(start, start + 512)
            close = np.abs(ours[rows] @ theirs.T)
            close[names[rows, None] == names[None, :]] = -1
            every = np.arange(len(close))
            for _ in range(min(few, close.shape[1])):  # the nearest, then the next: no row is sorted
                best = close.argmax(axis=1)
                near = close[every, best] > 0
                rows_best = zip((every[near] + start).tolist(), best[near].tolist(), strict=True)
                found |= {(min(one, two), max(one, two), flip): None for one, two in rows_best}
                close[every, best] = -1
    return list(found)


def _coarse(prints: np.ndarray, edge: int = 0) -> np.ndarray:
    """(N, _COARSE ** 3) of length 1, mean 0, of what is left without so many voxels at each end of each axis."""
    inner = slice(edge, GRID - edge)
    share = _overlaps(GRID - 2 * edge, _COARSE)
    cut = prints[:, inner, inner, inner].astype(np.float32)
    small = np.einsum("ai,bj,ck,nijk->nabc", share, share, share, cut, optimize=True).reshape(len(prints), -1)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)


def _waves(prints: np.ndarray) -> np.ndarray:
    """(N, F) of length 1, mean 0: how strong each slow wave is, wherever it lies, so that a shift changes little."""
    from scipy import fft

    span = range(-_WAVES, _WAVES + 1)
    parts = []
    for start in range(0, len(prints), 256):  # a spectrum is eight times as large as a print
        strength = np.abs(fft.rfftn(_fine(prints[start : start + 256]), axes=(1, 2, 3)))[:, :, :, : _WAVES + 1]
        parts.append(np.log1p(strength[:, span][:, :, span]).reshape(len(strength), -1).astype(np.float32))
    values = np.concatenate(parts) if parts else np.empty((0, 1), np.float32)
    values -= values.mean(axis=0)  # what all have in common tells nobody apart
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)


def alike(prints: np.ndarray, pairs: Sequence[tuple[int, int, tuple[int, ...]]]) -> Iterator[Pair]:
    """How alike the prints of each pair are, in the order given; of pairs far from alike, by fewer blocks."""
    whole = _fine(prints) if len(prints) <= _HELD else None
    for start in range(0, len(pairs), _AT_ONCE):
        some = pairs[start : start + _AT_ONCE]
        fine = _fine(prints[[n for pair in some for n in pair[:2]]]) if whole is None else whole
        seats = [(2 * n, 2 * n + 1) if whole is None else pair[:2] for n, pair in enumerate(some)]
        second = np.stack([np.flip(fine[two], pair[2]) for (_, two), pair in zip(seats, some, strict=True)])
        first = fine[[one for one, _ in seats]]
        values = _best_fits(first, second, _FEW)
        close = values >= _LOOK
        if close.any():
            values[close] = _best_fits(first[close], second[close], _PLACES)
        for (one, two, flip), value in zip(some, values, strict=True):
            yield Pair(one, two, float(value), flip)


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Mean correlation of blocks of fine structure, each at the place where it fits best.

    Args:
        first: (P, GRID, GRID, GRID) prints.
        second: As many.

    Returns:
        (P,) near 1 for one scan seen twice, also where grey values are inverted; 0 where a
        print has no structure.

    Source: block matching by normalised cross-correlation, as Lewis 1995, "Fast normalized
    cross-correlation".
    """
    return _best_fits(_fine(first), _fine(second), _PLACES)


def _best_fits(one: np.ndarray, two: np.ndarray, places: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """`likeness` of what `_fine` gives, by the blocks at some places."""
    from scipy import fft

    edge, shifts = _BLOCK + 2 * _REACH, 2 * _REACH + 1
    blocks = np.stack([_cut(one, at, _BLOCK) for at in places], axis=1)  # (P, 27, 8, 8, 8)
    blocks = blocks - blocks.mean(axis=(2, 3, 4), keepdims=True)
    size = np.sqrt((blocks**2).sum(axis=(2, 3, 4)))  # (P, 27)
    lows = [tuple(start - _REACH for start in at) for at in places]
    windows = np.stack([_cut(two, low, edge) for low in lows], axis=1)
    spectrum = fft.rfftn(windows, axes=(2, 3, 4)) * np.conj(fft.rfftn(blocks, (edge,) * 3, axes=(2, 3, 4)))
    product = fft.irfftn(spectrum, (edge,) * 3, axes=(2, 3, 4))[..., :shifts, :shifts, :shifts]
    spread = _box_sums(two**2) - _box_sums(two) ** 2 / _BLOCK**3
    there = np.stack([_cut(np.sqrt(np.maximum(spread, 1e-6)), low, shifts) for low in lows], axis=1)
    fits = product / (np.maximum(size, 1e-6)[..., None, None, None] * there)
    level = _FLAT * np.median(size, axis=1, keepdims=True)
    fits = np.where(there > level[..., None, None, None], fits, 0)
    counted = (size > level) & (size > 1e-3)
    highest, lowest = fits.max(axis=(2, 3, 4)), -fits.min(axis=(2, 3, 4))
    number = np.maximum(counted.sum(axis=1), 1)
    return np.maximum((highest * counted).sum(axis=1), (lowest * counted).sum(axis=1)) / number


def _cut(arrays: np.ndarray, at: tuple[int, ...], edge: int) -> np.ndarray:
    i, j, k = at
    return arrays[:, i : i + edge, j : j + edge, k : k + edge]


def _fine(prints: np.ndarray) -> np.ndarray:
    """Prints without their coarse structure and without the finest, float32."""
    from scipy.ndimage import gaussian_filter

    grey = prints.astype(np.float32)
    kept, coarser = (gaussian_filter(grey, (0, *[sigma] * 3), mode="nearest") for sigma in (_SMOOTH, _COARSER))
    return kept - coarser


def _box_sums(arrays: np.ndarray) -> np.ndarray:
    """Sums over every block: (P, E, E, E) -> (P, E - 7, E - 7, E - 7)."""
    for axis in (1, 2, 3):
        total = np.moveaxis(np.cumsum(arrays, axis=axis, dtype=np.float64), axis, 0)
        sums = total[_BLOCK - 1 :].copy()
        sums[1:] -= total[:-_BLOCK]
        arrays = np.moveaxis(sums, 0, axis)
    return arrays.astype(np.float32)
