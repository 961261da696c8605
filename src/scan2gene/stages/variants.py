"""What networks say of altered copies of the exams that they are tested on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.cohorts.split import parts_of
from scan2gene.core.leakage import stamped
from scan2gene.core.outputs import outputs
from scan2gene.core.rundir import is_done, mark_done
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study, for_run
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import LABEL_COLUMNS, PREDICTION_COLUMNS, read_csv, write_parquet
from scan2gene.stages.job import Job, fusion_key, run_data, stage_key

VARIANTS = "variants.parquet"


def lesion_role(study: Study) -> str | None:
    """The role whose mask is the lesion: that of `explain.mask`, or the first of kind label."""
    return study.explain.mask or next((n for n, r in study.cohort.roles.items() if r.kind == "label"), None)


def write_variants(job: Job, folders: Sequence[Path | None]) -> Path:
    """Write variants.parquet: rows as in predictions.parquet, of test parts only, one variant per way to alter.

    Args:
        job: The run.
        folders: From `altered_fold`.
    """
    tables = [pd.read_parquet(f / VARIANTS) for f in folders if f is not None]
    path = job.out / VARIANTS
    joined = pd.concat([t for t in tables if len(t)] or [_none()], ignore_index=True)
    write_parquet(path, stamped(joined, job.study))
    return path


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=list(PREDICTION_COLUMNS))


def altered_fold(
    job: Job, one: Run, view: Study, fold: dict[str, Any], parts: dict[str, str], folder: Path, fit: str
) -> Path | None:
    """Write one fit's rows beside its checkpoint, so that a stop loses no fold; None for what sees no images."""
    from scan2gene.predict.table import prediction_rows
    from scan2gene.preprocess.recipe import recipe_hash
    from scan2gene.train.audited import left_right_axes, lesion_masks, predict_altered, slice_masks
    from scan2gene.train.fold import is_classical
    from scan2gene.train.networks import probes
    from scan2gene.train.search import chosen_run

    if is_classical(one) or probes(one):
        return None
    stage = f"variants/{folder.relative_to(job.out / 'experiments')}"
    role = lesion_role(job.study)
    key = stage_key(
        "variants", fit=fit, mask=role, fusion=fusion_key(view)[:1],
        sides=[view.predict.swap_axis, *map(list, view.predict.swap_targets)],
    )  # fmt: skip
    if is_done(job.out, stage, key):
        return folder
    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    data, targets = run_data(job, one, view)
    if len(data.images.shape) == 2:
        return None
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    tested = parts_of(view, data.exams, parts, fold) == "test"
    rows = np.flatnonzero(tested & ~np.isnan(targets).all(axis=1)).tolist()
    store = job.out / "store" / recipe_hash(view.preprocess)
    manifest = read_csv(store / "manifest.csv")
    watch = Stopwatch()
    if data.of_slices:
        masks = slice_masks(store, manifest, data, rows, role, kept_of(job, view, cohort))
        axes = left_right_axes(store, manifest, data, rows)
    else:
        masks, axes = lesion_masks(store, manifest, data, rows, role), None
    altered = predict_altered(view, one, data, rows, masks, fold, folder, axes) if rows else {}
    tables = [_none()]
    exams = data.exams["exam_id"].iloc[rows].unique()
    for variant, values in altered.items():
        known = ~np.isnan(values).any(axis=1)
        logits = dict(zip(exams[known], values[known], strict=True))
        some = cohort[cohort["exam_id"].isin(logits)]
        part = dict.fromkeys(some["patient_id"], "test")  # also where a split by slice has a patient in every part
        tables.append(prediction_rows(one.name, fold, part, some, labels, outputs(view), logits, {}, variant))
    write_parquet(folder / VARIANTS, pd.concat([t for t in tables if len(t)] or tables, ignore_index=True))
    mark_done(job.out, stage, key, [folder / VARIANTS], **watch.stamp())
    return folder


def kept_of(job: Job, view: Study, cohort: pd.DataFrame) -> Callable[[str, str], np.ndarray | None]:
    """(exam_id, role) -> numbers of kept slices, where the scan has to be opened once more to know them."""
    from scan2gene.preprocess.slice_selection import kept_numbers

    exams, paths = {row["exam_id"]: row for row in cohort.to_dict("records")}, cache(job.paths)
    return lambda exam, role: kept_numbers(exams[exam], role, paths(), view.preprocess)
