"""The head that every family shares: features and which roles are present, to logits."""

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
