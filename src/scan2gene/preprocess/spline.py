"""Cubic B-spline resampling along the voxel axes, as three banded matrix products.

Prefilter and interpolation are both linear, so along one axis they fold into one matrix.
Its rows fall off by |sqrt(3) - 2| = 0.27 a voxel: `TAPS` entries hold all but about 1e-7 of
them. The three products are taken slab by slab, so that a slab stays in the cache.

Source: Unser 1999, "Splines: a perfect fit for signal and image processing".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np

from scan2gene.preprocess.memory_order import slices_slowest
from scan2gene.preprocess.threads import in_slabs

TAPS = 24  # a multiple of 4: the products go four taps at a time
_DIRECT = (np.uint8, np.int16, np.uint16, np.float32)  # read as they are; others are copied to float32
POLE = np.sqrt(3.0) - 2.0  # of the cubic spline's prefilter


def resample_spline(
    array: np.ndarray,
    shape: Sequence[int],
    factor: Sequence[float],
    bounds: tuple[float, float] | None = None,
    dtype: np.typing.DTypeLike = np.float32,
) -> np.ndarray:
    """Resample onto voxels `factor` times as wide, the outer corner of voxel 0 fixed.

    Args:
        array: (I, J, K) of any real type.
        shape: Voxels of the result.
        factor: New voxel width over old, along i, j, k; > 0.
        bounds: Values are held between these; a spline overshoots at edges, and an integer
            would wrap.
        dtype: Of the result; float32, or a whole number, to which values are rounded.

    Returns:
        (I', J', K'). Beyond the centres of the outermost voxels the edge value is
        repeated; inside, the boundary is mirrored, as in SimpleITK and scipy.
    """
    source = readable(array)
    out = np.empty(tuple(int(n) for n in shape)[::-1], dtype=dtype)
    bands = [spline_band(n, m, float(f)) for n, m, f in zip(source.shape, out.shape, tuple(factor)[::-1], strict=True)]
    if _slices_last(source.shape, out.shape):
        between = np.empty((source.shape[0], *out.shape[1:]), np.float32)
        run_bands(source, [same_band(source.shape[0]), *bands[1:]], None, between)
        source, bands = between, [bands[0], same_band(out.shape[1]), same_band(out.shape[2])]
    run_bands(source, bands, bounds, out)
    return out.T


def readable(array: np.ndarray) -> np.ndarray:
    """(I, J, K) as the loops read it, (K, J, I).

    Always slices first: free for what the readers give, and the same sums for any memory order.
    """
    return slices_slowest(array if array.dtype in _DIRECT else array.astype(np.float32)).T


def run_bands(
    source: np.ndarray,
    bands: Sequence[tuple[np.ndarray, np.ndarray]],
    bounds: tuple[float, float] | None,
    out: np.ndarray,
) -> None:
    """Multiply each axis by its matrix.

    Args:
        source: (K, J, I) from `readable`.
        bands: Of k, j and i: weights (rows, W) float32, W a multiple of 4, and the first voxel of each row.
        bounds: Values are held between these; None for no bounds.
        out: (K', J', I'), is filled; whole numbers are rounded.
    """
    flat = [part for band in bands for part in band]
    whole = bool(np.issubdtype(out.dtype, np.integer))
    low, high = (np.float32(b) for b in bounds or (np.finfo(np.float32).min, np.finfo(np.float32).max))
    kernel = _kernel()
    in_slabs(lambda start, stop: kernel(source, *flat, whole, low, high, out, start, stop), out.shape[0])


def _slices_last(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether it is less work to make the new slices from slices that are resampled already.

    So it is when slices multiply, as of thick ones made thin. Shapes are (K, J, I); the
    work is in products of a band's row and a voxel's column.
    """
    plane, wide, small = old[1] * old[2], new[1] * old[2], new[1] * new[2]
    first = new[0] * (plane + wide + small)
    last = old[0] * (plane / 6 + wide + small) + new[0] * (small + small / 3)  # copies take 4 taps of 24
    return last < 0.8 * first  # a second pass over memory must pay


@lru_cache(maxsize=64)
def same_band(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The band that leaves an axis as it is, four taps wide."""
    first = np.minimum(np.arange(size), max(size - 4, 0))
    weights = np.zeros((size, 4), np.float32)
    weights[np.arange(size), np.arange(size) - first] = 1
    return weights, first


@lru_cache(maxsize=64)
def spline_band(size: int, count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of one axis, band only.

    Args:
        size: Old voxels.
        count: New voxels.
        factor: New width over old.

    Returns:
        Weights (count, TAPS) float32 and the old voxel of each row's first weight (count,)
        int64. Weights beyond the last voxel are 0.
    """
    base, t = places(size, count, factor)
    basis = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6  # (4, count)
    reach = np.arange(-TAPS, TAPS + 1)
    response = -6 * POLE / (1 - POLE**2) * POLE ** np.abs(reach)  # of the prefilter to one voxel
    dense = np.zeros((count, size))
    rows = np.arange(count)
    for d, weight in enumerate(basis):
        for k, height in zip(reach, response, strict=True):
            np.add.at(dense, (rows, _mirrored(base - 1 + d + k, size)), weight * height)
    return band_of(dense, base - TAPS // 2 + 1, TAPS)


def places(size: int, count: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The old voxel before each new one's centre (count,) int64, and how far beyond its centre that lies, 0 to 1."""
    where = np.clip((np.arange(count) + 0.5) * factor - 0.5, 0, size - 1)
    base = np.minimum(np.floor(where), max(size - 2, 0)).astype(np.int64)
    return base, where - base


def band_of(dense: np.ndarray, first: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What a matrix holds in a band: weights (rows, width) float32, and the column of each row's first (rows,) int64.

    Args:
        dense: (rows, size).
        first: (rows,) where each row's band should begin; it is moved inside.
        width: Of the band; weights beyond the last column are 0.
    """
    size = dense.shape[1]
    first = np.clip(first, 0, max(size - width, 0))
    columns = first[:, None] + np.arange(width)
    weights = np.where(columns < size, np.take_along_axis(dense, np.minimum(columns, size - 1), axis=1), 0)
    weights /= weights.sum(axis=1, keepdims=True)  # a constant stays exactly that constant
    return weights.astype(np.float32), first


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Indices folded into 0..size-1 about the centres of the outermost voxels."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.where(index >= size, 2 * size - 2 - index, index)


@cache
def _kernel():
    """The compiled loops; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, fastmath=True, cache=True)
    def resample_slabs(source, wa, ia, wb, ib, wc, ic, whole, low, high, out, start, stop):
        slices, rows, columns = source.shape
        slab = np.empty((rows, columns), np.float32)
        line = np.zeros(max(columns, wc.shape[1]), np.float32)  # never shorter than the weights
        for a in range(start, stop):
            for b in range(rows):
                for c in range(columns):
                    slab[b, c] = 0.0
                for t in range(0, wa.shape[1], 4):
                    w0, w1, w2, w3 = wa[a, t], wa[a, t + 1], wa[a, t + 2], wa[a, t + 3]
                    k = ia[a] + t
                    r0, r1 = source[min(k, slices - 1), b], source[min(k + 1, slices - 1), b]
                    r2, r3 = source[min(k + 2, slices - 1), b], source[min(k + 3, slices - 1), b]
                    for c in range(columns):
                        slab[b, c] += (
                            w0 * np.float32(r0[c]) + w1 * np.float32(r1[c])
                            + w2 * np.float32(r2[c]) + w3 * np.float32(r3[c])
                        )  # fmt: skip
            for b in range(out.shape[1]):
                for c in range(columns):
                    line[c] = 0.0
                for t in range(0, wb.shape[1], 4):
                    w0, w1, w2, w3 = wb[b, t], wb[b, t + 1], wb[b, t + 2], wb[b, t + 3]
                    k = ib[b] + t
                    r0, r1 = slab[min(k, rows - 1)], slab[min(k + 1, rows - 1)]
                    r2, r3 = slab[min(k + 2, rows - 1)], slab[min(k + 3, rows - 1)]
                    for c in range(columns):
                        line[c] += w0 * r0[c] + w1 * r1[c] + w2 * r2[c] + w3 * r3[c]
                for c in range(out.shape[2]):
                    total = np.float32(0.0)
                    for t in range(wc.shape[1]):
                        total += wc[c, t] * line[ic[c] + t]
                    total = min(max(total, low), high)
                    out[a, b, c] = np.rint(total) if whole else total

    return resample_slabs
