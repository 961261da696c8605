"""A 2.5D network: a 2D ResNet-18 sees every slice of a volume, and the slices are pooled.

Between slice and volume: 2D weights fit (torchvision's resnet18 by its names), and one answer
is learned per exam. Pooling by gated attention: Ilse 2018, "Attention-based deep multiple
instance learning", arXiv 1802.04712, equation 9; a slice is an instance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped
from scan2gene.models.mil import GatedAttention
from scan2gene.models.resnet2d import add_trunk, run_trunk

VERSION = 1
POOLINGS = ("attention", "mean", "max")


class ResNet25D(Network):
    """See the file's header."""

    cam_layer = "slice_map"

    def __init__(
        self, in_channels: int, num_outputs: int, pooling: str, dropout: float, input_map: tuple[float, float]
    ):
        super().__init__()
        self.pooling, self.input_map = pooling, input_map
        width = add_trunk(self, in_channels, 18, excited=False)
        self.slice_map = nn.Identity()  # where maps of what counted are taken
        if pooling == "attention":
            self.attention = GatedAttention(width)
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, 512, D, H/32, W/32)."""
        slices = mapped(x, self.input_map).transpose(1, 2)  # (B, D, C, H, W)
        features = run_trunk(self, slices.flatten(0, 1)).unflatten(0, slices.shape[:2])
        return self.slice_map(features.transpose(1, 2))

    def pool(self, features: Tensor) -> Tensor:
        """(B, F, D, H, W) -> embedding (B, F)."""
        slices = features.mean(dim=(3, 4)).transpose(1, 2)  # (B, D, F)
        if self.pooling == "max":
            return slices.amax(dim=1)
        if self.pooling == "mean":
            return slices.mean(dim=1)
        return torch.einsum("bd,bdf->bf", self.attention(slices), slices)


def build(
    in_channels: int,
    num_outputs: int,
    *,
    pooling: Literal["attention", "mean", "max"] = "attention",
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> ResNet25D:
    """A 2.5D ResNet-18 with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        pooling: Over slices: gated attention, mean or max.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Unknown pooling.
    """
    if pooling not in POOLINGS:
        raise StudyError(f"resnet25d: pooling {unknown_name(str(pooling), POOLINGS)}")
    scale, shift = input_map
    return ResNet25D(in_channels, num_outputs, pooling, dropout, (float(scale), float(shift)))
