"""A light 3D CNN: under half a million parameters, for small cohorts and laptops.

Five 3^3 convolutions. Group normalisation instead of batch normalisation, so that a
batch of two equals two batches of one. The pooled features are mean and maximum: a small
lesion disappears in a mean over the whole field. With the mean alone, Grad-CAM and
Grad-CAM++ are exact in where they point, as their weights then are those of the head.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import RoleAwareHead

CHANNELS = (16, 32, 64, 64, 96)
STRIDES = (1, 2, 2, 2, 1)
GROUPS = 8


class LightCNN(nn.Module):
    """See the file's header."""

    spatial_dims = 3
    cam_layer = "blocks.2"  # four voxels a cell; at the eight of the last block a map has no place

    def __init__(self, in_channels: int, num_outputs: int, dropout: float, pooling: str):
        super().__init__()
        self.pooling = pooling
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
        self.head = RoleAwareHead(width if pooling == "mean" else 2 * width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 96, D/8, H/8, W/8)."""
        return self.blocks(x)

    def pool(self, features: Tensor) -> Tensor:
        """(B, 96, D, H, W) -> embedding (B, 192), or (B, 96) with the mean alone."""
        mean = features.mean(dim=(2, 3, 4))
        return mean if self.pooling == "mean" else torch.cat([mean, features.amax(dim=(2, 3, 4))], dim=1)

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, 96, D, H, W) -> logits (B, num_outputs)."""
        return self.head(self.pool(features), present)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W), (B, C) -> logits (B, num_outputs)."""
        return self.forward_head(self.forward_features(x), present)


def build(
    in_channels: int, num_outputs: int, *, dropout: float = 0.2, pooling: Literal["mean_max", "mean"] = "mean_max"
) -> LightCNN:
    """The light CNN with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
        pooling: "mean_max" or "mean".

    Raises:
        StudyError: Another pooling.
    """
    if pooling not in ("mean_max", "mean"):
        raise StudyError(f"light_cnn: pooling {unknown_name(pooling, ('mean_max', 'mean'))}")
    return LightCNN(in_channels, num_outputs, dropout, pooling)
