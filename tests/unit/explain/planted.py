"""Volumes with a lesion that decides the label, in surroundings that look much like it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE = (12, 24, 24)
RADIUS = 3.0
LEVEL = 2.5


def volumes(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """x (n, 1, D, H, W) smooth noise with one ball, bright where y (n, 1) is 1, else dark; the ball (n, D, H, W)."""
    noise = torch.randn(n, 1, *SHAPE, generator=generator)
    kernel = torch.full((1, 1, 3, 3, 3), 1 / 27)
    x = nn.functional.conv3d(noise, kernel, padding=1)
    x = x / x.std()
    size = torch.tensor(SHAPE)
    centre = RADIUS + torch.rand(n, 3, generator=generator) * (size - 1 - 2 * RADIUS)
    grid = torch.stack(torch.meshgrid(*[torch.arange(float(s)) for s in SHAPE], indexing="ij"))
    ball = ((grid[None] - centre[:, :, None, None, None]) ** 2).sum(1).sqrt() < RADIUS
    y = (torch.arange(n) % 2).float()[:, None]
    level = (2 * y - 1)[:, :, None, None, None] * LEVEL
    x = torch.where(ball[:, None], level + 0.3 * x, x)
    return x - x.mean(dim=(1, 2, 3, 4), keepdim=True), y, ball  # the mean of the field tells nothing


def fit(model: nn.Module, steps: int, rate: float, seed: int = 0) -> float:
    """Train on ever new volumes; returns the accuracy on the last 200 of them."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    right = []
    model.train()
    for _ in range(steps):
        x, y, _ = volumes(16, generator)
        logits = model(x)
        right.append(((logits > 0) == (y > 0)).float().mean().item())
        loss = nn.functional.binary_cross_entropy_with_logits(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    return sum(right[-12:]) / 12
