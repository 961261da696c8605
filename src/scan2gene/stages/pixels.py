"""Numbers about single places of the pictures that networks see, for the audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from scan2gene.core.study import SIDES, Study, input_roles, is_sided
from scan2gene.core.study_runs import Run
from scan2gene.data.augment import TENSOR_AXIS
from scan2gene.evaluate.places import Cues
from scan2gene.stages.job import Job, run_data, run_stores
from scan2gene.stages.variants import kept_of, lesion_role

MOST_EXAMS = 2000  # patients beyond are not looked at; drawn at random


def picture_cues(job: Job) -> dict[str, Cues]:
    """Run -> what single places of its pictures hold; runs with the same pictures share it."""
    found: dict[str, Cues] = {}
    made: dict[tuple[Any, ...], Cues] = {}
    for one, (view, store) in run_stores(job):
        if not store.manifest.exists():
            continue
        slices = view.data.slices
        key = (store.name, tuple(input_roles(view)), slices and slices.per_patient)
        if key not in made:
            made[key] = _of_run(job, one, view)
        found[one.name] = made[key]
    return found


def _of_run(job: Job, one: Run, view: Study) -> Cues:
    """Of the first exam of each patient."""
    from scan2gene.predict.pixels import cues_of

    data, _ = run_data(job, one.model_copy(update={"weights": None}), view)  # images, also for a head on embeddings
    first = data.table.drop_duplicates("patient_id")
    if len(first) > MOST_EXAMS:
        first = first.sample(MOST_EXAMS, random_state=job.study.seed)
    exams = data.table.reset_index(drop=True)
    by_exam = {exam: rows.index.to_numpy() for exam, rows in exams.groupby("exam_id", sort=False)}
    chosen = [(patient, by_exam[exam]) for patient, exam in zip(first["patient_id"], first["exam_id"], strict=True)]
    masks = _masks(job, one, view, data, [int(row) for _, rows in chosen for row in rows])
    sides = ("", SIDES[1]) if any(is_sided(view, target) for target in view.targets) else ("",)
    rows = [(patient, side, own) for patient, own in chosen for side in sides]
    axis = TENSOR_AXIS[view.predict.swap_axis] - 2  # of (D, H, W)

    def read(n: int) -> list[Any]:
        return [_turned(p, axis) if rows[n][1] else p for p in _pictures(data, rows[n][2], masks, input_roles(view))]

    return cues_of(read, [(patient, side) for patient, side, _ in rows])


def _pictures(data: Any, rows: np.ndarray, masks: Mapping[int, torch.Tensor], roles: list[str]) -> Iterator[Any]:
    """A picture for each role of one exam."""
    from scan2gene.predict.pixels import Picture

    scans = data.images[torch.as_tensor(rows.tolist()).to(data.images.device)].float().cpu().numpy()
    if "slice" not in data.table:
        lesion = masks[int(rows[0])].numpy() if int(rows[0]) in masks else None
        for channel, role in enumerate(roles):
            yield Picture(scans[0, channel], lesion, True, role) if data.present[int(rows[0]), channel] == 1 else None
        return
    of = data.table["role"].iloc[rows].to_numpy()
    for role in roles:
        own = np.flatnonzero(of == role)
        if not len(own):
            yield None
            continue
        lesion = np.stack([
            masks[int(row)].numpy() if int(row) in masks else np.zeros(scans.shape[2:], bool) for row in rows[own]
        ])  # fmt: skip
        yield Picture(scans[own, 0], lesion, False, role)


def _turned(picture: Any, axis: int) -> Any:
    """Mirrored from left to right, so that the right side lies where the left one does."""
    from scan2gene.predict.pixels import Picture

    if picture is None:
        return None
    lesion = None if picture.lesion is None else np.flip(picture.lesion, axis)
    return Picture(np.flip(picture.slices, axis), lesion, picture.levels, picture.role)


def _masks(job: Job, one: Run, view: Study, data: Any, rows: list[int]) -> dict[int, torch.Tensor]:
    from scan2gene.train.audited import lesion_masks, slice_masks

    (store,) = (store for run, (_, store) in run_stores(job) if run.name == one.name)
    manifest, role = store.manifest.read(), lesion_role(job.study)
    if "slice" not in data.table:
        return lesion_masks(store.path, manifest, data, rows, role)
    return slice_masks(store.path, manifest, data, rows, role, kept_of(job, view, job.out.cohort.read()))
