"""Loops over the grey values of a whole volume: scale, histogram, look-up table.

In numpy each of them needs several copies of the volume in wider types; here one pass and
none. Machine code is kept on disk, so only the first call of an installation compiles.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from scan2gene.preprocess.threads import in_slabs, restored, slices_first

PIECE = 1 << 16  # voxels worked on at a time


def scaled_to_uint8(array: np.ndarray, low: float, scale: float) -> np.ndarray:
    """`(value - low) * scale` rounded, as uint8; the result must lie in 0 to 255."""
    source, order = slices_first(array)
    out = np.empty(source.shape, np.uint8)
    flat, flat_out = source.reshape(-1), out.reshape(-1)
    start, factor = _narrow(low, scale)

    def work(begin: int, end: int) -> None:
        # numpy, in pieces that stay in the cache: numba's 100 MB are not loaded while the whole scan is held
        for a in range(begin, end, PIECE):
            piece = np.subtract(flat[a : min(a + PIECE, end)], start, dtype=start.dtype)
            piece *= factor
            flat_out[a : a + piece.size] = np.rint(piece, out=piece)

    in_slabs(work, flat.size)
    return restored(out, order)


def histogram(array: np.ndarray, low: float, high: float, bins: int) -> np.ndarray:
    """Voxels in each of `bins` equal steps from `low` to `high` (bins,) int64; `high` is in the last."""
    flat = slices_first(array)[0].reshape(-1)
    start, scale = _steps(low, high, bins)
    kernel = _kernels()[0]
    return np.sum(in_slabs(lambda a, b: kernel(flat[a:b], start, scale, bins), flat.size), axis=0)


def looked_up(array: np.ndarray, low: float, high: float, table: np.ndarray) -> np.ndarray:
    """Each voxel's entry of a uint8 table whose entries are equal steps from `low` to `high`."""
    source, order = slices_first(array)
    out = np.empty(source.shape, np.uint8)
    flat, flat_out = source.reshape(-1), out.reshape(-1)
    start, scale = _steps(low, high, len(table))
    kernel = _kernels()[1]
    in_slabs(lambda a, b: kernel(flat[a:b], start, scale, table, flat_out[a:b]), flat.size)
    return restored(out, order)


def _steps(low: float, high: float, bins: int) -> tuple[np.floating, np.floating]:
    return _narrow(low, bins / (high - low))


def _narrow(low: float, scale: float) -> tuple[np.floating, np.floating]:
    """Both as float32, or as float64 where a range is so small that its scale is beyond float32."""
    kind = np.float32 if scale <= float(np.finfo(np.float32).max) else np.float64
    return kind(low), kind(scale)


@cache
def _kernels():
    """Compiled at first use, one version per number type."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def count(flat, low, scale, bins):
        # four counters side by side: equal neighbours would else wait for each other's increment
        counts = np.zeros((4, bins), np.int64)
        for n in range(flat.size):
            level = max(min(np.int64((np.float32(flat[n]) - low) * scale), bins - 1), 0)  # a NaN must not write afar
            counts[n & 3, level] += 1
        return counts.sum(axis=0)

    @numba.njit(nogil=True, cache=True)
    def look_up(flat, low, scale, table, out):
        last = table.size - 1
        for n in range(flat.size):
            out[n] = table[max(min(np.int64((np.float32(flat[n]) - low) * scale), last), 0)]

    return count, look_up
