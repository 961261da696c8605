"""26-connected components of a mask, by runs.

A run is a stretch of set voxels along the fastest axis. Runs of neighbouring lines that touch,
corners included, are joined in a union-find forest; voxels are visited only to find and to
write the runs, and no volume of labels is made.

Source: He, Chao, Suzuki 2008, "A run-based two-scan labeling algorithm", carried to 3D.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from scan2gene.preprocess.threads import in_slabs, restored, slices_first


def large_components(mask: np.ndarray, smallest: int | None = None) -> np.ndarray:
    """The components of a mask that have enough voxels.

    Args:
        mask: (I, J, K) bool.
        smallest: Voxels that a component must have to stay; None keeps the largest only
            (several, when they are equally large).

    Returns:
        (I, J, K) bool, all False if nothing is large enough.
    """
    source, order = slices_first(mask)
    source = source.view(np.uint8)
    find_runs, join_slices, measure, write = _kernels()
    first, ends = find_runs(source)
    parent = np.arange(first[-1], dtype=np.int32)
    rows = source.shape[1]
    # slabs first, each within itself: their trees are apart, so threads do not meet; then across the cuts
    cuts = in_slabs(lambda a, b: join_slices(first, ends, parent, rows, a, b, False) or a, source.shape[0])
    for a in cuts[1:]:
        join_slices(first, ends, parent, rows, a, a + 1, True)
    size = measure(ends, parent)
    enough = size >= (size.max(initial=0) if smallest is None else smallest)
    out = np.zeros(source.shape, np.uint8)
    in_slabs(lambda a, b: write(first, ends, parent, enough, a, b, out), source.shape[0])
    return restored(out.view(bool), order)


@cache
def _kernels():
    """The compiled loops; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def find_runs(mask):
        """Ends of all runs, start and stop in turn, and each line's first run."""
        slices, rows, columns = mask.shape
        first = np.zeros(slices * rows + 1, np.int64)
        for a in range(slices):
            for b in range(rows):
                line = mask[a, b]
                count = np.int64(line[0]) + np.int64(line[columns - 1])
                for c in range(1, columns):
                    count += line[c] ^ line[c - 1]
                first[a * rows + b + 1] = first[a * rows + b] + count // 2
        ends = np.empty(2 * first[-1] + 1, np.int32)  # one to spare: a write that may not count
        n = np.int64(0)
        for a in range(slices):
            for b in range(rows):
                line = mask[a, b]
                ends[n] = 0
                n += np.int64(line[0])
                for c in range(1, columns):
                    ends[n] = c
                    n += np.int64(line[c] ^ line[c - 1])  # no branch: in noise every guess about it fails
                ends[n] = columns
                n += np.int64(line[columns - 1])
        return first, ends

    # One function, not three: numba keeps no machine code of a nested function that calls another.
    @numba.njit(nogil=True, cache=True)
    def join_slices(first, ends, parent, rows, start, stop, across):
        """Join runs that touch within slices start..stop-1, or only `across` to the slice before."""
        for a in range(start, stop):
            for b in range(rows):
                line = a * rows + b
                for near in range(4):  # the line before in this slice, and three lines of the slice before
                    other = line - 1 if near == 0 else line - rows + near - 2
                    side = b - 1 if near == 0 else b + near - 2
                    if side < 0 or side >= rows or (across if near == 0 else a == start and not across):
                        continue
                    p, q = first[line], first[other]
                    while p < first[line + 1] and q < first[other + 1]:
                        touch = ends[2 * p] <= ends[2 * q + 1] and ends[2 * q] <= ends[2 * p + 1]
                        if touch and parent[p] != parent[q]:  # most often they hang on one root already
                            one, two = p, q
                            while parent[one] != one:
                                parent[one] = parent[parent[one]]
                                one = parent[one]
                            while parent[two] != two:
                                parent[two] = parent[parent[two]]
                                two = parent[two]
                            parent[max(one, two)] = min(one, two)
                        if ends[2 * p + 1] < ends[2 * q + 1]:
                            p += 1
                        else:
                            q += 1

    @numba.njit(nogil=True, cache=True)
    def measure(ends, parent):
        """Point every run straight at its root; voxels of each tree, at its root."""
        size = np.zeros(parent.size, np.int64)
        for run in range(parent.size):
            parent[run] = parent[parent[run]]  # a root comes before its runs, so this is the root
            size[parent[run]] += ends[2 * run + 1] - ends[2 * run]
        return size

    @numba.njit(nogil=True, cache=True)
    def write(first, ends, parent, enough, start, stop, out):
        rows = out.shape[1]
        for a in range(start, stop):
            for b in range(rows):
                line = a * rows + b
                for run in range(first[line], first[line + 1]):
                    if enough[parent[run]]:
                        for c in range(ends[2 * run], ends[2 * run + 1]):
                            out[a, b, c] = 1

    return find_runs, join_slices, measure, write
