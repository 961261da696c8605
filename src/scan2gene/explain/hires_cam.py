"""HiResCAM."""

from __future__ import annotations

from torch import Tensor

from scan2gene.explain.asked import Asked
from scan2gene.explain.features import activations, enlarge


def hires_cam(asked: Asked, *, layer: str | None = None) -> Tensor:
    """Activations of a layer times their gradients, place by place; negative sums are 0.

    Grad-CAM gives each channel one weight for the whole field. Where a network pools by the
    maximum, as light_cnn does in part, only the place of the maximum counts, and that is lost.

    Args:
        asked: The question.
        layer: Whose activations; default: the model's `cam_layer`.

    Returns:
        (B, *S) on the input's voxels, high = speaks for the class.

    Source: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful
    explanations of convolutional neural networks".
    """
    found, gradient, grid = activations(asked, layer)
    return enlarge((found * gradient).sum(1).clamp_min(0), grid, tuple(asked.x.shape[2:]))
