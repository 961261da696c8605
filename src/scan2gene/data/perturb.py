"""Altered copies of images: a lesion filled from around it, noise, shifts, thicker slices.

Everything takes volumes (B, R, D, H, W) and slices (B, R, H, W) alike, and works along all axes that are there. Of what
is erased, the hole itself must be no cue: it is filled from its surroundings, with their noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

MOST_FIELD = 0.6  # a box that takes more of the field leaves no background to speak of
_SHIFT = 0.03  # of each axis
_NOISE = 0.1  # of an exam's standard deviation
_BOXES = (33, 11, 3)  # voxels over which a hole is filled, far ones first


def hole_of(lesions: Sequence[Tensor], x: Tensor) -> Tensor:
    """(B, 1, ...): lesions and the voxels that touch them, which partial volume has coloured."""
    return _grown(torch.stack(list(lesions))[:, None].to(x.device, x.dtype), 3)


def filled(x: Tensor, hole: Tensor, noise: Tensor) -> Tensor:
    """Fill holes from their surroundings: a smooth continuation, and noise as strong as it is there.

    Args:
        x: (B, R, D, H, W), or slices (B, R, H, W), whose holes are filled in the plane.
        hole: (B, 1, ...), 1 where to fill, 0 elsewhere.
        noise: As x, standard normal.
    """
    axes = _axes(x)
    outside = 1 - hole
    known = x * outside
    guess = known.sum(dim=axes, keepdim=True) / outside.sum(dim=axes, keepdim=True).clamp(min=1)
    guess = guess.expand_as(x)
    for edge in _boxes(x):
        share = _box_mean(outside, edge)
        guess = torch.where(share > 0.02, _box_mean(known, edge) / share.clamp(min=1e-6), guess)
    rim = (_grown(hole, 7) - hole).clamp(min=0)
    grain = (x - guess) * rim  # beyond the hole the last guess is the mean of the nearest known voxels
    strength = (grain.square().sum(dim=axes, keepdim=True) / rim.sum(dim=axes, keepdim=True).clamp(min=1)).sqrt()
    return torch.where(hole > 0, guess + strength * noise, x)


def _boxes(x: Tensor) -> tuple[int, ...]:
    """Edges of the boxes that fill a hole; of slices, whose pixels are finer, the first is half the field."""
    half = max(x.shape[2:]) // 2 // 2 * 2 + 1
    return (half, *_BOXES) if x.ndim == 4 and half > _BOXES[0] else _BOXES


def _axes(x: Tensor) -> tuple[int, ...]:
    """Those of space: of a volume three, of a slice two."""
    return tuple(range(2, x.ndim))


def noisy(x: Tensor, noise: Tensor) -> Tensor:
    """With noise of a tenth of the picture's standard deviation; `noise` is standard normal."""
    return x + _NOISE * x.std(dim=_axes(x), keepdim=True) * noise


def shifted(x: Tensor) -> Tensor:
    """Moved by 3 % along each axis, at least one voxel; the edge is repeated."""
    for axis in _axes(x):
        length = x.shape[axis]
        where = torch.arange(length, device=x.device) - max(1, round(_SHIFT * length))
        x = x.index_select(axis, where.clamp(min=0))
    return x


def resliced(x: Tensor) -> Tensor:
    """As if slices were about twice as thick: each mixed with half of its neighbours."""
    last = torch.arange(x.shape[2], device=x.device)
    before, after = (last - 1).clamp(min=0), (last + 1).clamp(max=x.shape[2] - 1)
    return 0.5 * x + 0.25 * (x.index_select(2, before) + x.index_select(2, after))


def _grown(mask: Tensor, edge: int) -> Tensor:
    """1 where a box of odd edges around a voxel meets the mask."""
    return (_box_mean(mask, edge) > 0.5 / edge ** len(_axes(mask))).to(mask.dtype)


def _box_mean(x: Tensor, edge: int) -> Tensor:
    """Mean over a box of odd edges; zeros beyond the border."""
    for axis in _axes(x):
        length = x.shape[axis]
        at = torch.arange(length, device=x.device)
        low, high = (at - edge // 2).clamp(min=0), (at + edge // 2 + 1).clamp(max=length)
        sums = torch.cat([torch.zeros_like(x.narrow(axis, 0, 1)), x.cumsum(dim=axis)], dim=axis)
        x = (sums.index_select(axis, high) - sums.index_select(axis, low)) / edge
    return x


def normal(like: Tensor, seed: Sequence[int]) -> Tensor:
    """Standard normal noise (1, ...) that depends on an instance alone and not on its batch."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(list(seed)).generate_state(1)[0]))
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def common_box(masks: Iterable[Tensor], field: Sequence[int]) -> tuple[int, ...] | None:
    """Edges (D, H, W), or (H, W), of one box for all exams, so that its size tells nothing; None where too large.

    It covers nine in ten lesions, with two voxels around.
    """
    sizes = [[int(e - s) for s, e in _bounds(mask)] for mask in masks if mask.any()]
    if not sizes:
        return None
    wanted = np.quantile(np.array(sizes), 0.9, axis=0) + 4
    edges = tuple(min(int(np.ceil(w)), n) for w, n in zip(wanted, field, strict=True))
    return None if np.prod(edges) > MOST_FIELD * np.prod(list(field)) else edges


def with_box(mask: Tensor, box: Sequence[int]) -> Tensor:
    """The box around a lesion's middle, moved inside the field, and the lesion where it is larger."""
    out = mask.clone()
    where = []
    for (start, end), edge, length in zip(_bounds(mask), box, mask.shape, strict=True):
        low = min(max((start + end - edge) // 2, 0), length - edge)
        where.append(slice(low, low + edge))
    out[tuple(where)] = True
    return out


def _bounds(mask: Tensor) -> list[tuple[int, int]]:
    places = torch.nonzero(mask)
    low, high = places.amin(dim=0).tolist(), places.amax(dim=0).tolist()
    return [(a, b + 1) for a, b in zip(low, high, strict=True)]
