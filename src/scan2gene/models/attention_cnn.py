"""A light 3D CNN whose answer is an attention-weighted mean over cells of four voxels.

Made to be looked into: Grad-CAM and Grad-CAM++ give a channel one weight for the whole field, so
they point only where channels are active nowhere else. Three things see to that. Cells stay fine
(four voxels); batch normalisation, since the statistics of group normalisation carry a lesion's
signal to every cell of the field; and gated attention (Ilse 2018, arXiv 1802.04712, equation 9),
whose shares multiply the features before the mean, so that what is not attended to is dark in the
map too. A lesion also outweighs the field, in which a plain mean would drown it.
"""

from __future__ import annotations

from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead
from scan2gene.models.mil import GatedAttention

VERSION = 1
CHANNELS = (16, 32, 64, 64, 96)
STRIDES = (1, 2, 2, 1, 1)


class AttentionCNN(Network):
    """See the file's header."""

    cam_layer = "attended"

    def __init__(self, in_channels: int, num_outputs: int, dropout: float):
        super().__init__()
        self.cells = nn.Sequential()
        width = in_channels
        for channels, stride in zip(CHANNELS, STRIDES, strict=True):
            convolution = nn.Conv3d(width, channels, 3, stride, padding=1, bias=False)
            self.cells.append(nn.Sequential(convolution, nn.BatchNorm3d(channels), nn.ReLU()))
            width = channels
        self.attention = GatedAttention(width)
        self.attended = nn.Identity()  # where maps are taken: the mean over it is all that the head sees
        self.head = RoleAwareHead(width, in_channels, num_outputs, dropout)

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> attended cells (B, 96, D/4, H/4, W/4), each times its share; a mean share is 1."""
        cells = self.cells(x)
        share = self.attention(cells.flatten(2).transpose(1, 2))  # (B, N)
        return self.attended(cells * (share * share.shape[1]).view(len(x), 1, *cells.shape[2:]))


def build(in_channels: int, num_outputs: int, *, dropout: float = 0.0) -> AttentionCNN:
    """The network with random weights.

    Args:
        in_channels: Roles.
        num_outputs: Targets.
        dropout: Before the last layer.
    """
    return AttentionCNN(in_channels, num_outputs, dropout)
