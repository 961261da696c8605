"""A light 2D CNN for slices: under 200,000 parameters, the flat sibling of `light_cnn`.

Five 3 x 3 convolutions with group normalisation, so that a batch of two equals two batches of
one; mean and maximum of the last map are the embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead

CHANNELS = (16, 32, 64, 64, 96)
STRIDES = (2, 2, 2, 2, 1)
GROUPS = 8


class LightCNN2D(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "blocks.3"

    def __init__(self, in_channels: int, num_outputs: int, dropout: float):
        super().__init__()
        self.blocks = nn.Sequential()
        width = in_channels
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            self.blocks.append(
                nn.Sequential(
                    nn.Conv2d(width, channels, 3, stride, padding=1, bias=False),
                    nn.GroupNorm(GROUPS, channels),
                    nn.ReLU(),
                )
            )
            width = channels
        self.head = RoleAwareHead(2 * width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 96, H/16, W/16)."""
        return self.blocks(x)

    def pool(self, features: Tensor) -> Tensor:
        """(B, 96, H, W) -> embedding (B, 192)."""
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


def build(in_channels: int, num_outputs: int, *, dropout: float = 0.2) -> LightCNN2D:
    """The light 2D CNN with random weights.

    Args:
        in_channels: Usually 1, a slice.
        num_outputs: Targets.
        dropout: Before the last layer.
    """
    return LightCNN2D(in_channels, num_outputs, dropout)
