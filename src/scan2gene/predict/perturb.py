"""What a network says of altered copies of tested exams: what a shortcut audit compares with the original.

Instances are altered by the functions of `data.perturb`; their answers are joined as the fit joins them. Where only the
lesion, the border, or what lies outside every body is to be seen, it is set into one and the same other scan. Only
tested exams are altered, since only they are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.data.images import Images, taken
from scan2gene.data.perturb import common_box, filled, hole_of, noisy, normal, resliced, shifted, with_box
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput, evaluating, inputs_of, joined, output_of
from scan2gene.predict.pixels import air_of, border_of
from scan2gene.tasks.outputs import mirrored

SAMPLED = 48  # exams in whose scans the air is looked for
LEAST_AIR = 0.01  # of the field


@dataclass(frozen=True)
class Alterations:
    """What is known of instances in addition to their images, and how they are altered.

    Args:
        masks: Position in `data.table` -> bool (D, H, W), or (H, W) of a slice: the lesion, of instances that show it.
        left_right: Position -> axis of the network's input that runs from left to right; 0 or absent where none does.
        aggregate: Output of the network on S instances, and their rows -> (E, T) logits of exams in order of
            appearance.
        swap_targets: Targets that change places when left and right do.
        batch_size: Instances per pass.
        seed: Of noise; each instance has its own.
    """

    masks: Mapping[int, Tensor]
    left_right: Mapping[int, int]
    aggregate: Callable[[NetworkOutput, pd.DataFrame], np.ndarray | None]
    swap_targets: Sequence[Sequence[str]] = ()
    batch_size: int = 8
    seed: int = 0


def forward_altered(
    model: nn.Module, data: Samples, rows: Sequence[int], how: Alterations, images: Images | None = None
) -> dict[str, np.ndarray]:
    """Logits of altered copies of some exams, in evaluation mode.

    Args:
        model: Takes (B, R, D, H, W), or slices (B, 1, H, W), and (B, R); its device is used.
        data: The samples.
        rows: Positions in `data.table` of the tested instances, those of one role of an exam in their order.
        how: Lesions, sides and the way to exams.
        images: `data.images` where they are used from.

    Returns:
        Variant -> (E, T) float64, exams in the order in which `rows` come to them, NaN where an exam has no such
        copy. A variant that no exam has is left out; so are those that need a common grid where there is none.
    """
    exams = _by(data.table["exam_id"], rows)
    place = {exam: n for n, exam in enumerate(exams)}
    share = 1 if any(len(own) > 1 for own in exams.values()) else how.batch_size  # exams in memory at once
    altered: dict[str, np.ndarray] = {}
    with evaluating(model) as device:
        scene = _scene(model, data, rows, how, data.images if images is None else images, device)
        for some in _chunks(list(exams.values()), share):
            for name, output, table in _outputs([row for own in some for row in own], scene):
                logits = how.aggregate(output, table)
                assert logits is not None  # for the type checker: only other variants have none
                if name == "mirrored" and data.names:
                    logits = logits[:, mirrored(data.names, how.swap_targets)]
                into = altered.setdefault(name, np.full((len(exams), logits.shape[1]), np.nan))
                into[[place[exam] for exam in table["exam_id"].unique()]] = logits
    return altered


@dataclass(frozen=True)
class _Scene:
    """What all copies share. A series is what an exam shows of a role; a whole volume is one, whose role is "" here.

    Args:
        model: See `forward_altered`; so are `data`, `how`, `images`; on `device`.
        role: Of every instance.
        masks: Of instances that show the lesion.
        unions: (exam_id, role) -> where any instance of a series shows the lesion.
        box: Edges of one box around every lesion.
        lenders: Role -> the series that lends its surroundings to every lesion.
        frames: Role -> the instance (1, R, ...), without its lesion, in which parts of others are shown.
        regions: Variant -> role -> bool (R, ...), the part that is shown.
        lent: Role -> the network's output on `lenders` without their own lesion, kept for the next exam.
    """

    model: nn.Module
    data: Samples
    how: Alterations
    images: Images
    device: torch.device
    role: pd.Series
    masks: Mapping[int, Tensor]
    unions: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    box: tuple[int, ...] | None = None
    lenders: dict[str, list[int]] = field(default_factory=dict)
    frames: dict[str, Tensor] = field(default_factory=dict)
    regions: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    lent: dict[str, NetworkOutput] = field(default_factory=dict)

    def inputs(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Network input, and which roles it has."""
        return inputs_of(self.data, rows, self.images, self.device)

    def output(self, x: Tensor, present: Tensor) -> NetworkOutput:
        """What the network says of altered input; absent roles stay 0."""
        return output_of(self.model, x * present.view(*present.shape, *[1] * (x.ndim - 2)), present)

    def noise(self, x: Tensor, rows: Sequence[int]) -> Tensor:
        """As x, standard normal."""
        return torch.cat([normal(x[n : n + 1], [self.how.seed, row]) for n, row in enumerate(rows)])

    def hole(self, x: Tensor, rows: Sequence[int]) -> Tensor:
        """(B, 1, ...), 1 at lesions and the voxels that touch them."""
        none = torch.zeros(x.shape[2:], dtype=torch.bool)
        return hole_of([self.masks.get(row, none) for row in rows], x)

    def without_lesion(self, x: Tensor, rows: Sequence[int]) -> Tensor:
        """Network input with what it shows of the lesion filled; what shows nothing stays as it is."""
        return filled(x, self.hole(x, rows), self.noise(x, rows))


def _scene(
    model: nn.Module, data: Samples, rows: Sequence[int], how: Alterations, images: Images, device: torch.device
) -> _Scene:
    exam, volumes = data.table["exam_id"], "role" not in data.table
    role = pd.Series("", data.table.index) if volumes else data.table["role"]
    masks = {row: mask for row, mask in how.masks.items() if mask.any()}
    scene = _Scene(model, data, how, images, device, role, masks)
    if not all(data.grid):
        return scene
    for name, own in _by(exam, rows).items():
        for of, series in _by(role, own).items() if any(row in masks for row in own) else ():
            shown = [masks[row] for row in series if row in masks]
            if shown:
                scene.unions[name, of] = torch.stack(shown).any(dim=0)
            if _rank(data, series) > _rank(data, scene.lenders.get(of, [])):
                scene.lenders[of] = series
    for of, own in _by(role, rows).items():
        exams = _by(exam, own)
        first = exams[min(exams)]  # whatever their order
        among = (scene.lenders.get(of) or max(exams.values(), key=partial(_rank, data))) if volumes else first
        middle = [among[len(among) // 2]]
        scene.frames[of] = scene.without_lesion(scene.inputs(middle)[0], middle)
    box = common_box(scene.unions.values(), data.grid)
    return replace(scene, box=box, regions=_regions(scene, rows))


def _rank(data: Samples, series: list[int]) -> tuple[bool, int]:
    """Which series lends best: of all roles, and of the most slices, so that each of another exam finds its place."""
    return bool((data.present[series] == 1).all()) and bool(series), len(series)


def _regions(scene: _Scene, rows: Sequence[int]) -> dict[str, dict[str, Tensor]]:
    """Variant -> role -> bool (R, ...): the border, and what lies outside the body in every one of some exams.

    One region for all, so that no body's outline is seen.
    """
    data, sizes = scene.data, tuple(scene.images.shape[1:])
    border = torch.from_numpy(border_of(*sizes[-2:])).to(scene.device).expand(sizes)
    outside: dict[str, np.ndarray] = {}
    for of, own in _by(scene.role, rows).items():
        series, common = list(_by(data.table["exam_id"], own).values()), np.ones(sizes, bool)
        for n in np.unique(np.linspace(0, len(series) - 1, min(SAMPLED, len(series))).astype(int)):
            scans = taken(scene.images, torch.as_tensor(series[n])).float().cpu().numpy()  # (S, R, ...)
            for channel, region in enumerate(common):
                if data.present[series[n][0], channel] == 1 and region.any():
                    scan = scans[:, channel]
                    region &= air_of(scan.reshape(-1, *sizes[-2:])).reshape(scan.shape).all(axis=0)
        outside[of] = common
    regions = {"only_border": dict.fromkeys(outside, border)}
    if outside and all(region.mean() >= LEAST_AIR for region in outside.values()):
        regions["only_outside"] = {of: torch.from_numpy(region).to(scene.device) for of, region in outside.items()}
    return regions


def _outputs(own: list[int], scene: _Scene) -> Iterator[tuple[str, NetworkOutput, pd.DataFrame]]:
    """(variant, the network's output on some exams, its rows), of exams that have such a copy."""
    table, size = scene.data.table.iloc[own], scene.how.batch_size
    exam = table["exam_id"].to_numpy()
    several = len(own) > table["exam_id"].nunique()  # instances that a copy leaves out stay as they are
    plain: list[NetworkOutput] = []
    changed: dict[str, list[tuple[list[int], NetworkOutput]]] = {}
    for start in range(0, len(own), size):
        chosen = own[start : start + size]
        x, present = scene.inputs(chosen)
        if several:
            plain.append(scene.output(x, present))
        for name, copies, keep in _copies(x, chosen, scene):
            changed.setdefault(name, []).append(([start + n for n in keep], scene.output(copies, present[keep])))
    for name, parts in changed.items():
        at, output = np.concatenate([rows for rows, _ in parts]), joined([part for _, part in parts])
        if several:
            whole = np.flatnonzero(np.isin(exam, exam[at]))
            at, output = whole, joined(plain).replaced(at, output).take(whole)
        yield name, output, table.iloc[at]
    if several:
        second = table.groupby(["exam_id", scene.role.iloc[own]], sort=False).cumcount().to_numpy() % 2 == 1
        at = np.flatnonzero(np.isin(exam, exam[second]) & ~second)
        if len(at):
            yield "every_second", joined(plain).take(at), table.iloc[at]
    if any(row in scene.masks for row in own) and scene.lenders:
        yield "only_lesion", *_elsewhere(own, scene)


def _copies(x: Tensor, chosen: list[int], scene: _Scene) -> Iterator[tuple[str, Tensor, list[int]]]:
    """(variant, altered copies of some instances, which of them)."""
    every, masks, noise = list(range(len(chosen))), scene.masks, scene.noise(x, chosen)
    yield "shifted", shifted(x), every
    yield "noise", noisy(x, noise), every
    if x.ndim == 5:  # chosen slices need not adjoin, so nothing is mixed from one into the next
        yield "resliced", resliced(x), every
    for axis in range(2, x.ndim):
        keep = [n for n, row in enumerate(chosen) if scene.how.left_right.get(row) == axis]
        if keep:
            yield "mirrored", x[keep].flip([axis]), keep
    for name, regions in scene.regions.items():
        yield name, _within(x, regions, chosen, scene), every
    keep = [n for n, row in enumerate(chosen) if row in masks]
    if keep:
        some = [chosen[n] for n in keep]
        yield "erased", filled(x[keep], scene.hole(x, some), noise[keep]), keep
    exams = {exam for exam, _ in scene.unions}
    keep = [n for n, exam in enumerate(scene.data.table["exam_id"].iloc[chosen]) if exam in exams]
    if scene.box is not None and keep:
        yield "background", filled(x[keep], _boxes(x, [chosen[n] for n in keep], scene), noise[keep]), keep


def _within(x: Tensor, regions: Mapping[str, Tensor], chosen: Sequence[int], scene: _Scene) -> Tensor:
    """What lies in the region of a role, lesions left out, in one and the same instance of it."""
    roles = scene.role.iloc[list(chosen)]
    shown = torch.stack([regions[of] for of in roles]) & (scene.hole(x, chosen) == 0)
    return torch.where(shown, x, torch.cat([scene.frames[of] for of in roles]))


def _boxes(x: Tensor, chosen: Sequence[int], scene: _Scene) -> Tensor:
    """One box in every instance of a series (B, 1, ...), so that no slice tells whether it shows the lesion.

    A series none of whose slices shows it has its box in the middle of the field: a missing one would tell.
    """
    assert scene.box is not None  # for the type checker
    middle = torch.zeros(x.shape[2:], dtype=torch.bool)
    middle[tuple(n // 2 for n in middle.shape)] = True
    named = zip(scene.data.table["exam_id"].iloc[list(chosen)], scene.role.iloc[list(chosen)], strict=True)
    boxes = [with_box(scene.unions.get(key, middle), scene.box) for key in named]
    return torch.stack(boxes)[:, None].to(x.device, x.dtype)


def _elsewhere(own: list[int], scene: _Scene) -> tuple[NetworkOutput, pd.DataFrame]:
    """The lesions of some exams set, instance by instance, into one and the same other series of each role.

    A slice goes to the level at which it lies among those of its role: a tenth of the way to a tenth of the way.
    All slices of the other series take part, so that neither the surroundings nor the number of slices, which an
    aggregate such as noisy_or hears, tells whose lesion it is; its own lesion is filled, for all alike. What is left is
    the lesion: its look, size, shape, and its place in the field and among the slices.
    """
    parts, rows, pairs = list[NetworkOutput](), list[int](), list[tuple[int, int, int]]()
    for series in _series(own, scene):
        lender = scene.lenders[scene.role.iloc[series[0]]]
        level = ((np.arange(len(lender)) + 0.5) * len(series) / len(lender)).astype(int)
        pairs += [(len(rows) + n, series[at], lender[n]) for n, at in enumerate(level) if series[at] in scene.masks]
        rows += [series[0]] * len(lender)
        parts.append(_lent(scene.role.iloc[series[0]], scene))
    output = joined(parts)
    for some in _chunks(pairs, scene.how.batch_size):
        at, sources, lenders = (list(values) for values in zip(*some, strict=True))
        x, present = scene.inputs(sources)
        lesion = torch.stack([scene.masks[row] for row in sources])[:, None].to(x.device, x.dtype)
        around = scene.without_lesion(scene.inputs(lenders)[0], lenders)
        output = output.replaced(np.array(at), scene.output(x * lesion + around * (1 - lesion), present))
    return output, scene.data.table.iloc[rows]


def _series(own: list[int], scene: _Scene) -> Iterator[list[int]]:
    """The series of those exams that show the lesion."""
    for exam in _by(scene.data.table["exam_id"], own).values():
        if any(row in scene.masks for row in exam):
            yield from _by(scene.role, exam).values()


def _lent(role: str, scene: _Scene) -> NetworkOutput:
    """What the network says of the series that lends its surroundings, without its own lesion."""
    if role not in scene.lent:
        parts = []
        for some in _chunks(scene.lenders[role], scene.how.batch_size):
            x, present = scene.inputs(some)
            parts.append(scene.output(scene.without_lesion(x, some), present))
        scene.lent[role] = joined(parts)
    return scene.lent[role]


def _by(column: pd.Series, rows: Sequence[int]) -> dict[str, list[int]]:
    """Value of a column -> those of the rows that have it, in order of appearance."""
    found: dict[str, list[int]] = {}
    for row, value in zip(rows, column.to_numpy()[list(rows)], strict=True):
        found.setdefault(str(value), []).append(row)
    return found


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
