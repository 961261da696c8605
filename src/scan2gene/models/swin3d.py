"""3D transformer with shifted windows.

Papers: Liu 2022, "Video Swin transformer", arXiv 2106.13230; Liu 2021, "Swin transformer", arXiv
2103.14030. Patches of 2 x 4 x 4 voxels; three times the plane is halved, the slices never, which
suits scans with few thick slices. The names of the tensors are those of torchvision, whose
Kinetics-400 weights fit (frames along the slices). Two things differ from it where a size is no
multiple of the window, and only there: voxels that fill a window up take no part in attention,
and in a plane smaller than the window every offset has its own bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped

VERSION = 1
Size = tuple[int, int, int]
PATCH: Size = (2, 4, 4)
# size -> width of the first stage, blocks and heads of each
SIZES: dict[str, tuple[int, tuple[int, ...], tuple[int, ...]]] = {
    "micro": (24, (1, 1, 2, 1), (1, 2, 4, 8)),
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
}
_AWAY = -100.0  # added to the score of a pair that must not attend


def windows(x: Tensor, window: Size) -> Tensor:
    """(B, D, H, W, F), multiples of the window -> (B * windows, voxels of a window, F)."""
    p, q, r = window
    x = x.unflatten(3, (-1, r)).unflatten(2, (-1, q)).unflatten(1, (-1, p))  # (B, d, p, h, q, w, r, F)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 6).flatten(0, 3)


def joined(x: Tensor, window: Size, shape: Size) -> Tensor:
    """The inverse of `windows`: (B, *shape, F)."""
    counts = [n // w for n, w in zip(shape, window, strict=True)]
    x = x.unflatten(0, (-1, *counts)).unflatten(4, window)  # (B, d, h, w, p, q, r, F)
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).flatten(5, 6).flatten(3, 4).flatten(1, 2)


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept here must serve training too
def offsets(window: Size, full: Size, device: torch.device) -> Tensor:
    """Rows of the table of biases, made for `full` windows, for every pair of the V voxels of a window: (V, V)."""
    places = torch.cartesian_prod(*(torch.arange(n) for n in window))  # (V, 3)
    apart = places[:, None] - places[None] + torch.tensor(full) - 1  # (V, V, 3)
    steps = torch.tensor([(2 * full[1] - 1) * (2 * full[2] - 1), 2 * full[2] - 1, 1])
    return (apart * steps).sum(2).to(device)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def kept_apart(shape: Size, padded: Size, window: Size, shift: Size, device: torch.device) -> Tensor | None:
    """What is added to the scores of pairs in each window, (windows, 1, V, V); None where that is nothing.

    It is 0, or -100 where two voxels meet only because the field was rolled or filled up.
    """
    if shape == padded and not any(shift):
        return None
    region = torch.zeros(padded)
    for axis, (n, whole, w, s) in enumerate(zip(shape, padded, window, shift, strict=True)):
        label = torch.zeros(whole)
        if s:  # behind the last full window, and what was rolled in from the other end
            label[whole - w : whole - s], label[whole - s :] = 1, 2
        label[(torch.arange(whole) >= n).roll(-s)] = 3
        region = region * 4 + label.reshape([-1 if a == axis else 1 for a in range(3)])
    region = windows(region[None, ..., None], window).squeeze(2)  # (windows, V)
    return (region[:, :, None] != region[:, None]).float().mul(_AWAY).unsqueeze(1).to(device)


class WindowAttention(nn.Module):
    """Multi-head self-attention within windows, with a learned bias per offset."""

    def __init__(self, width: int, heads: int, window: Size, shift: Size):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        entries = (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * window[2] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(entries, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, width) -> the same shape."""
        shape = (x.shape[1], x.shape[2], x.shape[3])
        small = [n <= w for n, w in zip(shape, self.window, strict=True)]  # one window there: nothing to shift
        p, q, r = (n if s else w for n, w, s in zip(shape, self.window, small, strict=True))
        a, b, c = (0 if s else n for n, s in zip(self.shift, small, strict=True))
        window, shift = (p, q, r), (a, b, c)
        short = [-n % w for n, w in zip(shape, window, strict=True)]
        x = pad(x, (0, 0, 0, short[2], 0, short[1], 0, short[0]))
        padded = (x.shape[1], x.shape[2], x.shape[3])
        if any(shift):
            x = x.roll([-s for s in shift], dims=(1, 2, 3))
        attended = self._attended(windows(x, window), window, kept_apart(shape, padded, window, shift, x.device))
        x = joined(attended, window, padded)
        if any(shift):
            x = x.roll(shift, dims=(1, 2, 3))
        return x[:, : shape[0], : shape[1], : shape[2]]

    def _attended(self, x: Tensor, window: Size, apart: Tensor | None) -> Tensor:
        """(B * windows, V, width) -> the same shape."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B', heads, V, d)
        rows = offsets(window, self.window, x.device)
        bias = self.relative_position_bias_table[rows].permute(2, 0, 1).unsqueeze(0)  # (1, heads, V, V)
        if apart is not None:
            bias = (bias + apart.to(bias)).repeat(len(x) // len(apart), 1, 1, 1)
        y = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention in windows and a perceptron, each after a layer normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int, window: Size, shift: Size):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        # The third and fifth places are torchvision's dropout, which the published networks do not use.
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Identity(), nn.Linear(4 * width, width), nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, width) -> the same shape."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merging(nn.Module):
    """Four neighbours in the plane to one token of twice the width."""

    def __init__(self, width: int):
        super().__init__()
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, width) -> (B, D, H/2, W/2, 2 * width); odd sizes are filled up with zeros."""
        x = pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2))
        four = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(four, dim=4)))


class PatchEmbed3D(nn.Module):
    """Patches of 2 x 4 x 4 voxels to tokens; roles are their channels."""

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, D/2, H/4, W/4, width); a size in between is padded with zeros."""
        short = [-n % p for n, p in zip(x.shape[2:], PATCH, strict=True)]
        x = self.proj(pad(x, (0, short[2], 0, short[1], 0, short[0])) if any(short) else x)
        return self.norm(x.permute(0, 2, 3, 4, 1))


class Swin3D(Network):
    """See the file's header."""

    cam_layer = "patch_map"

    def __init__(
        self, in_channels: int, num_outputs: int, layout: tuple[int, tuple[int, ...], tuple[int, ...]], window: Size,
        dropout: float, input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        self.input_map = input_map
        width, blocks, heads = layout
        self.patch_embed = PatchEmbed3D(in_channels, width)
        half = (window[0] // 2, window[1] // 2, window[2] // 2)
        self.features = nn.Sequential()
        for stage, (count, number) in enumerate(zip(blocks, heads, strict=True)):
            shifts = [half if position % 2 else (0, 0, 0) for position in range(count)]
            self.features.append(nn.Sequential(*[Block(width, number, window, shift) for shift in shifts]))
            if stage < len(blocks) - 1:
                self.features.append(Merging(width))
                width *= 2
        self.norm = nn.LayerNorm(width)
        self.patch_map = nn.Identity()  # where maps of what counted are taken
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)
        for module in self.features.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> (B, F, D/2, H/32, W/32)."""
        tokens = self.norm(self.features(self.patch_embed(mapped(x, self.input_map))))
        return self.patch_map(tokens.permute(0, 4, 1, 2, 3))


def build(
    in_channels: int,
    num_outputs: int,
    *,
    size: Literal["micro", "tiny", "small"] = "tiny",
    window: Sequence[int] = (8, 7, 7),
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> Swin3D:
    """A 3D Swin transformer with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        size: micro, for a CPU, tiny or small.
        window: D, H, W of a window in tokens.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Unknown size, or a window that is none.
    """
    if size not in SIZES:
        raise StudyError(f"swin3d: size {unknown_name(str(size), SIZES)}")
    if len(window) != 3 or min(window) < 1:
        raise StudyError(f"swin3d: window {list(window)} has to be three whole numbers above 0")
    (p, q, r), (scale, shift) = window, input_map
    return Swin3D(in_channels, num_outputs, SIZES[size], (p, q, r), dropout, (float(scale), float(shift)))
