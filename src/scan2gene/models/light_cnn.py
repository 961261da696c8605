"""A light 3D CNN: under half a million parameters, for small cohorts and laptops.

Five 3^3 convolutions. Group normalisation instead of batch normalisation, so that a
batch of two equals two batches of one. The pooled features are mean and maximum: a small
lesion disappears in a mean over the whole field.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead

CHANNELS = (16, 32, 64, 64, 96)
STRIDES = (1, 2, 2, 2, 1)
GROUPS = 8


class LightCNN(Network):
    """See the file's header."""

    cam_layer = "blocks.2"  # four voxels a cell; at the eight of the last block a map has no place

    def __init__(self, in_channels: int, num_outputs: int, dropout: float):
        super().__init__()
        self.blocks = nn.Sequential()
        width = in_channels
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            self.blocks.append(
                nn.Sequential(
                    nn.Conv3d(width, channels, 3, stride, padding=1, bias=False),
                    nn.GroupNorm(GROUPS, channels),
                    nn.ReLU(),
                )
            )
            width = channels
        self.head = RoleAwareHead(2 * width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 96, D/8, H/8, W/8)."""
        return self.blocks(x)

    def pool(self, features: Tensor) -> Tensor:
        """(B, 96, D, H, W) -> embedding (B, 192)."""
        return torch.cat([features.mean(dim=(2, 3, 4)), features.amax(dim=(2, 3, 4))], dim=1)


def build(in_channels: int, num_outputs: int, *, dropout: float = 0.2) -> LightCNN:
    """The light CNN with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
    """
    return LightCNN(in_channels, num_outputs, dropout)
