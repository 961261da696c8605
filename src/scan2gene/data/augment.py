"""Augmentation as plain functions of a batch.

Each sample has its own generator, so what happens to it does not depend on the batch it is in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TENSOR_AXIS = {"k": 2, "j": 3, "i": 4}  # tensors are (B, C, D, H, W) with D = k


def sample_generators(seed: int, epoch: int, samples: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per sample, fixed by seed, epoch and sample number."""
    return [torch.Generator().manual_seed(seed * 1_000_003 + epoch * 10_007 + s) for s in samples]


def flip(batch: Tensor, axes: Sequence[str], generators: Sequence[torch.Generator]) -> Tensor:
    """Mirror each sample along each voxel axis with probability one half.

    Args:
        batch: (B, C, D, H, W).
        axes: Out of "i", "j", "k".
        generators: One per sample.
    """
    out = []
    for sample, generator in zip(batch, generators, strict=True):
        chosen = [TENSOR_AXIS[a] - 1 for a in axes if torch.rand((), generator=generator) < 0.5]
        out.append(sample.flip(chosen) if chosen else sample)
    return torch.stack(out)


def shift(batch: Tensor, voxels: int, generators: Sequence[torch.Generator]) -> Tensor:
    """Move each sample by up to `voxels` along every axis; edge voxels are repeated.

    Args:
        batch: (B, C, D, H, W).
        voxels: Largest shift.
        generators: One per sample.
    """
    out = []
    for sample, generator in zip(batch, generators, strict=True):
        for axis in (1, 2, 3):
            size = sample.shape[axis]
            step = int(torch.randint(-voxels, voxels + 1, (), generator=generator))
            index = (torch.arange(size, device=sample.device) - step).clamp(0, size - 1)
            sample = sample.index_select(axis, index)
        out.append(sample)
    return torch.stack(out)
