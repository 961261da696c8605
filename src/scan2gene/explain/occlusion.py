"""Occlusion."""

from __future__ import annotations

from itertools import product
from math import ceil
from typing import Any

import torch
from torch import Tensor

from scan2gene.explain.asked import Asked, Reference, evidence


def occlusion(
    asked: Asked, *, window: int | None = None, stride: int | None = None, reference: Reference = "mean"
) -> Tensor:
    """How far the score falls when a box of the input is hidden.

    Args:
        asked: The question.
        window: Side of the box in voxels; default: a quarter of each axis.
        stride: Step between boxes in voxels; default: half a window.
        reference: What stands in the box: each channel's "mean", its "minimum", or "zero".

    Returns:
        (B, *S), mean over the boxes that hide a voxel, high = speaks for the class.

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks".
    """
    return evidence(falls(asked, window, stride, reference)[:, None])


@torch.no_grad()
def falls(asked: Asked, window: int | None, stride: int | None, reference: Reference) -> Tensor:
    """Mean fall of the score over the boxes that hide a voxel, signed, (B, *S)."""
    shape = asked.x.shape[2:]
    sides = [min(n, window or max(1, n // 4)) for n in shape]
    steps = [stride or max(1, side // 2) for side in sides]
    starts = [[s * i for i in range(1 + ceil((n - w) / s))] for n, w, s in zip(shape, sides, steps, strict=True)]
    hidden, whole = asked.reference(reference), asked.score(asked.x)
    total, covered = asked.x.new_zeros((len(whole), *shape)), asked.x.new_zeros(shape)
    for corner in product(*starts):
        box: Any = (..., *[slice(a, a + w) for a, w in zip(corner, sides, strict=True)])
        x = asked.x.clone()
        x[box] = hidden[box]
        fall = whole - asked.score(x)
        total[box] += fall.reshape(-1, *[1] * len(shape))
        covered[box] += 1
    return total / covered.clamp_min(1)  # a stride beyond the window leaves gaps
