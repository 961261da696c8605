"""What networks say of altered copies of the exams that they are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene import __version__
from scan2gene.core.energy import Meter
from scan2gene.core.outputs import outputs
from scan2gene.core.rundir import is_done, mark_done, stage_key
from scan2gene.core.study import Study, for_run
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import LABEL_COLUMNS, PREDICTION_COLUMNS, read_csv, write_parquet
from scan2gene.stages.job import Job, folds, run_data

VARIANTS = "variants.parquet"
FORMAT = 1  # to be raised when a copy changes


def lesion_role(study: Study) -> str | None:
    """The role whose mask is the lesion: that of `explain.mask`, or the first of kind label."""
    return study.explain.mask or next((n for n, r in study.cohort.roles.items() if r.kind == "label"), None)


def predict_variants(job: Job) -> Path:
    """Write variants.parquet: rows as in predictions.parquet, of test parts only, one variant per way to alter."""
    folders = [_altered_fold(job, *item) for item in folds(job)]
    tables = [pd.read_parquet(f / VARIANTS) for f in folders if f is not None]
    path = job.out / VARIANTS
    write_parquet(path, pd.concat([t for t in tables if len(t)] or [_none()], ignore_index=True))
    return path


def _none() -> pd.DataFrame:
    return pd.DataFrame(columns=list(PREDICTION_COLUMNS))


def _altered_fold(
    job: Job, one: Run, view: Study, fold: dict[str, Any], parts: dict[str, str], folder: Path, fit: str
) -> Path | None:
    """Write one fit's rows beside its checkpoint, so that a stop loses no fold; None for what sees no whole volumes."""
    from scan2gene.predict.table import prediction_rows
    from scan2gene.preprocess.recipe import recipe_hash
    from scan2gene.train.audited import lesion_masks, predict_altered
    from scan2gene.train.fold import is_classical
    from scan2gene.train.networks import probes
    from scan2gene.train.search import chosen_run

    if is_classical(one) or probes(one):
        return None
    stage = f"variants/{folder.relative_to(job.out / 'experiments')}"
    role = lesion_role(job.study)
    key = stage_key(
        version=__version__, format=FORMAT, fit=fit, mask=role,
        sides=[view.predict.swap_axis, *map(list, view.predict.swap_targets)],
    )  # fmt: skip
    if is_done(job.out, stage, key):
        return folder
    one = chosen_run(one, folder)
    view = for_run(job.study, one)
    data, targets = run_data(job, one, view)
    if len(data.images.shape) != 5:
        return None
    cohort, labels = job.table("cohort.csv"), job.table("labels.csv", LABEL_COLUMNS)
    tested = data.exams["patient_id"].map(parts).to_numpy() == "test"
    rows = np.flatnonzero(tested & ~np.isnan(targets).all(axis=1)).tolist()
    store = job.out / "store" / recipe_hash(view.preprocess)
    with Meter() as meter:
        masks = lesion_masks(store, read_csv(store / "manifest.csv"), data, rows, role)
        altered = predict_altered(view, one, data, rows, masks, fold, folder) if rows else {}
    tables = [_none()]
    exams = data.exams.iloc[rows]
    for variant, values in altered.items():
        known = ~np.isnan(values).any(axis=1)
        logits = dict(zip(exams["exam_id"][known], values[known], strict=True))
        some = cohort[cohort["exam_id"].isin(logits)]
        tables.append(prediction_rows(one.name, fold, parts, some, labels, outputs(view), logits, {}, variant))
    write_parquet(folder / VARIANTS, pd.concat([t for t in tables if len(t)] or tables, ignore_index=True))
    mark_done(job.out, stage, key, [folder / VARIANTS], **meter.stamp())
    return folder
