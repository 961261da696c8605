"""What models say of altered copies of the exams that they are tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.cohorts.split import parts_of
from scan2gene.core.leakage import stamped
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study, standardised
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.blocks import applied_means, ordered
from scan2gene.learners import learner_of, reads_images
from scan2gene.stages.fits import fusion_key
from scan2gene.stages.job import Job, run_data, stage_key
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig


def lesion_role(study: Study) -> str | None:
    """The role whose mask is the lesion: that of `explain.mask`, or the first of kind label."""
    return study.explain.mask or next((n for n, r in study.cohort.roles.items() if r.kind == "label"), None)


def write_variants(job: Job, folders: Sequence[FitDirectory | None], predictions: pd.DataFrame) -> None:
    """Write variants.parquet: rows as in predictions.parquet, of test parts only, one variant per way to alter.

    Args:
        job: The run, with the scales of its means of runs.
        folders: From `altered_fit` and `altered_features_fit`.
        predictions: Of all fits, of exams as they are.
    """
    tables = [f.variants.read() for f in folders if f is not None]
    joined = pd.concat([t for t in tables if len(t)] or [no_rows()], ignore_index=True)
    joined = pd.concat([joined, *_means(job, joined, predictions)], ignore_index=True)
    job.out.variants.write(stamped(joined, job.study))


def _means(job: Job, altered: pd.DataFrame, predictions: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Means of runs on altered copies; what sees no image, such as age, answers as it does on the exam itself."""
    members = standardised(job.study)
    blind = [c.name for c in job.configs if not reads_images(c) and not c.model.options.get("features")]
    seeing = {config.name for config in job.configs} - set(blind)
    for name in ordered(members):
        seeing |= {name} if seeing & set(members[name]) else set()
    plain = predictions[predictions["run_id"].isin(blind) & (predictions["part"] == "test")]
    for variant, rows in altered.dropna(subset=["logit"]).groupby("variant", sort=False):
        of_same = plain[plain["exam_id"].isin(rows["exam_id"])]
        means = applied_means(pd.concat([rows, of_same], ignore_index=True), members, job.out.scales.read())
        means = means[means["run_id"].isin(seeing)].dropna(subset=["logit"])
        if len(means):
            yield means.assign(variant=variant)


def no_rows() -> pd.DataFrame:
    """Of `variants.parquet`."""
    return pd.DataFrame(columns=list(PREDICTION_COLUMNS))


def variant_rows(job: Job, fit: Fit, altered: Mapping[str, Mapping[str, np.ndarray]]) -> pd.DataFrame:
    """Rows of one fit on altered copies of tested exams.

    Args:
        job: The run.
        fit: The fit.
        altered: Variant -> exam_id -> (T,) logits.
    """
    from scan2gene.predict.table import prediction_rows

    cohort, labels = job.out.cohort.read(), job.out.labels.read()
    tables = [no_rows()]
    for variant, logits in altered.items():
        some = cohort[cohort["exam_id"].isin(logits)]
        # also where a split by slice has a patient in every part
        tested_only = replace(fit, parts=dict.fromkeys(some["patient_id"], "test"))
        tables.append(prediction_rows(tested_only, some, labels, logits).assign(variant=variant))
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)


def altered_fit(job: Job, fit: Fit) -> FitDirectory | None:
    """Write one fit's rows beside its checkpoint, so that a stop loses no fit; None for what sees no images."""
    if not learner_of(fit.config).TRAINS_ON_IMAGES:
        return None
    folder, stage, role = fit.folder, f"variants/{fit.folder.name}", lesion_role(job.study)
    key = stage_key(
        "variants", fit=fit.key, mask=role, fusion=fusion_key(fit.config)[:1],
        sides=[fit.config.predict.swap_axis, *map(list, fit.config.predict.swap_targets)],
    )  # fmt: skip
    if job.out.is_done(stage, key):
        return folder
    fit = fit.as_chosen()
    config = fit.config
    data = run_data(job, config)
    if not data.grid:  # a search chose to train a head on embeddings
        return None
    tested = parts_of(fit, data.table) == "test"
    rows = np.flatnonzero(tested & ~np.isnan(data.targets.numpy()).all(axis=1)).tolist()
    watch = Stopwatch()
    altered = _altered(job, fit, data, rows) if rows else {}
    exams = data.table["exam_id"].iloc[rows].unique()
    known = {variant: ~np.isnan(values).any(axis=1) for variant, values in altered.items()}
    logits = {v: dict(zip(exams[known[v]], values[known[v]], strict=True)) for v, values in altered.items()}
    folder.variants.write(variant_rows(job, fit, logits))
    job.out.mark_done(stage, key, [folder.variants], **watch.stamp())
    return folder


def _altered(job: Job, fit: Fit, data: Any, rows: list[int]) -> dict[str, np.ndarray]:
    """What the fit's network says of altered copies of some rows of its samples; see `forward_altered`."""
    from lightning_fabric import Fabric

    from scan2gene.predict.aggregate import aggregation, load_aggregate
    from scan2gene.predict.lesions import left_right_axes
    from scan2gene.predict.perturb import Alterations, forward_altered

    config, store = fit.config, job.store(fit.config)
    device = Fabric(accelerator=config.train.device, devices=1).device
    model = learner_of(config).load(fit).to(device)
    axes = left_right_axes(store.path, store.manifest.read(), data, rows, config.predict.swap_axis)
    aggregate = load_aggregate(aggregation(config)[0], config.outputs, fit.folder.path)
    how = Alterations(
        lesions_of(job, config, data, rows), axes, aggregate, config.predict.swap_targets, config.data.batch_size,
        fit.seed,
    )  # fmt: skip
    return forward_altered(model, data, rows, how, data.placed(device))


def lesions_of(job: Job, config: RunConfig, data: Any, rows: list[int]) -> dict[int, Any]:
    """Row of the samples -> mask of the lesion, of instances that show it; see `lesion_masks`."""
    from scan2gene.predict.lesions import lesion_masks

    store = job.store(config)
    kept = kept_of(job, config, job.out.cohort.read())
    return lesion_masks(store.path, store.manifest.read(), data, rows, lesion_role(job.study), kept)


def kept_of(job: Job, config: RunConfig, cohort: pd.DataFrame) -> Callable[[str, str], np.ndarray | None]:
    """(exam_id, role) -> numbers of kept slices, where the scan has to be opened once more to know them."""
    from scan2gene.preprocess.slice_selection import kept_numbers

    exams, paths = {row["exam_id"]: row for row in cohort.to_dict("records")}, cache(job.paths)
    return cache(lambda exam, role: kept_numbers(exams[exam], role, paths(), config.recipe))
