"""Laplacian of Gaussian by recursive filters, computed only where its values are needed.

Source: Deriche 1993, "Recursively implementing the Gaussian and its derivatives", with the constants and the
normalisation of ITK's RecursiveGaussianImageFilter, which pyradiomics uses.
"""

from __future__ import annotations

from functools import cache

import numpy as np

REACH = 10.0  # standard deviations beyond which a voxel changes a value by less than 1e-6 of itself
SMALLEST = 4  # voxels along an axis that the recursion needs
LANES = 128  # lines that are filtered side by side, so that they stay in the processor's cache
_A, _B = ((1.3530, -0.3531), (-1.3563, 0.3446)), ((1.8151, 0.0902), (5.2318, -2.2355))  # of orders 0 and 2
_W, _L = (0.6681, 2.0787), (-1.3932, -1.3732)


def log_filter(array: np.ndarray, box: tuple[slice, ...], spacing: tuple[float, ...], sigma_mm: float) -> np.ndarray:
    """Laplacian of Gaussian times sigma squared, so that values do not fall with sigma.

    Args:
        array: (K, J, I), finite; beyond its border the edge value is repeated.
        box: The part of the array that is returned.
        spacing: Along k, j, i, in mm.
        sigma_mm: Standard deviation of the Gaussian, > 0.

    Returns:
        Values of the box, float64. NaN where the array is too small: shorter than 4 voxels, or than
        sigma / spacing + 1, along an axis.
    """
    size = np.array(array.shape)
    if size.min() < SMALLEST or (size < np.ceil(sigma_mm / np.array(spacing)) + 1).any():
        return np.full(tuple(s.stop - s.start for s in box), np.nan)
    reach = [max(SMALLEST, int(np.ceil(REACH * sigma_mm / s))) for s in spacing]
    outer = [slice(max(0, s.start - r), min(n, s.stop + r)) for s, r, n in zip(box, reach, array.shape, strict=True)]
    outer = [s if s.stop - s.start >= SMALLEST else slice(0, n) for s, n in zip(outer, array.shape, strict=True)]
    part = np.ascontiguousarray(array[tuple(outer)], dtype=np.float64)
    inner = [(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True)]
    zero, second = zip(*(_coefficients(sigma_mm / s, sigma_mm, s) for s in spacing), strict=True)
    kernel = _kernel()

    def along(axis: int, source: np.ndarray, terms: np.ndarray) -> np.ndarray:
        lines = source.reshape(1, source.shape[0], -1) if axis == 0 else source
        if axis == 2:
            lines = np.ascontiguousarray(lines.transpose(0, 2, 1))
        out = kernel(lines, terms, *inner[axis])
        if axis == 2:
            return np.ascontiguousarray(out.transpose(0, 2, 1))
        return out.reshape(-1, *source.shape[1:]) if axis == 0 else out

    smooth, bent = along(1, part, zero[1]), along(1, part, second[1])
    smooth, bent = along(2, smooth, zero[2]), along(2, bent, zero[2]) + along(2, smooth, second[2])
    return along(0, bent, zero[0]) + along(0, smooth, second[0])


@cache
def _coefficients(sigma: float, sigma_mm: float, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Terms of the smoothing and of the second-derivative filter along one axis, (13,) each.

    Args:
        sigma: In voxels.
        sigma_mm: In mm.
        spacing: In mm.

    Returns:
        N0..N3 of the forward filter, M1..M4 of the backward one, D1..D4 of both, and their sum with 1.
    """
    s, c, e = np.sin(np.divide(_W, sigma)), np.cos(np.divide(_W, sigma)), np.exp(np.divide(_L, sigma))
    d = np.array([
        -2 * (e[1] * c[1] + e[0] * c[0]), 4 * c[0] * c[1] * e[0] * e[1] + e[0] ** 2 + e[1] ** 2,
        -2 * e[0] * e[1] * (c[0] * e[1] + c[1] * e[0]), (e[0] * e[1]) ** 2,
    ])  # fmt: skip
    powers = np.arange(1, 5)
    d_sums = 1 + d.sum(), d @ powers, d @ powers**2

    def numerator(order: int) -> np.ndarray:
        (a1, a2), (b1, b2) = _A[order], _B[order]
        return np.array([
            a1 + a2,
            e[1] * (b2 * s[1] - (a2 + 2 * a1) * c[1]) + e[0] * (b1 * s[0] - (a1 + 2 * a2) * c[0]),
            2 * e[0] * e[1] * ((a1 + a2) * c[0] * c[1] - b1 * c[1] * s[0] - b2 * c[0] * s[1])
            + a2 * e[0] ** 2 + a1 * e[1] ** 2,
            e[1] * e[0] ** 2 * (b2 * s[1] - a2 * c[1]) + e[0] * e[1] ** 2 * (b1 * s[0] - a1 * c[0]),
        ])  # fmt: skip

    n0, n2 = numerator(0), numerator(1)
    smooth = n0 / (2 * n0.sum() / d_sums[0] - n0[0])
    bent = n2 - (2 * n2.sum() - d_sums[0] * n2[0]) / (2 * n0.sum() - d_sums[0] * n0[0]) * n0
    sn, dn, en = bent.sum(), bent @ np.arange(4), bent @ np.arange(4) ** 2
    sd, dd, ed = d_sums
    alpha = (en * sd**2 - ed * sn * sd - 2 * dn * dd * sd + 2 * dd**2 * sn) / sd**3
    bent = bent * (sigma_mm / spacing) ** 2 / alpha
    parts = [np.concatenate([n, n[1:] - d[:3] * n[0], [-d[3] * n[0]], d, [sd]]) for n in (smooth, bent)]
    return parts[0], parts[1]


@cache
def _kernel():
    """The compiled recursion; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, cache=True, fastmath=True)
    def recurse(source, terms, start, stop):
        """Filter (B, N, M) along the middle axis; rows start..stop-1 are returned."""
        blocks, rows, columns = source.shape
        n0, n1, n2, n3, m1, m2, m3, m4, d1, d2, d3, d4, total = terms
        before, after = (n0 + n1 + n2 + n3) / total, (m1 + m2 + m3 + m4) / total
        out = np.empty((blocks, stop - start, columns))
        y = np.empty((rows + 4, LANES))
        for b in range(blocks):
            for first in range(0, columns, LANES):
                width = min(LANES, columns - first)
                x = source[b, :, first : first + width]
                for i in range(4):
                    for c in range(width):
                        y[i, c] = x[0, c] * before
                for i in range(stop):
                    x0, x1, x2, x3 = x[i], x[max(i - 1, 0)], x[max(i - 2, 0)], x[max(i - 3, 0)]
                    y0, y1, y2, y3, y4 = y[i + 4], y[i + 3], y[i + 2], y[i + 1], y[i]
                    for c in range(width):
                        y0[c] = (
                            n0 * x0[c] + n1 * x1[c] + n2 * x2[c] + n3 * x3[c]
                            - d1 * y1[c] - d2 * y2[c] - d3 * y3[c] - d4 * y4[c]
                        )  # fmt: skip
                    if i >= start:
                        for c in range(width):
                            out[b, i - start, first + c] = y0[c]
                last = rows - 1
                for i in range(rows, rows + 4):
                    for c in range(width):
                        y[i, c] = x[last, c] * after
                for i in range(last, start - 1, -1):
                    x1, x2 = x[min(i + 1, last)], x[min(i + 2, last)]
                    x3, x4 = x[min(i + 3, last)], x[min(i + 4, last)]
                    y0, y1, y2, y3, y4 = y[i], y[i + 1], y[i + 2], y[i + 3], y[i + 4]
                    for c in range(width):
                        y0[c] = (
                            m1 * x1[c] + m2 * x2[c] + m3 * x3[c] + m4 * x4[c]
                            - d1 * y1[c] - d2 * y2[c] - d3 * y3[c] - d4 * y4[c]
                        )  # fmt: skip
                    if i < stop:
                        for c in range(width):
                            out[b, i - start, first + c] += y0[c]
        return out

    return recurse
