"""What texture features are counted from: neighbours, runs and zones of grey levels, in one walk over the voxels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product

import numpy as np

STEPS = [s for s in product((1, 0, -1), repeat=3) if s > (0, 0, 0)]  # (13, 3): one of each pair of directions, k, j, i


@dataclass(frozen=True)
class Region:
    """The voxels of a mask, and where their neighbours are; made once and used for every filtered image.

    Args:
        mask: (K, J, I) bool.
        in_plane: Neighbours in the same slice only.
    """

    mask: np.ndarray
    in_plane: bool = False

    @cached_property
    def voxels(self) -> np.ndarray:
        """Places (N,) int32 in the mask laid out flat with a border of one voxel."""
        return np.flatnonzero(np.pad(self.mask, 1)).astype(np.int32)

    @cached_property
    def numbers(self) -> np.ndarray:
        """Number of the voxel at each place of that layout, from 1 on; 0 outside. int32."""
        numbers = np.zeros(np.prod(np.array(self.mask.shape) + 2), np.int32)
        numbers[self.voxels] = np.arange(1, len(self.voxels) + 1)
        return numbers

    @cached_property
    def steps(self) -> np.ndarray:
        """Directions (A, 3) int32."""
        return np.array([s for s in STEPS if not (self.in_plane and s[0])], np.int32)

    @cached_property
    def offsets(self) -> np.ndarray:
        """From a place to its neighbour in each direction, (A,) int32."""
        _, rows, columns = np.array(self.mask.shape) + 2
        return (self.steps @ np.array([rows * columns, columns, 1])).astype(np.int32)

    @cached_property
    def joined(self) -> np.ndarray:
        """Directions (A,) bool along which some line meets two voxels, side by side or not."""
        return _kernels()[1](np.argwhere(self.mask).astype(np.int32), self.numbers, self.steps, self.mask.shape)


@dataclass(frozen=True)
class Counts:
    """Grey levels of a region and how they lie to each other.

    Args:
        levels: Grey levels that occur, (G,) float64, ascending, from 1 on.
        voxels: Voxels of each level, (G,).
        pairs: Neighbours of levels g and h in each direction, (A, G, G), one way only.
        alike: Voxels of level g with n neighbours of their level, (G, 2 A + 1).
        contrast: Sum over the voxels of a level of the difference to the mean of their neighbours, (G,).
        runs: Runs of level g and each length, (A, G, L), in the directions that meet two voxels.
        zones: Zones of level g and each size that occurs, (G, Z).
        sizes: Those sizes, (Z,).
    """

    levels: np.ndarray
    voxels: np.ndarray
    pairs: np.ndarray
    alike: np.ndarray
    contrast: np.ndarray
    runs: np.ndarray
    zones: np.ndarray
    sizes: np.ndarray


def count(region: Region, grey: np.ndarray) -> Counts:
    """Count a region's grey levels.

    Args:
        region: N voxels.
        grey: Grey level of each voxel, (N,) whole numbers from 1 on.
    """
    found = np.bincount(grey)
    levels = np.flatnonzero(found)
    number = np.zeros(len(found), np.int32)
    number[levels] = np.arange(len(levels))
    level, values = number[grey], levels.astype(np.float64)
    walk, _ = _kernels()
    pairs, alike, contrast, runs, owner = walk(
        region.numbers, region.voxels, region.offsets, level, values, max(region.mask.shape)
    )
    area = np.bincount(owner)
    roots = np.flatnonzero(area)
    sizes, size = np.unique(area[roots], return_inverse=True)
    zones = np.bincount(level[roots] * len(sizes) + size, minlength=len(values) * len(sizes))
    return Counts(
        values,
        found[levels],
        pairs,
        alike,
        contrast,
        runs[region.joined],
        zones.reshape(len(values), len(sizes)).astype(np.float64),
        sizes.astype(np.float64),
    )


@cache
def _kernels():
    """The compiled loops; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def walk(numbers, voxels, offsets, level, values, longest):
        """Pairs, like neighbours, contrast and runs by level, and for each voxel the first one of its zone."""
        count, directions, size = len(voxels), len(offsets), len(values)
        pairs = np.zeros((directions, size, size), np.int32)
        alike = np.zeros((size, 2 * directions + 1))
        contrast = np.zeros(size)
        runs = np.zeros((directions, size, longest))
        before = np.zeros((count, directions), np.int32)  # voxels of the run before this one; all offsets go forward
        last = 0
        total, near, same = np.zeros(count), np.zeros(count, np.int32), np.zeros(count, np.int32)
        owner = np.arange(count)
        for v in range(count):
            g = level[v]
            for a in range(directions):
                w = numbers[voxels[v] + offsets[a]] - 1
                h = level[w] if w >= 0 else -1
                if h != g:
                    runs[a, g, before[v, a]] += 1
                    last = max(last, before[v, a])
                if w < 0:
                    continue
                pairs[a, g, h] += 1
                total[v] += values[h]
                total[w] += values[g]
                near[v] += 1
                near[w] += 1
                if g == h:
                    before[w, a] = before[v, a] + 1
                    same[v] += 1
                    same[w] += 1
                    p, q = v, w
                    while owner[p] != p:
                        owner[p] = owner[owner[p]]
                        p = owner[p]
                    while owner[q] != q:
                        owner[q] = owner[owner[q]]
                        q = owner[q]
                    owner[max(p, q)] = min(p, q)
        for v in range(count):
            owner[v] = owner[owner[v]]  # the first voxel of a zone comes before the others, so this is it
            alike[level[v], same[v]] += 1
            if near[v]:
                contrast[level[v]] += abs(values[level[v]] - total[v] / near[v])
        return pairs, alike, contrast, runs[:, :, : last + 1], owner

    @numba.njit(nogil=True, cache=True)
    def join(points, numbers, steps, shape):
        joined = np.zeros(len(steps), np.bool_)
        rows, columns = shape[1] + 2, shape[2] + 2
        for a in range(len(steps)):
            for v in range(len(points)):
                k, j, i = points[v, 0] + steps[a, 0], points[v, 1] + steps[a, 1], points[v, 2] + steps[a, 2]
                while not joined[a] and 0 <= k < shape[0] and 0 <= j < shape[1] and 0 <= i < shape[2]:
                    joined[a] = numbers[((k + 1) * rows + j + 1) * columns + i + 1] > 0
                    k, j, i = k + steps[a, 0], j + steps[a, 1], i + steps[a, 2]
                if joined[a]:
                    break
        return joined

    return walk, join
