"""Grad-CAM++."""

from __future__ import annotations

from torch import Tensor

from scan2gene.explain.asked import Asked
from scan2gene.explain.features import activations, enlarge


def grad_cam_pp(asked: Asked, *, layer: str | None = None) -> Tensor:
    """As Grad-CAM, but each place has its own weight, so that small objects count as large ones do.

    The paper's weight of channel c is the sum over places of alpha * relu(g), with
    alpha = g^2 / (2 g^2 + S g^3), g the gradient and S the channel's summed activation.
    Only g > 0 counts, where alpha = 1 / (2 + S g): no power of a small number is divided
    by another, and no exponential of the logit is needed.

    Args:
        asked: The question.
        layer: Whose activations; default: the model's `cam_layer`. The paper's are behind a
            ReLU. Those of a transformer may be negative, and weights that are never negative
            would then give an empty map: a channel that is negative somewhere counts from its
            smallest value in the field.

    Returns:
        (B, *S) on the input's voxels, high = speaks for the class.

    Source: Chattopadhay 2018, "Grad-CAM++", equations 10 and 19.
    """
    found, gradient, grid = activations(asked, layer)
    ones = [1] * (found.ndim - 2)
    found = found - found.flatten(2).amin(2).clamp_max(0).reshape(*found.shape[:2], *ones)
    total = found.flatten(2).sum(2).reshape(*found.shape[:2], *ones)
    rising = gradient.clamp_min(0)
    weights = (rising / (2 + total * rising)).flatten(2).sum(2).reshape(*found.shape[:2], *ones)
    maps = (found * weights).sum(1).clamp_min(0)
    return enlarge(maps, grid, tuple(asked.x.shape[2:]))
