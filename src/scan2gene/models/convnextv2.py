"""ConvNeXt V2 for slices, and the plain variant of the GBM study.

Paper: Woo 2023, "ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders",
arXiv 2301.00808; sizes from its section 4 and appendix. The names of the tensors are those of
timm, whose weights fit (CC BY-NC 4.0). What the GBM study calls ConvNeXtV2_2D is one stage of
six blocks of 96 channels on 4 x 4 patches, without response normalisation: `build_plain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped

VERSION = 1
# size -> blocks and channels of each stage
SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
}
PLAIN = ((6,), (96,))
EPSILON = 1e-6


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of an image's channels, place by place."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, F, H, W) -> the same shape."""
        x = layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation: channels compete by their length over the whole field."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def reset_parameters(self) -> None:
        """As the block was without it."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, F) -> the same shape."""
        length = x.norm(p=2, dim=(1, 2), keepdim=True)  # (B, 1, 1, F)
        share = length / (length.mean(dim=-1, keepdim=True) + EPSILON)
        return x + torch.addcmul(self.bias, self.weight, x * share)


class Perceptron(nn.Module):
    """Four times wider, GELU, response normalisation where there is one, and back."""

    def __init__(self, width: int, response: bool):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.grn = ResponseNorm(4 * width) if response else nn.Identity()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, width) -> the same shape."""
        return self.fc2(self.grn(gelu(self.fc1(x))))


class Block(nn.Module):
    """A 7 x 7 convolution per channel, layer normalisation and a perceptron around a shortcut."""

    def __init__(self, width: int, response: bool, epsilon: float):
        super().__init__()
        self.conv_dw = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.mlp = Perceptron(width, response)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same shape."""
        y = self.mlp(self.norm(self.conv_dw(x).permute(0, 2, 3, 1)))
        return x + y.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """Blocks of one width, behind a halving of the field in all stages but the first."""

    def __init__(self, inputs: int, width: int, blocks: int, response: bool, epsilon: float):
        super().__init__()
        self.downsample = nn.Sequential()
        if inputs != width:
            self.downsample = nn.Sequential(ChannelNorm(inputs, eps=epsilon), nn.Conv2d(inputs, width, 2, stride=2))
        self.blocks = nn.Sequential(*[Block(width, response, epsilon) for _ in range(blocks)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, width, H/2, W/2)."""
        return self.blocks(self.downsample(x))


class ConvNeXtV2(Network):
    """See the file's header."""

    spatial_dims = 2

    def __init__(
        self, in_channels: int, num_outputs: int, layout: tuple[tuple[int, ...], tuple[int, ...]], plain: bool,
        dropout: float, input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        blocks, widths = layout
        epsilon = 1e-5 if plain else EPSILON
        self.input_map = input_map
        self.cam_layer = f"stages.{len(widths) - 1}"
        self.stem = nn.Sequential(nn.Conv2d(in_channels, widths[0], 4, stride=4))
        if not plain:
            self.stem.append(ChannelNorm(widths[0], eps=epsilon))
        self.stages = nn.Sequential(
            *[
                Stage(before, width, count, not plain, epsilon)
                for before, width, count in zip((widths[0], *widths), widths, blocks, strict=False)
            ]
        )
        self.norm = nn.Identity() if plain else nn.LayerNorm(widths[-1], eps=epsilon)
        self.head = RoleAwareHead(widths[-1], in_channels, num_outputs, dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) or (isinstance(module, nn.Linear) and module is not self.head.linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H/32, W/32); H/4, W/4 of the plain variant."""
        return self.stages(self.stem(mapped(x, self.input_map)))

    def pool(self, features: Tensor) -> Tensor:
        """(B, F, H, W) -> embedding (B, F)."""
        return self.norm(features.mean(dim=(2, 3)))


def build(
    in_channels: int,
    num_outputs: int,
    *,
    size: Literal["atto", "femto", "pico", "nano", "tiny"] = "atto",
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> ConvNeXtV2:
    """ConvNeXt V2 with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        size: atto, femto, pico, nano or tiny: 3.4 to 28 million weights.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Unknown size.
    """
    if size not in SIZES:
        raise StudyError(f"convnextv2: size {unknown_name(str(size), SIZES)}")
    scale, shift = input_map
    return ConvNeXtV2(in_channels, num_outputs, SIZES[size], False, dropout, (float(scale), float(shift)))


def build_plain(in_channels: int, num_outputs: int, *, dropout: float = 0.0) -> ConvNeXtV2:
    """The GBM study's variant, with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
    """
    return ConvNeXtV2(in_channels, num_outputs, PLAIN, True, dropout, (1.0, 0.0))
