"""Attention over the slices or cells of an exam: embeddings of a bag to logits of the bag.

Ilse, Tomczak and Welling 2018, "Attention-based deep multiple instance learning", ICML; plain
(equation 8) and gated (equation 9) attention. The bag's embedding is the weighted mean.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

GATED_WIDTH = 128


class GatedAttention(nn.Module):
    """One weight per instance, from the instance itself; the weights of an exam add up to 1.

    Equation 9; the paper's layers have no biases, nor have these.
    """

    def __init__(self, width: int):
        super().__init__()
        self.content = nn.Linear(width, GATED_WIDTH, bias=False)
        self.gate = nn.Linear(width, GATED_WIDTH, bias=False)
        self.score = nn.Linear(GATED_WIDTH, 1, bias=False)

    def forward(self, instances: Tensor) -> Tensor:
        """Instances (B, N, F) -> weights (B, N)."""
        hidden = torch.tanh(self.content(instances)) * torch.sigmoid(self.gate(instances))
        return self.score(hidden).squeeze(2).softmax(dim=1)


class AttentionMIL(nn.Module):
    """See the file's header.

    Args:
        num_features: F of an embedding.
        num_outputs: Targets; one attention serves all.
        hidden: Units of the attention.
        gated: Multiply the tanh units by sigmoid ones.
        dropout: Of the bag's embedding.
    """

    def __init__(self, num_features: int, num_outputs: int, hidden: int = 64, gated: bool = False, dropout: float = 0):
        super().__init__()
        self.register_buffer("centre", torch.zeros(num_features))
        self.register_buffer("scale", torch.ones(num_features))
        self.units = nn.Linear(num_features, hidden)
        self.gate = nn.Linear(num_features, hidden) if gated else None
        self.score = nn.Linear(hidden, 1, bias=False)
        nn.init.zeros_(self.score.weight)  # begins as the mean over slices, not with a random favourite
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(num_features, num_outputs)
        nn.init.zeros_(self.head.weight)  # else attention first learns to please a random head, and stays there

    @classmethod
    def of_state(cls, state: Mapping[str, Tensor]) -> AttentionMIL:
        """With the sizes and weights of a state dict."""
        (outputs, features), hidden = state["head.weight"].shape, state["units.weight"].shape[0]
        model = cls(features, outputs, hidden, gated="gate.weight" in state)
        model.load_state_dict(state)
        return model

    def fit_scale(self, embeddings: Tensor) -> None:
        """Standardise by the mean and deviation of training slices (S, F); a number that never varies becomes 0."""
        std, mean = torch.std_mean(embeddings, dim=0, correction=0)
        self.centre = mean
        self.scale = torch.where(std > 1e-6 * mean.abs().clamp(min=1e-6), std, torch.inf)

    def scores(self, x: Tensor) -> Tensor:
        """Scores (S,) of scaled embeddings, whose softmax over a bag is its attention."""
        units = torch.tanh(self.units(x))
        if self.gate is not None:
            units = units * torch.sigmoid(self.gate(x))
        return self.score(units)[:, 0]

    def weights(self, x: Tensor, bags: Tensor, count: int) -> Tensor:
        """Attention (S,) of scaled embeddings, summing to 1 within each bag."""
        scores = self.scores(x)
        highest = scores.new_full((count,), -torch.inf).scatter_reduce(0, bags, scores.detach(), "amax")
        risen = torch.exp(scores - highest[bags])
        return risen / scores.new_zeros(count).index_add(0, bags, risen)[bags]

    def forward(self, embeddings: Tensor, bags: Tensor, count: int) -> Tensor:
        """Slices to bags.

        Args:
            embeddings: (S, F).
            bags: (S,) number of each slice's bag.
            count: B; every bag has a slice.

        Returns:
            Logits (B, T).
        """
        x = (embeddings - self.centre) / self.scale
        weight = self.weights(x, bags, count)
        pooled = x.new_zeros(count, x.shape[1]).index_add(0, bags, weight[:, None] * x)  # (B, F)
        return self.head(self.dropout(pooled))
