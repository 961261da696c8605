"""3D residual networks of depth 10, 18, 34 and 50.

Papers: He 2016, "Deep residual learning"; Hara 2018, "Can spatiotemporal 3D CNNs retrace
the history of 2D CNNs and ImageNet?" (the 3D form). The names of the tensors are those of
the released weights. Strides, dilations and parameter-free shortcuts leave no trace in a
state dict, so `GEOMETRIES` says which of them each family of weights was trained with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead

VERSION = 1
STAGE_CHANNELS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Geometry:
    """What of a residual network its weights do not show.

    Args:
        stem_stride: Of the first convolution along D, H, W.
        max_pool: A 3^3 max-pool of stride 2 after the stem.
        strides: Of the first block of each stage.
        dilations: Of the 3^3 convolutions of each stage; their padding is the same.
        shortcut: Where shapes change, "B" projects by a 1^3 convolution and batch
            normalisation, "A" subsamples and pads with zero channels.
    """

    stem_stride: tuple[int, int, int] = (2, 2, 2)
    max_pool: bool = True
    strides: tuple[int, int, int, int] = (1, 2, 2, 2)
    dilations: tuple[int, int, int, int] = (1, 1, 1, 1)
    shortcut: Literal["A", "B"] = "B"


# Sources: Tencent/MedicalNet, med3d/models/resnet.py and the table of shortcuts in its README;
# kenshohara/3D-ResNets-PyTorch, models/resnet.py.
GEOMETRIES: dict[str, Geometry] = {
    "standard": Geometry(),
    "medicalnet": Geometry(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4)),  # depth 10, 50
    "medicalnet-a": Geometry(strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), shortcut="A"),  # depth 18, 34
    "kinetics": Geometry(stem_stride=(1, 2, 2)),
}


def geometry_of(given: str | Mapping[str, Any]) -> Geometry:
    """A geometry by its name, or from the values of its fields.

    Raises:
        StudyError: Unknown name or field, or a value of the wrong kind.
    """
    if isinstance(given, str):
        if given not in GEOMETRIES:
            raise StudyError(f"geometry {unknown_name(given, GEOMETRIES)}")
        return GEOMETRIES[given]
    known = {f.name: getattr(Geometry(), f.name) for f in fields(Geometry)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise StudyError(f"geometry: field {unknown_name(str(name), known)}")
        wanted = known[name]
        if isinstance(wanted, tuple):
            numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []
            if len(numbers) != len(wanted) or not all(type(n) is int and n > 0 for n in numbers):
                raise StudyError(f"geometry.{name} is a list of {len(wanted)} whole numbers above 0, not {value!r}")
            value = tuple(numbers)
        elif value not in ((True, False) if name == "max_pool" else ("A", "B")):
            raise StudyError(f"geometry.{name} cannot be {value!r}")
        values[name] = value
    return Geometry(**values)


class Basic(nn.Module):
    """Two 3^3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int, dilation: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample = _shortcut(inputs, channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) -> (B, channels, D/stride, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + self.downsample(x))


class Bottleneck(nn.Module):
    """1^3, 3^3 and 1^3 convolutions around a shortcut, four times wider at the end."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int, dilation: int, shortcut: str):
        super().__init__()
        outputs = channels * self.expansion
        self.conv1 = nn.Conv3d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)
        self.conv3 = nn.Conv3d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, D, H, W) -> (B, 4 * channels, D/stride, H/stride, W/stride)."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + self.downsample(x))


class Subsample(nn.Module):
    """Shortcut A: every `stride`-th voxel, zeros for the channels that are new; no weights."""

    def __init__(self, new_channels: int, stride: int):
        super().__init__()
        self.new_channels, self.stride = new_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, C + new, D/stride, H/stride, W/stride)."""
        step = self.stride
        return pad(x[:, :, ::step, ::step, ::step], (0, 0, 0, 0, 0, 0, 0, self.new_channels))


def _shortcut(inputs: int, outputs: int, stride: int, kind: str) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    if kind == "A":
        return Subsample(outputs - inputs, stride)
    return nn.Sequential(nn.Conv3d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm3d(outputs))


# depth -> block and how many of it per stage
LAYOUTS: dict[int, tuple[type[Basic] | type[Bottleneck], tuple[int, int, int, int]]] = {
    10: (Basic, (1, 1, 1, 1)),
    18: (Basic, (2, 2, 2, 2)),
    34: (Basic, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


class ResNet3D(Network):
    """See the file's header."""

    cam_layer = "layer4"

    def __init__(
        self, in_channels: int, num_outputs: int, depth: int, dropout: float, geometry: Geometry,
        input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        block, repeats = LAYOUTS[depth]
        self.geometry, self.input_map = geometry, input_map
        self.conv1 = nn.Conv3d(in_channels, STAGE_CHANNELS[0], 7, stride=geometry.stem_stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(STAGE_CHANNELS[0])
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1) if geometry.max_pool else nn.Identity()
        width = STAGE_CHANNELS[0]
        for number, (channels, count) in enumerate(zip(STAGE_CHANNELS, repeats, strict=True), start=1):
            blocks = []
            for position in range(count):
                stride = geometry.strides[number - 1] if position == 0 else 1
                blocks.append(block(width, channels, stride, geometry.dilations[number - 1], geometry.shortcut))
                width = channels * block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, F, D/32, H/32, W/32), or /8 with the dilated geometries."""
        scale, shift = self.input_map
        if (scale, shift) != (1.0, 0.0):
            x = x * scale + shift
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGE_CHANNELS) + 1):
            x = self.get_submodule(f"layer{number}")(x)
        return x


def build(
    in_channels: int,
    num_outputs: int,
    *,
    depth: int = 10,
    dropout: float = 0.0,
    geometry: str | Mapping[str, Any] = "standard",
    input_map: Sequence[float] = (1.0, 0.0),
) -> ResNet3D:
    """A 3D ResNet with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        depth: 10, 18, 34 or 50.
        dropout: Before the last layer.
        geometry: A name out of `GEOMETRIES`, or fields of `Geometry`.
        input_map: Scale and shift of the input, to the range that weights were trained on.
    """
    scale, shift = input_map
    return ResNet3D(in_channels, num_outputs, depth, dropout, geometry_of(geometry), (float(scale), float(shift)))
