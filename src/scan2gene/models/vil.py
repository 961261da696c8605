"""Vision-LSTM: mLSTM blocks that read the patches of a slice in alternating directions.

Paper: Alkin 2024, "Vision-LSTM: xLSTM as generic vision backbone", arXiv 2406.04303, the second
version: a 3 x 3 convolution over the patches before queries and keys, biases, and the first and
the last token side by side as the embedding. Even blocks read from the top left to the bottom
right, odd ones back. Written from the papers; no weights of others fit.

What is cheap is computed again in the backward pass: an mLSTM block has more intermediate values
than one of attention with its fused kernels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu
from torch.utils.checkpoint import checkpoint

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped
from scan2gene.models.mlstm import mlstm
from scan2gene.models.patches import Grid, PatchEmbed2D, as_map, as_tokens, resized

VERSION = 1
SIZES = {"tiny": (192, 24), "small": (384, 24), "base": (768, 24)}  # width, blocks
EXPANSION = 2
HEADS = 4
GROUP = 4  # neighbouring channels that queries, keys and values are mixed within
JOINED = 4  # groups multiplied together


class Grouped(nn.Module):
    """A linear layer within groups of neighbouring channels."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width // GROUP, GROUP, GROUP))
        self.bias = nn.Parameter(torch.empty(width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small weights, as the paper's other projections."""
        nn.init.normal_(self.weight, std=math.sqrt(2 / (5 * GROUP)))
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        # Four groups at a time, zeros between them: a quarter of the products, each large enough to be worth it.
        weight = self.weight.unflatten(0, (-1, JOINED))
        weight = torch.diag_embed(weight.permute(0, 2, 3, 1)).permute(0, 3, 1, 4, 2)  # (G, join, out, join, in)
        weight = weight.flatten(3, 4).flatten(1, 2)
        y = torch.einsum("bngi,goi->bngo", x.unflatten(2, (-1, JOINED * GROUP)), weight)
        return y.flatten(2).add_(self.bias)


class Gates(nn.Module):
    """Input and forget gates of every head, from queries, keys and values together."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2 * HEADS, 3 * width))
        self.bias = nn.Parameter(torch.empty(2 * HEADS))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Gates that do not depend on the input yet, and memories of different lengths."""
        nn.init.zeros_(self.weight)
        nn.init.normal_(self.bias, std=0.1)
        with torch.no_grad():
            self.bias[HEADS:] = torch.linspace(3.0, 6.0, HEADS)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Three times (B, N, width) -> (B, N, 2 * heads): input gates, then forget gates."""
        of_q, of_k, of_v = self.weight.chunk(3, dim=1)  # apart, so that the three need not be joined and kept
        return linear(q, of_q, self.bias) + linear(k, of_k) + linear(v, of_v)


class Mixer(nn.Module):
    """The mLSTM between its projections: up, convolution, cell, gate, down."""

    def __init__(self, width: int, depth: int, backwards: bool):
        super().__init__()
        inner = EXPANSION * width
        self.backwards = backwards
        self.up = nn.Linear(width, 2 * inner)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.query, self.key, self.value = Grouped(inner), Grouped(inner), Grouped(inner)
        self.gates = Gates(inner)
        self.out_norm = nn.GroupNorm(HEADS, inner)
        self.skip = nn.Parameter(torch.ones(inner))
        self.down = nn.Linear(inner, width)
        nn.init.normal_(self.up.weight, std=math.sqrt(2 / (5 * width)))
        nn.init.normal_(self.down.weight, std=2 / (depth * math.sqrt(width)))
        nn.init.zeros_(self.up.bias)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, width), N = rows x columns of the grid -> (B, N, width)."""
        x, gate = self.up(x).chunk(2, dim=2)
        seen = silu(as_tokens(self.conv(as_map(x, grid))))
        q, k, v = self.query(seen), self.key(seen), self.value(x)
        gates = self.gates(q, k, v).transpose(1, 2)  # (B, 2 * heads, N)
        q, k, v = (t.unflatten(2, (HEADS, -1)).transpose(1, 2) for t in (q, k, v))
        hidden = mlstm(q, k, v, gates[:, :HEADS], gates[:, HEADS:], self.backwards)
        hidden = hidden.transpose(1, 2).flatten(2)  # (B, N, inner)
        if torch.is_grad_enabled():
            return self.down(checkpoint(self._gated, hidden, seen, gate, use_reentrant=False, preserve_rng_state=False))
        return self.down(self._gated(hidden, seen, gate))

    def _gated(self, hidden: Tensor, seen: Tensor, gate: Tensor) -> Tensor:
        hidden = self.out_norm(hidden.flatten(0, 1)).view_as(hidden)
        return torch.addcmul(hidden, self.skip, seen) * silu(gate)


class Block(nn.Module):
    """A mixer after a layer normalisation and around a shortcut."""

    def __init__(self, width: int, depth: int, backwards: bool):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = Mixer(width, depth, backwards)

    def forward(self, x: Tensor, grid: Grid) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        return x + self.mixer(self.norm(x), grid)


class ViL(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "patch_map"

    def __init__(
        self, in_channels: int, num_outputs: int, image: Grid, patch: int, width: int, depth: int, dropout: float,
        input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        self.input_map = input_map
        self.grid = (image[0] // patch, image[1] // patch)
        self.patch_embed = PatchEmbed2D(in_channels, width, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(Block(width, depth, number % 2 == 1) for number in range(depth))
        self.patch_map = nn.Identity()  # where maps of what counted are taken
        self.norm = nn.LayerNorm(width)
        self.head = RoleAwareHead(2 * width, in_channels, num_outputs, dropout)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> normalised tokens as an image (B, width, H/patch, W/patch)."""
        x, grid = self.patch_embed(mapped(x, self.input_map))
        x = x + resized(self.pos_embed, 0, self.grid, grid)
        for number, block in enumerate(self.blocks):
            if number == len(self.blocks) - 2:
                # Behind the last two blocks, one of each direction, only the first and last token are read.
                x = as_tokens(self.patch_map(as_map(x, grid)))
            x = block(x, grid)
        return as_map(self.norm(x), grid)

    def pool(self, features: Tensor) -> Tensor:
        """(B, width, h, w) -> embedding (B, 2 * width): the first token and the last."""
        return torch.cat([features[:, :, 0, 0], features[:, :, -1, -1]], dim=1)


def build(
    in_channels: int,
    num_outputs: int,
    *,
    size: Literal["tiny", "small", "base"] = "tiny",
    image: Sequence[int] = (224, 224),
    patch: int = 16,
    width: int | None = None,
    depth: int | None = None,
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> ViL:
    """A Vision-LSTM with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        size: tiny, small or base.
        image: H, W that the positions belong to; for other slices they are interpolated.
        patch: Side of a patch.
        width: Of a token, a multiple of 8, where it is not that of `size`; so is `depth`.
        depth: Blocks, two or more.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Unknown size, or sizes that do not fit each other.
    """
    if size not in SIZES:
        raise StudyError(f"vil: size {unknown_name(str(size), SIZES)}")
    width, depth = width or SIZES[size][0], depth or SIZES[size][1]
    if len(image) != 2 or any(n % patch for n in image):
        raise StudyError(f"vil: image {list(image)} has to be two multiples of patch {patch}")
    if (width * EXPANSION) % (HEADS * GROUP) or depth < 2:
        raise StudyError(f"vil: width {width} has to be a multiple of 8, and depth {depth} at least 2")
    (h, w), (scale, shift) = image, input_map
    return ViL(in_channels, num_outputs, (h, w), patch, width, depth, dropout, (float(scale), float(shift)))
