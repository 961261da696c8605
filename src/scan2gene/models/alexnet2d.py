"""AlexNet for slices, in one column.

Papers: Krizhevsky 2012, "ImageNet classification with deep convolutional neural networks";
Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks",
arXiv 1404.5997 (64, 192, 384, 256, 256 channels, no local response normalisation). The names of
the tensors are those of torchvision, whose weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped

VERSION = 1
SMALLEST = 63  # below it nothing is left behind the last pooling
POOLED = 6


class AlexNet2D(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "features.11"  # behind the last convolution, before its pooling

    def __init__(self, in_channels: int, num_outputs: int, hidden: int, dropout: float, input_map: tuple[float, float]):
        super().__init__()
        self.input_map = input_map
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * POOLED * POOLED, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.head = RoleAwareHead(hidden, in_channels, num_outputs)
        for module in (*self.features, *self.classifier):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                torch.nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 256, h, w), 6 x 6 for 224 x 224.

        Raises:
            StudyError: H or W below 63.
        """
        if min(x.shape[2:]) < SMALLEST:
            raise StudyError(
                f"alexnet2d needs slices of at least {SMALLEST} x {SMALLEST} voxels, these have "
                f"{x.shape[3]} x {x.shape[2]}. Take a larger grid, or another model."
            )
        return self.features(mapped(x, self.input_map))

    def pool(self, features: Tensor) -> Tensor:
        """(B, 256, h, w) -> embedding (B, hidden)."""
        return self.classifier(self.avgpool(features).flatten(1))


def build(
    in_channels: int,
    num_outputs: int,
    *,
    hidden: int = 4096,
    dropout: float = 0.5,
    input_map: Sequence[float] = (1.0, 0.0),
) -> AlexNet2D:
    """AlexNet with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        hidden: Width of the two layers before the last.
        dropout: Before each of them.
        input_map: Scale and shift of the input, to the range that weights were trained on.
    """
    scale, shift = input_map
    return AlexNet2D(in_channels, num_outputs, hidden, dropout, (float(scale), float(shift)))
