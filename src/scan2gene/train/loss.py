"""Losses that know that a label can be missing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits


def masked_bce(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy over known labels only.

    Args:
        logits: (B, T).
        targets: (B, T) 0, 1 or NaN where unknown.

    Returns:
        Mean over the known entries; 0 with zero gradient when there is none.
    """
    known = ~torch.isnan(targets)
    loss = binary_cross_entropy_with_logits(logits, torch.nan_to_num(targets), reduction="none")
    return (loss * known).sum() / known.sum().clamp(min=1)
