"""3D vision transformer, as the image encoder of M3D-CLIP.

Paper: Bai et al. 2024, "M3D: Advancing 3D medical image analysis with multi-modal large
language models", arXiv 2404.00578; code BAAI-DCAI/M3D (MIT), LaMed/src/model/CLIP.py. The
names of the tensors are those of its released weights. One image of 32 x 256 x 256 in [0, 1]
gives 2048 patches of 4 x 16 x 16 and a class token, width 768, 12 blocks of 12 heads.

Two vectors of an exam exist: "cls", the normalised class token, and "projected", the same
after a linear layer and divided by its length, which M3D compares with texts. Every role goes
through the same encoder, and the vectors are put side by side: the encoder saw one channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize, pad, scaled_dot_product_attention

from scan2gene.core.errors import StudyError
from scan2gene.models.head import Network, RoleAwareHead

VERSION = 1
Size = tuple[int, int, int]


class Patches(nn.Module):
    """Cut a volume of one channel into patches, slowest axis first."""

    def __init__(self, patch: Size):
        super().__init__()
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, D, H, W), multiples of the patch -> (B, N, voxels of a patch)."""
        p, q, r = self.patch
        x = x.unflatten(4, (-1, r)).unflatten(3, (-1, q)).unflatten(2, (-1, p))  # (B, 1, d, p, h, q, w, r)
        return x.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)


class PatchEmbedding(nn.Module):
    """Patches to tokens, with learned positions."""

    def __init__(self, size: Size, patch: Size, width: int):
        super().__init__()
        self.patch = patch
        self.grid = tuple(n // p for n, p in zip(size, patch, strict=True))
        voxels, tokens = patch[0] * patch[1] * patch[2], self.grid[0] * self.grid[1] * self.grid[2]
        self.patch_embeddings = nn.Sequential(Patches(patch), nn.Linear(voxels, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, tokens, width))

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        """(B, 1, D, H, W) -> tokens (B, N, width) and their grid; a size in between is padded with zeros."""
        short = [-n % p for n, p in zip(x.shape[2:], self.patch, strict=True)]
        x = pad(x, (0, short[2], 0, short[1], 0, short[0]))
        d, h, w = (n // p for n, p in zip(x.shape[2:], self.patch, strict=True))
        return self.patch_embeddings(x) + self._positions((d, h, w)), (d, h, w)

    def _positions(self, grid: Size) -> Tensor:
        if grid == self.grid:
            return self.position_embeddings
        table = self.position_embeddings.transpose(1, 2).unflatten(2, self.grid)  # (1, width, d, h, w)
        return interpolate(table, grid, mode="trilinear").flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention; queries, keys and values without bias."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, N, d)
        return self.out_proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers with GELU between them."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        return self.linear2(nn.functional.gelu(self.linear1(x)))


class Block(nn.Module):
    """Attention and perceptron, each after a layer normalisation and around a shortcut."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Perceptron(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT3D(Network):
    """See the file's header."""

    cam_layer = "patch_map"

    def __init__(
        self, in_channels: int, num_outputs: int, size: Size, patch: Size, width: int, depth: int, heads: int,
        vector: str, dropout: float, input_map: tuple[float, float],
    ):  # fmt: skip
        super().__init__()
        self.vector, self.input_map = vector, input_map
        self.patch_embedding = PatchEmbedding(size, patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.patch_map = nn.Identity()  # where maps of what counted are taken
        self.norm = nn.LayerNorm(width)
        if vector == "projected":
            self.mm_vision_proj = nn.Linear(width, width)
        self.head = RoleAwareHead(in_channels * width, in_channels, num_outputs, dropout)
        nn.init.trunc_normal_(self.patch_embedding.position_embeddings, std=0.02)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, R, D, H, W) -> normalised tokens (B, R, 1 + N, width), the class token first."""
        scale, shift = self.input_map
        if (scale, shift) != (1.0, 0.0):
            x = x * scale + shift
        roles = x.shape[1]
        x, grid = self.patch_embedding(x.flatten(0, 1).unsqueeze(1))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B * R, 1 + N, width)
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.norm(self.blocks[-1](self._mapped(x, roles, grid)))
        return x.unflatten(0, (-1, roles))

    def _mapped(self, x: Tensor, roles: int, grid: Size) -> Tensor:
        """The tokens, taken through `patch_map` as an image (B, R * width, d, h, w).

        Before the last block: behind it the class token, which alone is read, no longer depends on the patches.
        """
        image = x[:, 1:].transpose(1, 2).unflatten(2, grid).unflatten(0, (-1, roles)).flatten(1, 2)
        image = self.patch_map(image).unflatten(1, (roles, -1)).flatten(0, 1)
        return torch.cat([x[:, :1], image.flatten(2).transpose(1, 2)], dim=1)

    def pool(self, features: Tensor) -> Tensor:
        """Tokens (B, R, 1 + N, width) -> embedding (B, R * width)."""
        vectors = features[:, :, 0]
        if self.vector == "projected":
            vectors = normalize(self.mm_vision_proj(vectors), dim=-1)
        return vectors.flatten(1)

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Tokens -> logits (B, num_outputs)."""
        pooled = self.pool(features)
        if self.vector == "projected":  # parts of a vector of length 1 are too small for a head to begin with
            pooled = pooled * features.shape[-1] ** 0.5
        return self.head(pooled, present)


def build(
    in_channels: int,
    num_outputs: int,
    *,
    size: Sequence[int] = (32, 256, 256),
    patch: Sequence[int] = (4, 16, 16),
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    vector: Literal["projected", "cls"] = "projected",
    dropout: float = 0.0,
    input_map: Sequence[float] = (1.0, 0.0),
) -> ViT3D:
    """A 3D vision transformer with random weights; the defaults are M3D-CLIP's.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        size: D, H, W that the positions belong to; for other inputs they are interpolated.
        patch: D, H, W of a patch.
        width: Of a token.
        depth: Blocks.
        heads: Of each attention.
        vector: "projected" or "cls"; see the file's header.
        dropout: Before the last layer.
        input_map: Scale and shift of the input, to the range that weights were trained on.

    Raises:
        StudyError: Sizes that do not fit each other, or an unknown vector.
    """
    if len(size) != 3 or len(patch) != 3 or any(n % p for n, p in zip(size, patch, strict=True)):
        raise StudyError(f"vit3d: size {list(size)} has to be three multiples of patch {list(patch)}")
    if width % heads:
        raise StudyError(f"vit3d: width {width} is no multiple of heads {heads}")
    if vector not in ("projected", "cls"):
        raise StudyError(f"vit3d: vector is 'projected' or 'cls', not {vector!r}")
    (d, h, w), (p, q, r), (scale, shift) = size, patch, input_map
    return ViT3D(
        in_channels,
        num_outputs,
        (d, h, w),
        (p, q, r),
        width,
        depth,
        heads,
        vector,
        dropout,
        (float(scale), float(shift)),
    )
