"""Integrated gradients."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scan2gene.explain.asked import Asked, Reference, evidence


def integrated_gradients(asked: Asked, *, steps: int = 32, reference: Reference = "minimum") -> Tensor:
    """What each voxel adds to the score on the way from an empty input to this one.

    Args:
        asked: The question.
        steps: Points of the Gauss-Legendre rule.
        reference: The empty input: each channel's "minimum", its "mean", or "zero".

    Returns:
        (B, *S), high = speaks for the class; see `evidence`.

    Source: Sundararajan 2017, "Axiomatic attribution for deep networks".
    """
    return evidence(path_attributions(asked, steps, asked.reference(reference)))


def path_attributions(asked: Asked, steps: int, start: Tensor) -> Tensor:
    """Signed shares (B, C, *S); they add up to score(x) - score(start)."""
    points, weights = np.polynomial.legendre.leggauss(steps)
    change = asked.x - start
    total = torch.zeros_like(asked.x)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        total += float(weight) * asked.gradient(start + float(point) * change)
    return total * change
