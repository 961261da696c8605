"""Moving voxels: trilinear sampling at displaced places, and linear operators along the axes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor


def warp(images: Tensor, matrix: Tensor, displacement: Tensor | None = None) -> Tensor:
    """Sample images at `matrix @ (d, h, w, 1) + displacement`; edge voxels are repeated outside.

    Args:
        images: (B, C, D, H, W) float32.
        matrix: (B, 3, 4), output voxel index -> input voxel index.
        displacement: (B, 3, D, H, W) voxels, added; None for none.

    Returns:
        (B, C, D, H, W). On a CPU a compiled loop that is about four times as fast as
        `grid_sample`; elsewhere `grid_sample`. Both agree to rounding.
    """
    return (_warp_cpu if images.device.type == "cpu" else _warp_grid)(images, matrix, displacement)


def along_axes(images: Tensor, operators: Sequence[Tensor | None]) -> Tensor:
    """Apply a matrix along each of the three axes.

    Args:
        images: (B, C, D, H, W).
        operators: For D, H, W a (B, n, n) matrix or None.
    """
    depth, height, width = operators
    if width is not None:
        images = torch.einsum("bcdhw,bvw->bcdhv", images, width)
    if height is not None:
        images = torch.einsum("bcdhw,bvh->bcdvw", images, height)
    if depth is not None:
        images = torch.einsum("bcdhw,bvd->bcvhw", images, depth)
    return images


def _warp_grid(images: Tensor, matrix: Tensor, displacement: Tensor | None) -> Tensor:
    sizes = images.shape[2:]
    axes = [torch.arange(n, device=images.device, dtype=torch.float32) for n in sizes]
    index = torch.stack([*torch.meshgrid(*axes, indexing="ij"), torch.ones(sizes, device=images.device)])
    places = torch.einsum("bij,jdhw->bidhw", matrix.to(images), index)
    if displacement is not None:
        places = places + displacement
    scale = torch.tensor([max(n - 1, 1) for n in sizes], device=images.device).view(1, 3, 1, 1, 1)
    grid = (2 * places / scale - 1).flip(1).movedim(1, -1)  # grid_sample wants (x, y, z), last axis
    return torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=True)


def _warp_cpu(images: Tensor, matrix: Tensor, displacement: Tensor | None) -> Tensor:
    source = images.contiguous().numpy()
    out = np.empty_like(source)
    matrices = matrix.to(torch.float32).contiguous().numpy()
    moved = displacement is not None
    field = displacement.contiguous().numpy() if displacement is not None else np.empty((1, 3, 1, 1, 1), np.float32)
    kernel = _kernel()
    workers = min(os.cpu_count() or 1, torch.get_num_threads())
    slices = source.shape[0] * source.shape[2]
    edges = np.linspace(0, slices, min(4 * workers, slices) + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda ends: kernel(source, matrices, field, moved, out, *ends), pairwise(edges)))
    return torch.from_numpy(out)


@cache
def _kernel():
    """The compiled loop; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, fastmath=True, cache=True)
    def warp_slices(source, matrices, field, moved, out, start, stop):
        channels, depth, height, width = source.shape[1:]
        for at in range(start, stop):
            b, d = at // depth, at % depth
            m = matrices[b]
            for h in range(height):
                z0 = m[0, 0] * d + m[0, 1] * h + m[0, 3]
                y0 = m[1, 0] * d + m[1, 1] * h + m[1, 3]
                x0 = m[2, 0] * d + m[2, 1] * h + m[2, 3]
                for w in range(width):
                    z, y, x = z0 + m[0, 2] * w, y0 + m[1, 2] * w, x0 + m[2, 2] * w
                    if moved:
                        z += field[b, 0, d, h, w]
                        y += field[b, 1, d, h, w]
                        x += field[b, 2, d, h, w]
                    z = min(max(z, np.float32(0)), np.float32(depth - 1))
                    y = min(max(y, np.float32(0)), np.float32(height - 1))
                    x = min(max(x, np.float32(0)), np.float32(width - 1))
                    k, j, i = int(z), int(y), int(x)
                    k1, j1, i1 = min(k + 1, depth - 1), min(j + 1, height - 1), min(i + 1, width - 1)
                    c, r, a = z - k, y - j, x - i
                    for n in range(channels):
                        v = source[b, n]
                        low = (v[k, j, i] * (1 - a) + v[k, j, i1] * a) * (1 - r)
                        low += (v[k, j1, i] * (1 - a) + v[k, j1, i1] * a) * r
                        high = (v[k1, j, i] * (1 - a) + v[k1, j, i1] * a) * (1 - r)
                        high += (v[k1, j1, i] * (1 - a) + v[k1, j1, i1] * a) * r
                        out[b, n, d, h, w] = low * (1 - c) + high * c

    return warp_slices
