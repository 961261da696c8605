"""Prepared volumes to samples: whole volumes, or their slices along k."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import CohortError
from scan2gene.core.machine import available_memory
from scan2gene.core.text import dimensions
from scan2gene.data.images import DTYPES, WHOLE, Images, StoredImages, StoredVolume
from scan2gene.data.samples import MEMORY_SHARE, Samples, Sampling
from scan2gene.tasks.outputs import names_of, output_values


def load_samples(
    store: Path, manifest: pd.DataFrame, cohort: pd.DataFrame, labels: pd.DataFrame, sampling: Sampling,
    memory: int | None = None,
) -> Samples:  # fmt: skip
    """The instances of a store's exams, in memory if they fit in half of what is free.

    Args:
        store: Folder of the prepared volumes.
        manifest: Its manifest.
        cohort: Rows of cohort.csv.
        labels: Long label table.
        sampling: Which instances.
        memory: Bytes that are free; default: what the machine says.

    Raises:
        CohortError: Nothing was prepared, or volumes differ in shape.
    """
    ready = manifest[(manifest["status"] == "ok") & manifest["role"].isin(sampling.roles)]
    reasons = manifest[manifest["status"] != "ok"].groupby("exam_id")["reason"].first()
    ready = ready[ready["exam_id"].isin(cohort["exam_id"])]
    volumes = [StoredVolume.of(store / file) for file in ready["file"]]
    numbers = {key: n for n, key in enumerate(zip(ready["exam_id"], ready["role"], strict=True))}
    # (exams, roles) number of the volume, -1 where absent
    has = np.array([[numbers.get((exam, role), -1) for role in sampling.roles] for exam in cohort["exam_id"]], int)
    has = has.reshape(len(cohort), len(sampling.roles))
    failed = {
        exam: str(reasons.get(exam, "no volume was prepared"))
        for exam, none in zip(cohort["exam_id"], np.all(has < 0, axis=1).tolist(), strict=True)
        if none
    }
    if not sampling.one_grid and sampling.sampler is None:
        failed |= _mixed_grids(cohort, has, volumes)
    usable = ~cohort["exam_id"].isin(failed).to_numpy()
    if not usable.any():
        why = "; ".join(sorted(set(failed.values()))[:3])
        raise CohortError(f"not one exam could be prepared: {why}")
    exams, has = cohort[usable].reset_index(drop=True), has[usable]
    if sampling.sampler is None:
        table, index = exams, np.stack([has, np.full_like(has, WHOLE)], axis=-1)
    else:
        table, index = _slices(exams, has, volumes, sampling)
    used = [volumes[n] for n in np.unique(has) if n >= 0]
    grid, dtype = _grid(used, sampling)
    stored = StoredImages(volumes, index, (len(index), index.shape[1], *grid), dtype)
    free = available_memory() if memory is None else memory
    images: Images = stored.in_memory() if all(grid) and stored.nbytes <= MEMORY_SHARE * free else stored
    i, j, k = (float(v) for v in np.median([v.spacing_mm for v in used], axis=0))
    targets = torch.from_numpy(output_values(labels, table["patient_id"], sampling.outputs).astype(np.float32))
    present = torch.from_numpy((index[..., 0] >= 0).astype(np.float32))
    return Samples(table, images, present, targets, failed, tuple(names_of(sampling.outputs)), (i, j, k))


def _slices(
    cohort: pd.DataFrame, has: np.ndarray, volumes: Sequence[StoredVolume], sampling: Sampling
) -> tuple[pd.DataFrame, np.ndarray]:
    """One instance a slice, at most `per_patient` of a patient, evenly over roles and places."""
    exam, role = np.nonzero(has >= 0)
    counts = [volumes[n].shape[0] for n in has[exam, role]]
    exam, role, volume = (np.repeat(values, counts) for values in (exam, role, has[exam, role]))
    number = np.concatenate([np.arange(n) for n in counts])
    table = cohort.iloc[exam].reset_index(drop=True).assign(role=np.array(sampling.roles)[role], slice=number)
    index = np.stack([volume, number], axis=-1)[:, None]
    if sampling.sampler and sampling.sampler.per_patient:
        kept = np.sort(np.concatenate(evenly(table, sampling.sampler.per_patient)))
        table, index = table.iloc[kept].reset_index(drop=True), index[kept]
    return table, index


def evenly(table: pd.DataFrame, most: int) -> list[np.ndarray]:
    """For each patient the index of at most `most` rows: each from the middle of an equal share of them.

    Args:
        table: With patient_id, its rows in the order of roles and places.
        most: At least 1.
    """
    return [
        rows.index.to_numpy()[((np.arange(min(most, len(rows))) + 0.5) * len(rows) / min(most, len(rows))).astype(int)]
        for _, rows in table.groupby("patient_id", sort=False)
    ]


def _mixed_grids(cohort: pd.DataFrame, has: np.ndarray, volumes: Sequence[StoredVolume]) -> dict[str, str]:
    """exam_id -> reason, of exams whose roles differ in shape and so cannot be channels of one input."""
    mixed = {}
    for exam, numbers in zip(cohort["exam_id"], has, strict=True):
        shapes = sorted({volumes[n].shape[::-1] for n in numbers if n >= 0})
        if len(shapes) > 1:
            mixed[exam] = f"its roles were prepared to different shapes: {' and '.join(map(dimensions, shapes))}"
    return mixed


def _grid(volumes: Sequence[StoredVolume], sampling: Sampling) -> tuple[tuple[int, ...], torch.dtype]:
    """Common shape (D, H, W), or (H, W) of slices, and type; zeros where volumes may differ in shape and do."""
    types = {v.dtype for v in volumes}
    dtype = DTYPES[min(types)] if len(types) == 1 else torch.float32
    if sampling.sampler is not None:
        sizes = {v.shape[1:] for v in volumes}
        if len(sizes) > 1:
            raise CohortError(
                f"prepared slices differ in size, e.g. {sorted(s[::-1] for s in sizes)[:3]}; put {{name: resize, "
                "options: {shape: [224, 224, null]}} into preprocess so that all fit one network"
            )
        if len(types) > 1:
            raise CohortError("some prepared volumes are 8-bit and others are not; end preprocess with zscore_slices")
        return sizes.pop(), dtype
    shapes = {v.shape for v in volumes}
    if len(shapes) == 1:
        return shapes.pop(), dtype
    if sampling.one_grid:
        raise CohortError(
            f"prepared volumes differ in shape, e.g. {sorted(s[::-1] for s in shapes)[:3]}; end the preprocess list "
            "with crop_or_pad or resize so that all fit one grid, or set data.batch_size: 1, so that a network sees "
            "one exam at a time and each keeps its own grid"
        )
    return (0, 0, 0), dtype
