"""Vision transformer for slices.

Papers: Dosovitskiy 2021, "An image is worth 16x16 words", arXiv 2010.11929 (base); Touvron 2021,
"Training data-efficient image transformers", arXiv 2012.12877 (small, tiny). The names of the
tensors are those of timm, whose weights fit. Roles are channels of the patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.input_map import mapped
from scan2gene.models.patches import Grid, PatchEmbed2D, as_map, as_tokens, resized

VERSION = 1
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12)}  # width, blocks, heads
EPSILON = 1e-6


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and perceptron, each after a layer normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = Perceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT2D(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "patch_map"

    def __init__(
        self, in_channels: int, num_outputs: int, image: Grid, patch: int, width: int, depth: int, heads: int,
        dropout: float, input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        self.input_map = input_map
        self.grid = (image[0] // patch, image[1] // patch)
        self.patch_embed = PatchEmbed2D(in_channels, width, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.patch_map = nn.Identity()  # where maps of what counted are taken
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> normalised tokens (B, 1 + N, width), the class token first."""
        x, grid = self.patch_embed(mapped(x, self.input_map))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = x + resized(self.pos_embed, 1, self.grid, grid)
        for block in self.blocks[:-1]:
            x = block(x)
        # Before the last block: behind it the class token, which alone is read, no longer depends on the patches.
        image = self.patch_map(as_map(x[:, 1:], grid))
        x = torch.cat([x[:, :1], as_tokens(image)], dim=1)
        return self.norm(self.blocks[-1](x))

    def pool(self, features: Tensor) -> Tensor:
        """Tokens (B, 1 + N, width) -> embedding (B, width)."""
        return features[:, 0]


def build(
    in_channels: int,
    num_outputs: int,
    *,
    size: Literal["tiny", "small", "base"] = "small",
    image: Sequence[int] = (224, 224),
    patch: int = 16,
    width: int | None = None,
    depth: int | None = None,
    heads: int | None = None,
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> ViT2D:
    """A vision transformer with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        size: tiny, for a CPU, small or base.
        image: H, W that the positions belong to; for other slices they are interpolated.
        patch: Side of a patch.
        width: Of a token, where it is not that of `size`; so are `depth` and `heads`.
        depth: Blocks.
        heads: Of each attention.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Unknown size, or sizes that do not fit each other.
    """
    if size not in SIZES:
        raise StudyError(f"vit2d: size {unknown_name(str(size), SIZES)}")
    width, depth, heads = width or SIZES[size][0], depth or SIZES[size][1], heads or SIZES[size][2]
    if len(image) != 2 or any(n % patch for n in image):
        raise StudyError(f"vit2d: image {list(image)} has to be two multiples of patch {patch}")
    if width % heads:
        raise StudyError(f"vit2d: width {width} is no multiple of heads {heads}")
    (h, w), (scale, shift) = image, input_map
    return ViT2D(
        in_channels, num_outputs, (h, w), patch, width, depth, heads, dropout, (float(scale), float(shift))
    )  # fmt: skip
