"""From any memory order to the readers': index i fastest, slices slowest."""

from __future__ import annotations

from functools import cache

import numpy as np

from scan2gene.preprocess.threads import in_slabs


def slices_slowest(array: np.ndarray) -> np.ndarray:
    """The same voxels (I, J, K) with index i fastest in memory and k slowest, as NIfTI and DICOM readers give them.

    Args:
        array: (I, J, K) of any memory order, flipped, strided or a view.

    Returns:
        The array itself where it lies so already in the machine's byte order, else a copy, made block by block on all
        processors: NumPy's own copy jumps through memory for every voxel.
    """
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.flags.f_contiguous or array.ndim != 3:
        return np.asfortranarray(array)
    strides = [abs(stride) for stride in array.strides]
    fast = int(np.argmin(strides))
    if fast == 0 or array.dtype.itemsize not in (1, 2, 4, 8) or array.dtype.hasobject:
        return np.asfortranarray(array)
    out = np.empty(array.shape, array.dtype, order="F")
    word = np.dtype(f"u{array.dtype.itemsize}")  # bits are moved; one compiled loop serves all types of a size
    source, target = array.view(word), out.view(word).T  # (I, J, K), (K, J, I)
    if fast == 1:
        source, target = source.transpose(0, 2, 1), target.transpose(1, 0, 2)
    kernel = _kernel()
    in_slabs(lambda start, stop: kernel(source, target, start, stop), source.shape[1])
    return out


@cache
def _kernel():
    """The compiled loop over blocks of 16 x 16 voxels, a length that the compiler knows.

    Numba is imported at first use and keeps the machine code on disk.
    """
    import numba

    @numba.njit(nogil=True, cache=True)
    def turn_blocks(source, target, start, stop):
        count, _, fast = source.shape
        block = np.empty((16, 16), source.dtype)
        for m in range(start, stop):
            for i0 in range(0, count, 16):
                for n0 in range(0, fast, 16):
                    if i0 + 16 <= count and n0 + 16 <= fast:
                        for i in range(16):
                            for n in range(16):
                                block[n, i] = source[i0 + i, m, n0 + n]
                        for n in range(16):
                            for i in range(16):
                                target[n0 + n, m, i0 + i] = block[n, i]
                    else:
                        for n in range(n0, min(n0 + 16, fast)):
                            for i in range(i0, min(i0 + 16, count)):
                                target[n, m, i] = source[i, m, n]

    return turn_blocks
