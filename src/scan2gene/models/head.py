"""What every family shares: features are pooled, and a head makes logits of them and of the roles that are present."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RoleAwareHead(nn.Module):
    """Dropout, then one linear layer over features joined with the presence of each role.

    With `present` the network can tell an absent sequence from a dark one. One weight per
    role is all it costs.
    """

    def __init__(self, num_features: int, num_roles: int, num_outputs: int, dropout: float = 0.0):
        super().__init__()
        self.num_roles = num_roles
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features + num_roles, num_outputs)

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, F) and (B, R) or None for all present -> (B, num_outputs)."""
        if present is None:
            present = features.new_ones(len(features), self.num_roles)
        return self.linear(torch.cat([self.dropout(features), present.to(features.dtype)], dim=1))


class Network(nn.Module):
    """A network as the catalogue knows it: `forward_features`, `pool`, `head`.

    Subclasses set `head` and `cam_layer`, the layer whose activations (B, F, ...) maps are taken from, and write
    `forward_features`; `spatial_dims` is 2 where it sees slices.
    """

    spatial_dims = 3
    cam_layer: str
    head: nn.Module

    def forward_features(self, x: Tensor) -> Tensor:
        """Images (B, C, D, H, W) or (B, C, H, W) -> features (B, F, ...)."""
        raise NotImplementedError

    def pool(self, features: Tensor) -> Tensor:
        """Features -> embedding (B, F), by default their mean over space."""
        return features.mean(dim=tuple(range(2, features.ndim)))

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Features, and which roles are present (B, C), -> logits (B, num_outputs)."""
        return self.head(self.pool(features), present)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Images, and which roles are present (B, C), -> logits (B, num_outputs)."""
        return self.forward_head(self.forward_features(x), present)
