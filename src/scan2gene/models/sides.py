"""One network that sees the two sides of a patient apart, as mirror images of each other.

Pooled convolutional features do not say where they come from: a lesion far from the border of
the field looks alike on both sides. So the field is cut in the middle, the right half is
mirrored to lie like the left one, and both go through the same network, which has one output
per target. A mirrored exam gets the same answers with the sides exchanged, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from scan2gene.core.study import SIDES

TENSOR_AXIS = {"k": -3, "j": -2, "i": -1}  # from the end: a slice has no k


class TwoSides(nn.Module):
    """See the file's header.

    Args:
        network: One output per name, in the order in which `outputs` first names them; of images, or
            a head on their embeddings.
        outputs: T times (name, side). What has no side gets the mean logit of the halves.
        axis: Voxel axis, "i", "j" or "k", between the sides.
        grows_to: "L" or "R", where that axis points.
    """

    share: Tensor  # (2, targets, T): what each half's answer counts in each output

    def __init__(self, network: nn.Module, outputs: Sequence[tuple[str, str]], axis: str, grows_to: str):
        super().__init__()
        self.network = network
        self.axis = TENSOR_AXIS[axis]
        self.left_is_high = grows_to == "L"
        self.spatial_dims = network.spatial_dims
        self.cam_layer = f"network.{network.cam_layer}"  # of 2 B halves: B left ones, then B mirrored right ones
        names = list(dict.fromkeys(name for name, _ in outputs))
        share = torch.zeros(2, len(names), len(outputs))
        for number, (name, side) in enumerate(outputs):
            for half in [SIDES.index(side)] if side else range(2):
                share[half, names.index(name), number] = 1 if side else 0.5
        self.register_buffer("share", share, persistent=False)

    def halves(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (2 B, C, ...): left halves, then right halves mirrored; an odd middle belongs to both.

        Of stored embeddings (B, 2 F), as `pool` gives them, to (2 B, F).
        """
        if x.ndim == 2:
            return torch.cat(x.chunk(2, dim=1))
        size = x.shape[self.axis]
        low, high = x.narrow(self.axis, 0, (size + 1) // 2), x.narrow(self.axis, size // 2, (size + 1) // 2)
        left, right = (high, low) if self.left_is_high else (low, high)
        return torch.cat([left, right.flip(self.axis)])

    def put_back(self, field: Tensor, half: int, values: Tensor) -> None:
        """Add what was found in a half to the field that it was cut from.

        Args:
            field: (B, D, H, W) on the voxels of the whole exam; changed.
            half: 0 for the left one, 1 for the right one.
            values: (B, *half), as `halves` gives it: the right one mirrored.
        """
        axis = self.axis
        size = field.shape[axis]
        high = (half == 0) == self.left_is_high
        field.narrow(axis, size // 2 if high else 0, (size + 1) // 2).add_(values.flip(axis) if half else values)

    def _joined(self, halves: Tensor) -> Tensor:
        left, right = halves.chunk(2)
        right = right.flip(self.axis)
        return torch.cat([right, left] if self.left_is_high else [left, right], dim=self.axis)

    def _answers(self, logits: Tensor) -> Tensor:
        """(2 B, targets) -> (B, T)."""
        return torch.einsum("hbt,hto->bo", torch.stack(logits.chunk(2)), self.share.to(logits.dtype))

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> features of both halves, put together as they lie in the field."""
        return self._joined(self.network.forward_features(self.halves(x)))  # type: ignore[operator]

    def pool(self, features: Tensor) -> Tensor:
        """Joined features -> embedding (B, 2 F): of the left half, then of the mirrored right one."""
        return torch.cat(self.network.pool(self.halves(features)).chunk(2), dim=1)  # type: ignore[operator]

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Joined features and (B, C) -> logits (B, T)."""
        return self._answers(self.network.forward_head(self.halves(features), _twice(present)))  # type: ignore[operator]

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, C, D, H, W), (B, C) -> logits (B, T)."""
        return self._answers(self.network(self.halves(x), _twice(present)))


def _twice(present: Tensor | None) -> Tensor | None:
    return None if present is None else torch.cat([present, present])
