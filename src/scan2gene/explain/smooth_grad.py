"""SmoothGrad."""

from __future__ import annotations

import torch
from torch import Tensor

from scan2gene.explain.asked import Asked


def smooth_grad(asked: Asked, *, samples: int = 16, noise: float = 0.1) -> Tensor:
    """Size of the gradient in each voxel, averaged over noisy copies of the input.

    Args:
        asked: The question.
        samples: Noisy copies.
        noise: Standard deviation of the noise as a share of each channel's range.

    Returns:
        (B, *S), the absolute mean gradient added over channels: high = the class depends on it.

    Source: Smilkov 2017, "SmoothGrad: removing noise by adding noise".
    """
    x = asked.x
    flat = x.flatten(2)
    spread = (noise * (flat.amax(2) - flat.amin(2))).reshape(*flat.shape[:2], *[1] * (x.ndim - 2))
    streams = asked.generators()
    total = torch.zeros_like(x)
    for _ in range(samples):
        drawn = torch.stack([torch.randn(x.shape[1:], generator=s) for s in streams]).to(x)
        total += asked.gradient(x + asked.masked(spread * drawn))
    return asked.masked(total / samples).abs().sum(1)
