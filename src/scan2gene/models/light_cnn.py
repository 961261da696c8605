"""Light CNNs of volumes and of slices: under half a million parameters, for small cohorts and laptops.

Five convolutions of 3 voxels a side. Group normalisation instead of batch normalisation, so that a
batch of two equals two batches of one. The pooled features are mean and maximum: a small
lesion disappears in a mean over the whole field. Only the head normalises over the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead

VERSION = 2  # 2: the head normalises its features over the batch
CHANNELS = (16, 32, 64, 64, 96)
GROUPS = 8


class LightCNN(Network):
    """See the file's header."""

    cam_layer = "blocks.2"  # four voxels a cell; at the eight of the last block a map has no place
    convolution: type[nn.Conv3d] | type[nn.Conv2d] = nn.Conv3d
    strides = (1, 2, 2, 2, 1)

    def __init__(self, in_channels: int, num_outputs: int, dropout: float, head_norm: str):
        super().__init__()
        self.blocks = nn.Sequential()
        width = in_channels
        for channels, stride in zip(CHANNELS, self.strides, strict=True):
            convolution = self.convolution(width, channels, 3, stride, padding=1, bias=False)
            self.blocks.append(nn.Sequential(convolution, nn.GroupNorm(GROUPS, channels), nn.ReLU()))
            width = channels
        self.head = RoleAwareHead(2 * width, in_channels, num_outputs, dropout, head_norm)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 96, D/8, H/8, W/8); of slices (B, C, H, W) -> (B, 96, H/16, W/16)."""
        return self.blocks(x)

    def pool(self, features: Tensor) -> Tensor:
        """(B, 96, ...) -> embedding (B, 192)."""
        space = tuple(range(2, features.ndim))
        return torch.cat([features.mean(dim=space), features.amax(dim=space)], dim=1)


class LightCNN2D(LightCNN):
    """The same for slices, under 200,000 parameters."""

    spatial_dims = 2
    cam_layer = "blocks.3"
    convolution = nn.Conv2d
    strides = (2, 2, 2, 2, 1)


def build(in_channels: int, num_outputs: int, *, dropout: float = 0.2, head_norm: str = "batch") -> LightCNN:
    """The light CNN of volumes with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
        head_norm: "batch" to normalise the pooled features over the batch before dropout and the last layer, or "none".
    """
    return LightCNN(in_channels, num_outputs, dropout, head_norm)


def build_2d(in_channels: int, num_outputs: int, *, dropout: float = 0.2, head_norm: str = "batch") -> LightCNN:
    """The light CNN of slices with random weights; arguments as in `build`."""
    return LightCNN2D(in_channels, num_outputs, dropout, head_norm)
