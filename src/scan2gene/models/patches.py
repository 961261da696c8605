"""What the 2D token networks share: an image cut into patches, and where each patch lies."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

Grid = tuple[int, int]


class PatchEmbed2D(nn.Module):
    """Square patches to tokens by one strided convolution; roles are its channels."""

    def __init__(self, in_channels: int, width: int, patch: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> tuple[Tensor, Grid]:
        """(B, C, H, W) -> tokens (B, N, width), row by row, and their grid; a size in between is padded with zeros."""
        down, right = (-n % self.patch for n in x.shape[2:])
        x = self.proj(pad(x, (0, right, 0, down)) if down or right else x)
        return x.flatten(2).transpose(1, 2), (x.shape[2], x.shape[3])


def resized(table: Tensor, first: int, before: Grid, after: Grid) -> Tensor:
    """Position vectors (1, first + N, width) of one grid, bicubically on another; the first ones stay."""
    if before == after:
        return table
    places = table[:, first:].transpose(1, 2).unflatten(2, before)  # (1, width, h, w)
    places = interpolate(places, after, mode="bicubic", antialias=True)
    return torch.cat([table[:, :first], places.flatten(2).transpose(1, 2)], dim=1)


def as_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Tokens (B, N, width), row by row, as an image (B, width, h, w)."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def as_tokens(image: Tensor) -> Tensor:
    """An image (B, width, h, w) as tokens (B, N, width)."""
    return image.flatten(2).transpose(1, 2)
