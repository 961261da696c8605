"""3D residual networks of depth 10, 18, 34 and 50.

Papers: He 2016, "Deep residual learning"; Hara 2018, "Can spatiotemporal 3D CNNs retrace
the history of 2D CNNs and ImageNet?" (the 3D form). Geometry here: 7^3 stem of stride 2,
max-pool, stages of stride 1, 2, 2, 2 (output stride 32), projection shortcuts.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scan2gene.models.head import RoleAwareHead

STAGE_CHANNELS = (64, 128, 256, 512)


class Basic(nn.Module):
    """Two 3^3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample = _projection(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) -> (B, channels, D/stride, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1^3, 3^3 and 1^3 convolutions around a shortcut, four times wider at the end."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv3d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) -> (B, 4 * channels, D/stride, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + self.downsample(x))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))


# depth -> block and how many of it per stage
LAYOUTS: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, int, int, int]]] = {
    10: (Basic, (1, 1, 1, 1)),
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet3D(nn.Module):
    """See the file's header."""

    spatial_dims = 3
    cam_layer = "layer4"

    def __init__(self, in_channels: int, num_outputs: int, depth: int, dropout: float):
        super().__init__()
        block, repeats = LAYOUTS[depth]
        self.conv1 = nn.Conv3d(in_channels, STAGE_CHANNELS[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(STAGE_CHANNELS[0])
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        width = STAGE_CHANNELS[0]
        for number, (channels, count) in enumerate(zip(STAGE_CHANNELS, repeats, strict=True), start=1):
            blocks = []
            for position in range(count):
                blocks.append(block(width, channels, 2 if number > 1 and position == 0 else 1))
                width = channels * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, F, D/32, H/32, W/32)."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGE_CHANNELS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, F, D, H, W) -> logits (B, num_outputs)."""
        return self.head(features.mean(dim=(2, 3, 4)), present)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W), (B, C) -> logits (B, num_outputs)."""
        return self.forward_head(self.forward_features(x), present)


def build(in_channels: int, num_outputs: int, *, depth: int = 10, dropout: float = 0.0) -> ResNet3D:
    """A 3D ResNet with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        depth: 10, 18, 34 or 50.
        dropout: Before the last layer.
    """
    return ResNet3D(in_channels, num_outputs, depth, dropout)
