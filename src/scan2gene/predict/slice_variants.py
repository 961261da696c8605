"""Altered copies of tested exams for a network of slices, and what their slices say together.

Pictures are altered in the plane by the functions of `predict.variants`; answers about exams are
fused by the fit's own way, with what it learned. Chosen slices need not adjoin, so nothing is blurred
from one into the next: `every_second` asks instead whether the answer hangs on how many slices there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.core.study_runs import Predict
from scan2gene.data.images import Images
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput, forward_variants
from scan2gene.predict.pixels import air_of, border_of
from scan2gene.predict.variants import (
    LEAST_AIR,
    SAMPLED,
    common_box,
    filled,
    hole_of,
    inputs_of,
    noisy,
    normal,
    shifted,
    with_box,
)
from scan2gene.tasks.outputs import mirrored

Change = tuple[str, Tensor, list[int]]  # variant, copies, which of the given slices they are of


@dataclass(frozen=True)
class Beside:
    """What is known of slices beside their pixels.

    Args:
        masks: Position in `data.table` -> (H, W) bool, of slices that show the lesion, and of no others.
        left_right: Position -> axis of (B, 1, H, W) that runs from left to right; 0 or absent where none in the plane
            does: a scan mirrored from left to right has the same sagittal slices, in another order.
        fuse: What a network says of S slices, and their S rows with patient_id, exam_id and role -> (B, T) logits
            of exams in order of appearance.
    """

    masks: Mapping[int, Tensor]
    left_right: Mapping[int, int]
    fuse: Callable[[NetworkOutput, pd.DataFrame], np.ndarray]


def forward_altered_slices(
    model: nn.Module,
    data: Samples,
    rows: Sequence[int],
    beside: Beside,
    settings: Predict,
    batch_size: int,
    seed: int,
    images: Images | None = None,
) -> dict[str, np.ndarray]:
    """Logits of exams from altered copies of their slices, in evaluation mode; one exam is in memory at a time.

    Args:
        model: Takes (B, 1, H, W) and (B, 1); its device is used.
        data: Slices.
        rows: Positions in `data.table` of the tested slices; those of one role of an exam in their order.
        beside: See there. An exam of which no slice shows the lesion has no copies that need one.
        settings: Which targets change places when left and right do.
        batch_size: Slices per pass.
        seed: Of noise; each slice has its own.
        images: `data.images` where they are used from.

    Returns:
        Variant -> (E, T) float64, exams in the order in which `rows` come to them, NaN where an exam has no such
        copy. A variant that no exam has is left out.
    """
    scene = _scene(model, data, rows, beside, batch_size, seed, data.images if images is None else images)
    exams = _by(data.table["exam_id"], rows)
    made: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for number, own in enumerate(exams.values()):
            for name, passed, table in _answers(own, scene):
                logits = beside.fuse(passed, table)
                if name == "mirrored" and data.names:
                    logits = logits[:, mirrored(data.names, settings.swap_targets)]
                into = made.setdefault(name, np.full((len(exams), logits.shape[1]), np.nan))
                into[number] = logits[0]
    return made


@dataclass(frozen=True)
class _Scene:
    """What all copies share.

    `unions` has for each exam and role the pixels that show the lesion in any slice, `box` the edges of one box for
    all; `donors` the slices of each role that lend their surroundings to every lesion, `elsewhere` what the network
    says of them without their own. `regions` has what is shown alone (role -> bool (H, W)), `frames` for each role the
    one slice in which it is shown.
    """

    model: nn.Module
    data: Samples
    images: Images
    device: torch.device
    beside: Beside
    batch_size: int
    seed: int
    unions: Mapping[tuple[str, str], Tensor]
    box: tuple[int, ...] | None
    donors: Mapping[str, list[int]]
    elsewhere: dict[str, NetworkOutput]
    regions: Mapping[str, Mapping[str, Tensor]]
    frames: dict[str, Tensor]


def _scene(
    model: nn.Module, data: Samples, rows: Sequence[int], beside: Beside, batch_size: int, seed: int,
    images: Images,
) -> _Scene:  # fmt: skip
    unions: dict[tuple[str, str], Tensor] = {}
    donors: dict[str, list[int]] = {}
    for exam, own in _by(data.table["exam_id"], rows).items():
        if not any(row in beside.masks for row in own):
            continue
        for role, slices in _by(data.table["role"], own).items():
            shown = [beside.masks[row] for row in slices if row in beside.masks]
            if shown:
                unions[exam, role] = torch.stack(shown).any(dim=0)
            # of the most slices: then every slice of any other exam finds a place among them
            if len(slices) > len(donors.get(role, [])):
                donors[role] = slices
    box = common_box(unions.values(), images.shape[2:])
    device = next(model.parameters()).device
    regions = _regions(data, rows, images, device)
    scene = _Scene(model, data, images, device, beside, batch_size, seed, unions, box, donors, {}, regions, {})
    for role, slices in _by(data.table["role"], rows).items():
        exams = _by(data.table["exam_id"], slices)
        among = exams[min(exams)]  # whatever their order
        middle = [among[len(among) // 2]]
        scene.frames[role] = _without_lesion(inputs_of(data, middle, images, device)[0], middle, scene)
    return scene


def _regions(data: Samples, rows: Sequence[int], images: Images, device: torch.device) -> dict[str, dict[str, Tensor]]:
    """Variant -> role -> bool (H, W): the border, and what lies outside the body in every slice of some exams."""
    border = torch.from_numpy(border_of(*images.shape[2:])).to(device)
    outside: dict[str, Tensor] = {}
    for role, own in _by(data.table["role"], rows).items():
        exams = list(_by(data.table["exam_id"], own).values())
        common = np.ones(tuple(images.shape[2:]), bool)
        for n in np.unique(np.linspace(0, len(exams) - 1, min(SAMPLED, len(exams))).astype(int)):
            stack = images[torch.as_tensor(exams[n]).to(images.device)][:, 0].float().cpu().numpy()
            common &= air_of(stack).all(axis=0)
            if not common.any():
                break
        outside[role] = torch.from_numpy(common).to(device)
    found = {"only_border": dict.fromkeys(outside, border)}
    enough = all(float(region.float().mean()) >= LEAST_AIR for region in outside.values())
    return found | ({"only_outside": outside} if enough else {})


def _by(column: pd.Series, rows: Sequence[int]) -> dict[str, list[int]]:
    """Value of a column -> those of the rows that have it, in order of appearance."""
    found: dict[str, list[int]] = {}
    for row, value in zip(rows, column.to_numpy()[list(rows)], strict=True):
        found.setdefault(str(value), []).append(row)
    return found


def _answers(own: list[int], scene: _Scene) -> Iterator[tuple[str, NetworkOutput, pd.DataFrame]]:
    """(variant, what the network says of its slices, their rows) of one exam."""
    table = scene.data.table.iloc[own]
    plain, changed = [], dict[str, list[tuple[list[int], NetworkOutput]]]()
    for start in range(0, len(own), scene.batch_size):
        chosen = own[start : start + scene.batch_size]
        x, _ = inputs_of(scene.data, chosen, scene.images, scene.device)
        plain.append(_said(scene, x))
        for name, copies, keep in _changes(x, chosen, scene):
            changed.setdefault(name, []).append(([start + n for n in keep], _said(scene, copies)))
    whole = _joined(plain)
    for name, parts in changed.items():
        yield name, _replaced(whole, parts), table
    kept = np.flatnonzero(table.groupby("role", sort=False).cumcount().to_numpy() % 2 == 0)
    if len(kept) < len(own):
        yield "every_second", _taken(whole, kept), table.iloc[kept]
    if any(row in scene.beside.masks for row in own):
        yield "only_lesion", *_elsewhere(own, scene)


def _changes(x: Tensor, chosen: list[int], scene: _Scene) -> Iterator[Change]:
    """Altered copies of some slices (B, 1, H, W); those that are not named stay as they are."""
    every, masks = list(range(len(chosen))), scene.beside.masks
    noise = _noise(x, chosen, scene)
    yield "shifted", shifted(x), every
    yield "noise", noisy(x, noise), every
    for axis in (2, 3):
        keep = [n for n, row in enumerate(chosen) if scene.beside.left_right.get(row) == axis]
        if keep:
            yield "mirrored", x[keep].flip([axis]), keep
    for name, regions in scene.regions.items():
        yield name, _within(x, regions, chosen, scene), every
    keep = [n for n, row in enumerate(chosen) if row in masks]
    if keep:
        yield "erased", _without_lesion(x[keep], [chosen[n] for n in keep], scene), keep
    exam = scene.data.table["exam_id"].iloc[chosen[0]]
    if scene.box is not None and any(of == exam for of, _ in scene.unions):
        yield "background", filled(x, _columns(x, chosen, scene), noise), every


def _within(x: Tensor, regions: Mapping[str, Tensor], chosen: Sequence[int], scene: _Scene) -> Tensor:
    """What lies in the region of a role, lesions left out, in one and the same slice of it."""
    roles = scene.data.table["role"].iloc[list(chosen)]
    empty = torch.zeros(x.shape[2:], dtype=torch.bool)
    hole = hole_of([scene.beside.masks.get(row, empty) for row in chosen], x) > 0
    shown = torch.stack([regions[role] for role in roles])[:, None] & ~hole
    return torch.where(shown, x, torch.cat([scene.frames[role] for role in roles]))


def _noise(x: Tensor, chosen: Sequence[int], scene: _Scene) -> Tensor:
    return torch.cat([normal(x[n : n + 1], [scene.seed, row]) for n, row in enumerate(chosen)])


def _without_lesion(x: Tensor, chosen: Sequence[int], scene: _Scene) -> Tensor:
    """Slices with what they show of the lesion filled; those that show nothing stay as they are."""
    empty = torch.zeros(x.shape[2:], dtype=torch.bool)
    hole = hole_of([scene.beside.masks.get(row, empty) for row in chosen], x)
    return filled(x, hole, _noise(x, chosen, scene))


def _columns(x: Tensor, chosen: Sequence[int], scene: _Scene) -> Tensor:
    """One box of the plane in every slice of a role (B, 1, H, W), so that no slice tells whether it shows the lesion.

    A role none of whose slices shows it has its box in the middle of the field: a missing one would tell.
    """
    assert scene.box is not None  # for the type checker
    middle = torch.zeros(x.shape[2:], dtype=torch.bool)
    middle[x.shape[2] // 2, x.shape[3] // 2] = True
    named = scene.data.table[["exam_id", "role"]].iloc[list(chosen)].itertuples(index=False, name=None)
    boxes = [with_box(scene.unions.get(key, middle), scene.box) for key in named]
    return torch.stack(boxes)[:, None].to(x.device, x.dtype)


def _elsewhere(own: list[int], scene: _Scene) -> tuple[NetworkOutput, pd.DataFrame]:
    """The lesion set, slice by slice, into one and the same other series of each role.

    A slice goes to the level at which it lies among those of its role: a tenth of the way to a tenth of the way.
    All slices of the other series take part, so that neither the surroundings nor the number of slices, which a
    fusion such as noisy_or hears, tells whose lesion it is; its own lesion is filled, for all alike. What is left is
    the lesion: its look, size, shape, and its place in the plane and among the slices.
    """
    parts, roles = [], list[str]()
    for role, slices in _by(scene.data.table["role"], own).items():
        donor = scene.donors[role]
        if role not in scene.elsewhere:
            scene.elsewhere[role] = _joined([
                _said(scene, _without_lesion(inputs_of(scene.data, some, scene.images, scene.device)[0], some, scene))
                for some in _chunks(donor, scene.batch_size)
            ])  # fmt: skip
        level = ((np.arange(len(donor)) + 0.5) * len(slices) / len(donor)).astype(int)
        shown = [n for n, at in enumerate(level) if slices[at] in scene.beside.masks]
        changed = []
        for some in _chunks(shown, scene.batch_size):
            source, there = [slices[level[n]] for n in some], [donor[n] for n in some]
            x, around = (inputs_of(scene.data, rows, scene.images, scene.device)[0] for rows in (source, there))
            lesion = torch.stack([scene.beside.masks[row] for row in source])[:, None].to(x.device, x.dtype)
            changed.append((some, _said(scene, x * lesion + _without_lesion(around, there, scene) * (1 - lesion))))
        parts.append(_replaced(scene.elsewhere[role], changed))
        roles += [role] * len(donor)
    first = scene.data.table.iloc[own[0]]
    table = pd.DataFrame({"patient_id": first["patient_id"], "exam_id": first["exam_id"], "role": roles})
    return _joined(parts), table


def _chunks(rows: list[int], size: int) -> Iterator[list[int]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))


def _said(scene: _Scene, x: Tensor) -> NetworkOutput:
    """Logits and embeddings of network input (B, 1, H, W)."""
    count, names = len(x), scene.data.names
    data = Samples(pd.DataFrame(index=range(count)), x, torch.ones(count, 1),
                         torch.zeros(count, scene.data.targets.shape[1]), {}, names)  # fmt: skip
    return forward_variants(scene.model, data, range(count), count, Predict())


def _joined(parts: Sequence[NetworkOutput]) -> NetworkOutput:
    logits = np.concatenate([part.logits["original"] for part in parts])
    embeddings = [part.embeddings for part in parts if part.embeddings is not None]
    return NetworkOutput({"original": logits}, np.concatenate(embeddings) if embeddings else None)


def _taken(passed: NetworkOutput, rows: np.ndarray) -> NetworkOutput:
    embeddings = None if passed.embeddings is None else passed.embeddings[rows]
    return NetworkOutput({"original": passed.logits["original"][rows]}, embeddings)


def _replaced(whole: NetworkOutput, parts: Sequence[tuple[list[int], NetworkOutput]]) -> NetworkOutput:
    """With what is said of some slices in place of what was said before."""
    logits = whole.logits["original"].copy()
    embeddings = None if whole.embeddings is None else whole.embeddings.copy()
    for at, part in parts:
        logits[at] = part.logits["original"]
        if embeddings is not None:
            embeddings[at] = part.embeddings
    return NetworkOutput({"original": logits}, embeddings)
