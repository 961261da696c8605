"""Losses that know that a label can be missing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def masked_bce(logits: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Binary cross-entropy over known labels only.

    Args:
        logits: (B, T).
        targets: (B, T) from 0 to 1, or NaN where unknown.
        weights: (B, T) of each entry; default 1.

    Returns:
        Weighted mean over the known entries; 0 with zero gradient when there is none.
    """
    known = ~torch.isnan(targets)
    weights = known.to(logits.dtype) if weights is None else weights * known
    loss = binary_cross_entropy_with_logits(logits, torch.nan_to_num(targets), reduction="none")
    return (loss * weights).sum() / weights.sum().clamp(min=torch.finfo(logits.dtype).tiny)


def entry_weights(targets: Tensor, balanced: bool, target_weights: Tensor) -> Tensor:
    """Weight of every label of the training part.

    Args:
        targets: (N, T) 0, 1 or NaN, of training exams.
        balanced: Each class of a target weighs half of the target's known labels.
        target_weights: (T,).

    Returns:
        (2, T), weight of a negative and of a positive label.
    """
    known = ~torch.isnan(targets)
    counts = torch.stack([((targets == c) & known).sum(dim=0) for c in (0, 1)]).float()  # (2, T)
    weights = counts.sum(dim=0) / (2 * counts.clamp(min=1)) if balanced else torch.ones_like(counts)
    return weights * target_weights


def balanced_shares(targets: Tensor) -> Tensor:
    """Probability of drawing each training exam so that the classes of every target are equally frequent.

    Args:
        targets: (N, T) 0, 1 or NaN. With several targets their shares are averaged, so
            that each comes nearer to balance and none is exactly balanced.

    Returns:
        (N,), sums to 1.
    """
    known = ~torch.isnan(targets)
    shares = torch.zeros(len(targets), dtype=torch.float64)
    for target in range(targets.shape[1]):
        for value in (0, 1):
            chosen = known[:, target] & (targets[:, target] == value)
            if chosen.any():
                shares[chosen] += 1 / chosen.sum()
    return shares / shares.sum() if shares.sum() > 0 else torch.full_like(shares, 1 / len(targets))
