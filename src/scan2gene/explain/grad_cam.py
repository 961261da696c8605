"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from scan2gene.explain.asked import Asked
from scan2gene.explain.features import activations, enlarge


def grad_cam(asked: Asked, *, layer: str | None = None) -> Tensor:
    """Activations of a layer, each channel weighed by its mean gradient; negative sums are 0.

    Args:
        asked: The question.
        layer: Whose activations; default: the model's `cam_layer`.

    Returns:
        (B, *S) on the input's voxels, high = speaks for the class.

    Source: Selvaraju 2017, "Grad-CAM", equations 1 and 2.
    """
    found, gradient, grid = activations(asked, layer)
    weights = gradient.flatten(2).mean(2)
    maps = (found * weights.reshape(*weights.shape, *[1] * (found.ndim - 2))).sum(1).clamp_min(0)
    return enlarge(maps, grid, tuple(asked.x.shape[2:]))
