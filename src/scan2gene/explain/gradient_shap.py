"""SHAP values of a network by expected gradients (the method of shap's GradientExplainer)."""

from __future__ import annotations

import torch
from torch import Tensor

from scan2gene.core.errors import StudyError
from scan2gene.explain.asked import Asked, evidence


def gradient_shap(asked: Asked, *, samples: int = 32) -> Tensor:
    """What each voxel adds to the score against training exams, averaged over them.

    Args:
        asked: The question, with a background.
        samples: Pairs of a background exam and a point on the way from it to this exam.

    Returns:
        (B, *S), high = speaks for the class; see `evidence`.

    Raises:
        StudyError: No background is given.

    Source: Erion 2021, "Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients"; Lundberg 2017 for SHAP.
    """
    return evidence(expected_gradients(asked, samples))


def expected_gradients(asked: Asked, samples: int) -> Tensor:
    """Signed shares (B, C, *S); on average they add up to score(x) - mean score(background)."""
    if asked.background is None or not len(asked.background):
        raise StudyError("explain: gradient_shap needs background exams, and there are none")
    streams = asked.generators()
    total = torch.zeros_like(asked.x)
    for _ in range(samples):
        chosen = torch.cat([torch.randint(len(asked.background), (1,), generator=s) for s in streams])
        way = torch.cat([torch.rand(1, generator=s) for s in streams]).to(asked.x)
        start = asked.masked(asked.background[chosen.to(asked.background.device)].to(asked.x))
        change = asked.x - start
        way = way.reshape(-1, *[1] * (asked.x.ndim - 1))
        total += asked.gradient(start + way * change) * change
    return total / samples
