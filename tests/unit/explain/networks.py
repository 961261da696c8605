"""Small networks and questions about them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from scan2gene.explain.asked import Asked


class Small(nn.Module):
    """Two convolutions, global mean, one linear layer; 2D or 3D, every activation behind an in-place ReLU."""

    cam_layer = "body"

    def __init__(self, axes: int, channels: int = 2, outputs: int = 2, strides: tuple[int, ...] = (2, 1)):
        super().__init__()
        conv = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.spatial_dims = axes
        self.first = nn.Sequential(conv(channels, 4, 3, strides[0], padding=1), nn.ReLU(inplace=True))
        self.body = nn.Sequential(conv(4, 6, 3, strides[1], padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, outputs)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        return self.head(self.body(self.first(x)).flatten(2).mean(2))


class Linear(nn.Module):
    """logit_t = sum of w_t * x: every method's answer is known."""

    def __init__(self, shape: tuple[int, ...], outputs: int = 1, scale: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, *shape, dtype=torch.float64) * scale)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        return x.flatten(1) @ self.weight.flatten(1).T


def ask(model: nn.Module, x: Tensor, target: int = 0, sign: float = 1.0, **changes) -> Asked:
    present = torch.ones(x.shape[:2])
    asked = Asked(model.eval(), x, present, target, torch.full((len(x),), sign).to(x), tuple(range(len(x))))
    return replace(asked, **changes)


def small(axes: int, seed: int = 0, **options) -> tuple[Small, Tensor]:
    torch.manual_seed(seed)
    model = Small(axes, **options).double()
    return model, torch.randn(2, 2, *(16, 12, 20)[:axes], dtype=torch.float64)
