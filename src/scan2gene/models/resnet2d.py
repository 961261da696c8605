"""2D residual networks, with squeeze and excitation: SE-ResNet-50 for slices.

Papers: He 2016, "Deep residual learning"; Hu 2018, "Squeeze-and-excitation networks", arXiv
1709.01507. The stride lies in the 3 x 3 convolution, and the names of the tensors are those of
timm's seresnet50 and torchvision's resnet18, whose weights fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped

VERSION = 1
STAGE_CHANNELS = (64, 128, 256, 512)
REDUCTION = 16


class SqueezeExcitation(nn.Module):
    """Each channel weighed by what the means of all say of it."""

    def __init__(self, channels: int):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.fc2 = nn.Conv2d(channels // REDUCTION, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> the same shape."""
        means = x.mean(dim=(2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))


class Basic(nn.Module):
    """Two 3 x 3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, excited: bool):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.se = SqueezeExcitation(channels) if excited else nn.Identity()
        self.downsample = _shortcut(inputs, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, channels, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.se(self.bn2(self.conv2(y))) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions around a shortcut, four times wider at the end."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, excited: bool):
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs) if excited else nn.Identity()
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, 4 * channels, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.se(self.bn3(self.conv3(y))) + self.downsample(x))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


# depth -> block and how many of it per stage
LAYOUTS: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (Basic, (2, 2, 2, 2)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


def add_trunk(network: nn.Module, in_channels: int, depth: int, excited: bool) -> int:
    """Give a network the layers conv1 to layer4, under their published names, and say how wide they end."""
    block, repeats = LAYOUTS[depth]
    width = STAGE_CHANNELS[0]
    network.add_module("conv1", nn.Conv2d(in_channels, width, 7, stride=2, padding=3, bias=False))
    network.add_module("bn1", nn.BatchNorm2d(width))
    network.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1))
    for number, (channels, count) in enumerate(zip(STAGE_CHANNELS, repeats, strict=True), start=1):
        blocks = []
        for position in range(count):
            blocks.append(block(width, channels, 2 if number > 1 and position == 0 else 1, excited))
            width = channels * block.expansion
        network.add_module(f"layer{number}", nn.Sequential(*blocks))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return width


def run_trunk(network: Any, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, F, H/32, W/32), through the layers of `add_trunk`."""
    x = network.maxpool(torch.relu(network.bn1(network.conv1(x))))
    for number in range(1, len(STAGE_CHANNELS) + 1):
        x = network.get_submodule(f"layer{number}")(x)
    return x


class SEResNet2D(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "layer4"

    def __init__(self, in_channels: int, num_outputs: int, dropout: float, input_map: tuple[float, float]):
        super().__init__()
        self.input_map = input_map
        width = add_trunk(self, in_channels, 50, excited=True)
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2048, H/32, W/32)."""
        return run_trunk(self, mapped(x, self.input_map))


def build(
    in_channels: int, num_outputs: int, *, dropout: float = 0.0, input_map: Sequence[float] = (1.0, 0.0)
) -> SEResNet2D:
    """SE-ResNet-50 with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.
    """
    scale, shift = input_map
    return SEResNet2D(in_channels, num_outputs, dropout, (float(scale), float(shift)))
