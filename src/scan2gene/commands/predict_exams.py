"""Predictions of new exams by the networks of one run, and the reasons against them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.cohorts.unlabelled import HIDDEN_REASON, Found
from scan2gene.core.errors import RunError
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.study_cohort import Role
from scan2gene.core.tables import LABEL_COLUMNS, PREDICTION_COLUMNS
from scan2gene.core.text import clauses, listed
from scan2gene.evaluate.ensemble import ensemble
from scan2gene.learners import learner_of
from scan2gene.preprocess.recipe import roles_seen
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

_SHOWN = 4  # reasons of one exam that a row quotes


def predict_exams(
    run_dir: RunDirectory, fits: Sequence[Fit], store: StoreDirectory, found: Found, out: RunDirectory, force: bool
) -> tuple[pd.DataFrame, list[pd.DataFrame], list[str]]:
    """Rows of the fits of one run on one split, the features behind them, and what to say about them."""
    from scan2gene.predict.familiar import of_training, reasons_against
    from scan2gene.preprocess.store import build_store

    fits = [replace(fit, parts=dict.fromkeys(found.listed["patient_id"], "apply")) for fit in fits]
    config = fits[0].config
    roles = roles_seen(config)
    training = of_training(run_dir, fits[0].split, store, roles)
    hide = (lambda _: HIDDEN_REASON) if found.hidden else str
    new_store = out.store(store.name).path
    without = without_roles(found.exams, roles)
    exams = found.exams[~found.exams["exam_id"].isin(without)]
    manifest = build_store(new_store, exams, found.paths, roles, config.recipe, hide)
    unlike = reasons_against(exams, found.series, new_store, manifest, roles, training)
    against = {exam: clauses(reasons, _SHOWN) for exam, reasons in unlike.items() if reasons}
    manifest = _as_trained(manifest, store.manifest.read(), config)
    failed = _failed(manifest, config, exams["exam_id"])
    refused = {} if force else {e: why for e, why in against.items() if e not in failed}
    wanted = exams[~exams["exam_id"].isin({*failed, *refused})]
    none: list[dict[str, dict[str, np.ndarray]]] = [{"original": {}} for _ in fits]
    logits, features = _logits(fits, store, new_store, manifest, wanted) if len(wanted) else (none, [])
    refused |= found.left_out | without
    notes = [f"{config.name}: {training.ranges.summary()}."]
    if not any("likeness" in measures for measures in training.ranges.numbers.values()):
        notes.append(
            f"{config.name}: prepared volumes differ in their number of voxels, so whether a new exam correlates with "
            "the mean of training is not checked; geometry and grey values are."
        )
    return prediction_table(fits, found.listed, logits, refused, failed, against), features, notes


def without_roles(exams: pd.DataFrame, roles: dict[str, Role]) -> dict[str, str]:
    """Exams that lack a role which this run reads and others do not: exam_id -> reason."""
    found: dict[str, list[str]] = {}
    for name, role in roles.items():
        column = f"role:{name}"
        if not role.optional:
            there = exams[column].notna() if column in exams else pd.Series(False, exams.index)
            for exam in exams.loc[~there, "exam_id"]:
                found.setdefault(exam, []).append(name)
    return {exam: f"exam lacks {listed(names)}, which this run reads" for exam, names in found.items()}


def _as_trained(manifest: pd.DataFrame, trained: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """The manifest with volumes set to failed that differ in shape or type from what networks were trained on."""
    roles = config.roles
    trained = trained[(trained["status"] == "ok") & trained["role"].isin(roles)]

    def seen(shape: str) -> str:
        return shape.rpartition("x")[0] if config.is_slices else shape  # any number of slices will do

    shapes, types = {seen(s) for s in trained["shape"]}, set(trained["dtype"])
    free = not config.is_slices and len(shapes) > 1  # a network that saw one exam at a time, each on its own grid
    manifest = manifest.copy()
    for number, row in manifest.iterrows():
        if row["status"] != "ok" or row["role"] not in roles:
            continue
        if seen(row["shape"]) not in shapes and not free:
            why = (
                f"{row['role']}: prepared to {row['shape']} voxels, training volumes have {' or '.join(sorted(shapes))}"
            )
        elif row["dtype"] not in types:
            why = f"{row['role']}: prepared as {row['dtype']}, training volumes are {' or '.join(types)}"
        else:
            continue
        manifest.loc[number, ["status", "reason"]] = "failed", why
    return manifest


def _failed(manifest: pd.DataFrame, config: RunConfig, exams: Iterable[str]) -> dict[str, str]:
    """Exams that lack what the run sees, or of which a volume that is not optional could not be prepared."""
    bad = manifest[manifest["status"] != "ok"]
    needed = bad[~bad["role"].map(lambda r: config.cohort_roles[r].optional).astype(bool)]
    seen = manifest[(manifest["status"] == "ok") & manifest["role"].isin(config.roles)]["exam_id"]
    blind = bad[~bad["exam_id"].isin(seen)]
    lacking = dict.fromkeys(set(exams) - set(seen), f"exam lacks {listed(config.roles)}")
    return lacking | pd.concat([needed, blind]).groupby("exam_id")["reason"].first().to_dict()


def _logits(
    fits: Sequence[Fit], store: StoreDirectory, new_store: Path, manifest: pd.DataFrame, exams: pd.DataFrame
) -> tuple[list[dict[str, dict[str, np.ndarray]]], list[pd.DataFrame]]:
    """Variant -> exam_id -> (T,), of every network, and its embeddings."""
    import torch

    from scan2gene.data.load import load_samples
    from scan2gene.data.samples import Samples, Sampling, sampling_of
    from scan2gene.learners.fold import predict_fold
    from scan2gene.predict.aggregate import exam_answers
    from scan2gene.predict.table import embedding_rows

    recipe, roles = fits[0].config.recipe, fits[0].config.roles
    labels = pd.DataFrame(columns=list(LABEL_COLUMNS))
    trained = store.manifest.read()
    trained = trained[(trained["status"] == "ok") & trained["role"].isin(roles)]

    @cache
    def loaded(sampling: Sampling) -> Samples:
        data = load_samples(new_store, manifest, exams, labels, sampling)
        if data.images.dtype == torch.uint8 and (trained["dtype"] != "uint8").any():
            # bytes are scaled on their way into a network, and in training these were not held as bytes
            images: Any = data.images
            images = images.float() if isinstance(images, torch.Tensor) else replace(images, dtype=torch.float32)
            data = replace(data, images=images)
        return data

    found: list[dict[str, dict[str, np.ndarray]]] = []
    features: list[pd.DataFrame] = []
    embedded: dict[str, Samples] = {}  # of frozen encoders, which folds share
    for fit in (fit.as_chosen() for fit in fits):
        config = fit.config
        if config.recipe != recipe:
            raise RunError(
                f"run {config.name} searched its preprocessing, so its folds share no prepared exam: not applied"
            )
        given = loaded(sampling_of(config))  # a search may have chosen how many slices a patient gives
        output = predict_fold(fit, learner_of(config).prepare(fit, given, embedded))
        found.append(exam_answers(fit, output, given.table))
        if output.embeddings is not None and "slice" not in given.table:
            features.append(embedding_rows(fit, given.table, output.embeddings))
    return found, features


def prediction_table(
    fits: Sequence[Fit], listed: pd.DataFrame, logits: list[dict[str, dict[str, np.ndarray]]],
    refused: dict[str, str], failed: dict[str, str], against: dict[str, str],
) -> pd.DataFrame:  # fmt: skip
    """The prediction rows of every network and of their ensemble."""
    from scan2gene.predict.table import prediction_rows

    labels = pd.DataFrame(columns=list(LABEL_COLUMNS))
    tables = [
        prediction_rows(fit, listed, labels, values, failed | refused).assign(variant=variant)
        for fit, variants in zip(fits, logits, strict=True)
        for variant, values in variants.items()
    ]
    rows = pd.concat(tables, ignore_index=True)
    table = pd.concat([rows, ensemble(rows[rows["variant"] == "original"])], ignore_index=True)
    table.loc[table["exam_id"].isin(refused), "status"] = "refused"
    forced = (table["status"] == "ok") & table["exam_id"].isin(against)
    table.loc[forced, "reason"] = "forced: " + table.loc[forced, "exam_id"].map(against)
    return table[list(PREDICTION_COLUMNS)]
