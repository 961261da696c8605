"""Numbers about single places of the pictures that networks see, for the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from scan2gene.core.study import SIDES
from scan2gene.data.augment import TENSOR_AXIS
from scan2gene.data.samples import sampling_of
from scan2gene.evaluate.places import Cues
from scan2gene.stages.job import Job, run_data, run_stores
from scan2gene.stages.variants import lesions_of
from scan2gene.tasks.run_config import RunConfig

MOST_EXAMS = 2000  # patients beyond are not looked at; drawn at random


def picture_cues(job: Job) -> dict[str, Cues]:
    """Run -> what single places of its pictures hold; runs with the same pictures share it."""
    found: dict[str, Cues] = {}
    made: dict[tuple[Any, ...], Cues | None] = {}
    for config, store in run_stores(job):
        if not store.manifest.exists():
            continue
        sampling = sampling_of(config)
        key = (store.name, sampling.roles, sampling.sampler)
        if key not in made:
            made[key] = _of_run(job, config)
        cues = made[key]
        if cues is not None:
            found[config.name] = cues
    return found


def _of_run(job: Job, config: RunConfig) -> Cues | None:
    """Of the first exam of each patient; None where pictures have no common grid."""
    from scan2gene.predict.pixels import cues_of

    data = run_data(job, replace(config, weights=None))  # images, also for a head on embeddings
    if not all(data.grid):
        return None
    first = data.table.drop_duplicates("patient_id")
    if len(first) > MOST_EXAMS:
        first = first.sample(MOST_EXAMS, random_state=job.study.seed)
    by_exam = {exam: rows.tolist() for exam, rows in data.table.groupby("exam_id", sort=False).indices.items()}
    chosen = [(patient, by_exam[exam]) for patient, exam in zip(first["patient_id"], first["exam_id"], strict=True)]
    masks = lesions_of(job, config, data, [row for _, rows in chosen for row in rows])
    sides = ("", SIDES[1]) if config.has_sides else ("",)
    rows = [(patient, side, own) for patient, own in chosen for side in sides]
    axis = TENSOR_AXIS[config.predict.swap_axis] - 2  # of (D, H, W)

    def read(n: int) -> list[Any]:
        return _pictures(data, rows[n][2], masks, config.roles, axis if rows[n][1] else None)

    return cues_of(read, [(patient, side) for patient, side, _ in rows])


def _pictures(data: Any, rows: list[int], masks: Mapping[int, Any], roles: list[str], mirror: int | None) -> list[Any]:
    """A picture for each role of one exam; turned along `mirror`, so that the right side lies where the left does."""
    from scan2gene.data.images import taken
    from scan2gene.predict.pixels import Picture

    scans = taken(data.images, torch.as_tensor(rows)).float().cpu().numpy()  # (S, R, ...)
    none = np.zeros(data.grid, bool)
    lesions = np.stack([masks[row].numpy() if row in masks else none for row in rows])
    of = data.table["role"].iloc[rows].to_numpy() if "role" in data.table else None
    pictures = []
    for channel, role in enumerate(roles):
        own = np.flatnonzero(data.present[rows, channel] == 1 if of is None else of == role)
        stack = scans[own, channel if of is None else 0].reshape(-1, *data.grid[-2:])  # (D, H, W)
        lesion = lesions[own].reshape(stack.shape)
        if mirror is not None:
            stack, lesion = np.flip(stack, mirror), np.flip(lesion, mirror)
        pictures.append(Picture(stack, lesion, of is None, role) if len(own) else None)
    return pictures
