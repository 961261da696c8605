"""What every family shares: features are pooled, and a head makes logits of them and of the roles that are present."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from scan2gene.core.section import unknown_name

LEAST_SHARE = 0.1  # of a new batch in the running statistics


class FeatureNorm(nn.BatchNorm1d):
    """Batch normalisation of features (B, F).

    What pooled features have in common is many times what differs between patients; without it a new linear layer
    first has to learn to cancel that. The running statistics are the mean of the first ten batches, and then move
    on by a tenth, so that they hold after a short training too. A training batch of one exam, which has no variance,
    takes them and leaves them.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> (B, F)."""
        if self.training and len(x) < 2:
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        if self.training and self.num_batches_tracked is not None:
            self.momentum = max(LEAST_SHARE, 1 / (int(self.num_batches_tracked) + 1))
        return super().forward(x)


class RoleAwareHead(nn.Module):
    """Dropout, then one linear layer over features joined with the presence of each role.

    With `present` the network can tell an absent sequence from a dark one. One weight per
    role is all it costs. `norm` is "batch" to normalise the features first, or "none".
    """

    def __init__(self, num_features: int, num_roles: int, num_outputs: int, dropout: float = 0.0, norm: str = "none"):
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"head_norm: {unknown_name(norm, NORMS)}")
        self.num_roles = num_roles
        self.norm = NORMS[norm](num_features)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features + num_roles, num_outputs)

    def forward(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """(B, F) and (B, R) or None for all present -> (B, num_outputs)."""
        if present is None:
            present = features.new_ones(len(features), self.num_roles)
        return self.linear(torch.cat([self.dropout(self.norm(features)), present.to(features.dtype)], dim=1))


NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": FeatureNorm, "none": nn.Identity}


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
