"""A head on a frozen encoder's embeddings: linear probe or small perceptron."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scan2gene.models.head import Network, RoleAwareHead

_LEAST_DEVIATION = 1e-6


class Probe(nn.Module):
    """Standardise, optionally one hidden layer, then the head that every family has.

    The mean and deviation are those of the training part of the fold, and are kept with the
    weights: parts of an embedding differ in scale by orders of magnitude.
    """

    spatial_dims, cam_layer = 0, "hidden"
    mean: Tensor
    deviation: Tensor

    def __init__(self, num_features: int, num_roles: int, num_outputs: int, hidden: int = 0, dropout: float = 0.0):
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))
        self.hidden = nn.Sequential(nn.Linear(num_features, hidden), nn.ReLU()) if hidden else nn.Identity()
        self.head = RoleAwareHead(hidden or num_features, num_roles, num_outputs, dropout)

    def fit_scale(self, embeddings: Tensor) -> None:
        """Take mean and deviation from training embeddings (N, F)."""
        self.mean.copy_(embeddings.mean(dim=0))
        self.deviation.copy_(embeddings.std(dim=0, correction=0))
        self.deviation[self.deviation < _LEAST_DEVIATION] = 1.0  # a part that never varies says nothing

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Embeddings (B, F), (B, R) -> logits (B, num_outputs)."""
        return self.head(self.hidden((x - self.mean) / self.deviation), present)


class Probed(Network):
    """A frozen encoder and its probe as one network, from image to logits."""

    def __init__(self, encoder: Any, probe: Probe):
        super().__init__()
        self.encoder, self.probe = encoder.requires_grad_(False), probe
        self.spatial_dims = encoder.spatial_dims
        self.cam_layer = f"encoder.{encoder.cam_layer}"

    def train(self, mode: bool = True) -> Probed:
        """The encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward_features(self, x: Tensor) -> Tensor:
        """As the encoder's."""
        return self.encoder.forward_features(x)

    def pool(self, features: Tensor) -> Tensor:
        """As the encoder's: embedding (B, F)."""
        return self.encoder.pool(features)

    def forward_head(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Features -> logits (B, num_outputs)."""
        return self.probe(self.pool(features), present)
