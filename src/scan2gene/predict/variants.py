"""Altered copies of tested exams, and what a network says of them: what a shortcut audit compares with the original.

Of what is erased, the hole itself must be no cue: it is filled from its surroundings, with their
noise. Where only the lesion, the border, or what lies outside every body is to be seen, it is set
into one and the same other scan. Only tested exams are altered, since only they are scored. What
changes pictures takes volumes (B, R, D, H, W) and slices (B, R, H, W) alike, and works along all axes
that are there; `predict.slice_variants` has the copies of slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from scan2gene.core.study_runs import Predict
from scan2gene.data.augment import TENSOR_AXIS
from scan2gene.data.images import Images, to_input
from scan2gene.data.samples import Samples
from scan2gene.predict.pixels import air_of, border_of
from scan2gene.tasks.outputs import mirrored

MOST_FIELD = 0.6  # a box that takes more of the field leaves no background to speak of
_SHIFT = 0.03  # of each axis
_NOISE = 0.1  # of an exam's standard deviation
SAMPLED = 48  # exams in whose scans the air is looked for
LEAST_AIR = 0.01  # of the field
_BOXES = (33, 11, 3)  # voxels over which a hole is filled, far ones first


def forward_altered(
    model: nn.Module,
    data: Samples,
    rows: Sequence[int],
    masks: Mapping[int, Tensor],
    settings: Predict,
    batch_size: int,
    seed: int,
    images: Images | None = None,
) -> dict[str, np.ndarray]:
    """Logits of altered copies of some exams, in evaluation mode.

    Args:
        model: Takes (B, R, D, H, W) and (B, R); its device is used.
        data: The cohort.
        rows: n positions in `data.table`.
        masks: Position -> (D, H, W) bool, the lesion; exams without a mask, or with an empty one, are left out.
        settings: Which axis runs from left to right, and which targets it swaps.
        batch_size: Exams per pass.
        seed: Of noise; each exam has its own.
        images: `data.images` where they are used from.

    Returns:
        Variant -> (n, T) float64, NaN where an exam has no such copy. A variant that no exam has is left out.
    """
    device = next(model.parameters()).device
    images = data.images if images is None else images
    made: dict[str, np.ndarray] = {}
    training = model.training
    model.eval()
    with torch.inference_mode():
        scene = _scene(data, rows, masks, settings, seed, images, device)
        for start in range(0, len(rows), batch_size):
            chosen = list(rows[start : start + batch_size])
            x, present = inputs_of(data, chosen, images, device)
            for name, copy, keep in _copies(x, chosen, scene):
                logits = model(copy * present[keep][:, :, None, None, None], present[keep]).cpu().double()
                if name == "mirrored" and data.names:
                    logits = logits[:, mirrored(data.names, settings.swap_targets)]
                into = made.setdefault(name, np.full((len(rows), logits.shape[1]), np.nan))
                into[start + np.asarray(keep)] = logits.numpy()
    model.train(training)
    return made


@dataclass(frozen=True)
class _Scene:
    """What all copies share.

    Masks, the edges of a box, one scan, without its lesion where that is known, its border, what lies outside
    every body, and how to mirror.
    """

    masks: Mapping[int, Tensor]
    box: tuple[int, ...] | None
    elsewhere: Tensor  # (1, R, D, H, W)
    border: Tensor  # bool (H, W)
    air: Tensor | None  # bool (1, R, D, H, W)
    axis: int
    seed: int


def _scene(
    data: Samples, rows: Sequence[int], masks: Mapping[int, Tensor], settings: Predict, seed: int,
    images: Images, device: torch.device,
) -> _Scene:  # fmt: skip
    whole = [row for row in rows if row in masks and masks[row].any()]
    first = next((row for row in whole or rows if (data.present[row] == 1).all()), (whole or list(rows))[0])
    elsewhere, _ = inputs_of(data, [first], images, device)
    if whole:
        elsewhere = filled(elsewhere, hole_of([masks[first]], elsewhere), normal(elsewhere, [seed, first]))
    border = torch.from_numpy(border_of(*images.shape[3:])).to(device)
    box = common_box(masks.values(), images.shape[2:])
    air = _outside(data, rows, images)
    return _Scene(masks, box, elsewhere, border, None if air is None else air.to(device),
                  TENSOR_AXIS[settings.swap_axis], seed)  # fmt: skip


def _outside(data: Samples, rows: Sequence[int], images: Images) -> Tensor | None:
    """What lies outside the body in every exam of a sample (1, R, D, H, W); None where that is hardly anything.

    One region for all, so that no body's outline is seen.
    """
    sample = [rows[n] for n in np.unique(np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(int))]
    common = np.ones(tuple(images.shape[1:]), bool)
    for row in sample:
        scan = images[torch.as_tensor([row]).to(images.device)][0].float().cpu().numpy()
        for channel, roles in enumerate(scan):
            if data.present[row, channel] == 1 and common[channel].any():
                common[channel] &= air_of(roles)
    return torch.from_numpy(common)[None] if common.mean() >= LEAST_AIR else None


def inputs_of(data: Samples, chosen: Sequence[int], images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Network input of some positions in `data.table`, and which roles they have (B, R)."""
    at = torch.as_tensor(list(chosen))
    present = data.present[at].to(device)
    return to_input(images[at.to(images.device)].to(device), present), present


def _copies(x: Tensor, chosen: Sequence[int], scene: _Scene) -> list[tuple[str, Tensor, list[int]]]:
    """(variant, copies, which of the batch they are of)."""
    every = list(range(len(chosen)))
    noise = torch.cat([normal(x[n : n + 1], [scene.seed, row]) for n, row in enumerate(chosen)])
    found = [
        ("shifted", shifted(x), every),
        ("noise", noisy(x, noise), every),
        ("resliced", resliced(x), every),
        ("mirrored", x.flip([scene.axis]), every),
    ]
    keep = [n for n, row in enumerate(chosen) if row in scene.masks and bool(scene.masks[row].any())]
    for name, region in (("only_border", scene.border), ("only_outside", scene.air)):
        if region is not None:
            found.append((name, _within(x, region, chosen, scene), every))
    if keep:
        some, lesions = x[keep], [scene.masks[chosen[n]] for n in keep]
        lesion = torch.stack(lesions)[:, None].to(x.device, x.dtype)
        found.append(("erased", filled(some, hole_of(lesions, x), noise[keep]), keep))
        found.append(("only_lesion", some * lesion + scene.elsewhere * (1 - lesion), keep))
        if scene.box is not None:
            around = torch.stack([with_box(mask, scene.box) for mask in lesions])[:, None].to(x.device, x.dtype)
            found.append(("background", filled(some, around, noise[keep]), keep))
    return found


def _within(x: Tensor, region: Tensor, chosen: Sequence[int], scene: _Scene) -> Tensor:
    """What lies in a region, lesions left out, in one and the same other scan."""
    shown = region.expand_as(x).clone()
    for n, row in enumerate(chosen):
        if row in scene.masks and bool(scene.masks[row].any()):
            shown[n] &= hole_of([scene.masks[row]], x)[0] == 0
    return torch.where(shown, x, scene.elsewhere)


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
    """Standard normal noise that depends on an exam, or on a slice, alone and not on its batch."""
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
