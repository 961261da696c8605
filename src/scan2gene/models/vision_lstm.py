"""The GBM study's VisionLSTM: bidirectional LSTM layers over the patches of a slice.

Each block is an LSTM that reads the patches row by row in both directions, a linear layer
back to the width, and a perceptron, both around shortcuts; the tokens are averaged. There are
no positions: the order of reading gives them. Vision-LSTM by Alkin et al. is another network,
`vil`.
"""

from __future__ import annotations

from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.patches import PatchEmbed2D, as_map

VERSION = 1


class Block(nn.Module):
    """A bidirectional LSTM and a perceptron, each after a layer normalisation and around a shortcut."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True, bidirectional=True)
        self.proj = nn.Linear(2 * hidden, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, width) -> (B, N, width)."""
        x = x + self.proj(self.lstm(self.norm1(x))[0])
        return x + self.mlp(self.norm2(x))


class VisionLSTM(Network):
    """See the file's header."""

    spatial_dims = 2
    cam_layer = "patch_map"

    def __init__(
        self, in_channels: int, num_outputs: int, patch: int, width: int, hidden: int, depth: int,
        block_dropout: float, dropout: float,
    ):  # fmt: skip
        super().__init__()
        self.patch_embed = PatchEmbed2D(in_channels, width, patch)
        self.blocks = nn.Sequential(*[Block(width, hidden, block_dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.patch_map = nn.Identity()  # where maps of what counted are taken
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> normalised tokens as an image (B, width, H/patch, W/patch)."""
        tokens, grid = self.patch_embed(x)
        return self.patch_map(as_map(self.norm(self.blocks(tokens)), grid))


def build(
    in_channels: int,
    num_outputs: int,
    *,
    patch: int = 16,
    width: int = 256,
    hidden: int = 256,
    depth: int = 6,
    block_dropout: float = 0.1,
    dropout: float = 0.0,
) -> VisionLSTM:
    """The study's VisionLSTM with random weights; the defaults are the study's.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        patch: Side of a patch.
        width: Of a token.
        hidden: Of the LSTM, in each direction.
        depth: Blocks.
        block_dropout: In the perceptrons.
        dropout: Before the last layer.
    """
    return VisionLSTM(in_channels, num_outputs, patch, width, hidden, depth, block_dropout, dropout)
