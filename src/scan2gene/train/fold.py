"""Train one run on one fold: a network, or a classical baseline."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.cohorts.split import parts_of
from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.leakage import stamp_of
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.section import unknown_name
from scan2gene.core.study import Study, for_run, is_leaky, is_sided
from scan2gene.core.study_runs import Predict, Run
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput, forward_variants
from scan2gene.models import MODELS
from scan2gene.predict.aggregate import check_fusion
from scan2gene.radiomics.clinical import CLASSICAL, clinical_columns, clinical_logits
from scan2gene.tasks.outputs import has_sides, output_names, outputs
from scan2gene.train.fusion import LEARNED
from scan2gene.train.harmonise import check_harmonise, fit_harmonise, with_harmonised
from scan2gene.train.networks import builder, left_right, load_head, load_network, one_thread, probes
from scan2gene.train.sites import check_sites


def is_classical(run: Run) -> bool:
    """True for a model that looks at table columns, not at images."""
    return run.model.name in CLASSICAL


def check_model(study: Study, run: Run) -> None:
    """Refuse an unknown model or option before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    known = MODELS | CLASSICAL
    if run.model.name not in known:
        raise StudyError(f"run {run.name}: model {unknown_name(run.model.name, known)}")
    check_harmonise(for_run(study, run), run)
    build = known[run.model.name]
    fixed = build.keywords if isinstance(build, partial) else {}
    parameters = inspect.signature(build).parameters.values()
    valid = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed]
    for option in run.model.options:
        if option not in valid:
            raise StudyError(f"run {run.name}, model {run.model.name}: option {unknown_name(option, valid)}")
    if is_classical(run):
        if is_leaky(study):
            raise StudyError(f"run {run.name}: model {run.model.name} sees patients, and a split of the study slices")
        columns = run.model.options.get("columns")
        if not columns:
            raise StudyError(f"run {run.name}: model clinical needs options.columns, out of {study.cohort.clinical}")
        for column in columns:
            if column not in study.cohort.clinical:
                raise StudyError(
                    f"run {run.name}: column {unknown_name(column, study.cohort.clinical)} See cohort.clinical."
                )
        return
    view = for_run(study, run)
    check_sites(view, run)
    _check_dimensions(view, run)
    if has_sides(study):
        _check_sides(view, run.name)


def _check_dimensions(view: Study, run: Run) -> None:
    """A 2D network sees slices, any other whole volumes; what slices cannot have is refused."""
    with torch.device("meta"):  # without memory
        try:
            flat = MODELS[run.model.name](1, 1, **run.model.options).spatial_dims == 2
        except Exception as error:  # of an option's value, which the network judges in its own words
            raise StudyError(f"run {run.name}: {run.model.name} cannot have these options: {error}") from None
    slices = view.data.slices
    if flat != (slices is not None):
        raise StudyError(
            f"run {run.name}: {run.model.name} sees "
            + ("single slices; set data.slices, such as slices: {}" if flat else "whole volumes; set data.slices: null")
        )
    if slices is None:
        return
    check_fusion(slices.fusion, LEARNED)
    axes = {a for s in view.data.augment if s.name == "flip" for a in s.options.get("axes", [])}
    for given, why in (
        (has_sides(view), "targets with sides need whole volumes"),
        (view.data.harmonise, "data.harmonise would take the slices of a patient for patients"),
        ("k" in {*view.predict.flips, *axes}, "a slice has no axis k to be mirrored along"),
    ):
        if given:
            raise StudyError(f"run {run.name} sees slices: {why}")


def _check_sides(view: Study, run: str) -> None:
    """For targets with sides every exam must lie alike, and one axis run from left to right everywhere."""
    try:
        axis, _ = left_right(view)
    except StudyError as error:
        raise StudyError(f"run {run}: {error}") from None
    swaps = [s.options.get("swap_axis", "i") for s in view.data.augment if s.name == "flip"]
    for where, given in [("predict", view.predict.swap_axis), *(("data.augment, flip", s) for s in swaps)]:
        if given != axis:
            raise StudyError(f"run {run}: after reorient left to right is {axis}, but {where} has swap_axis {given}")


def check_training(view: Study) -> None:
    """Refuse unknown augmentation and schedules, their options, and targets, before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    from scan2gene.data.augment import check_augmentation
    from scan2gene.train.monitor import check_monitor
    from scan2gene.train.schedules import check_schedule

    check_augmentation(view.data.augment, [name for name in view.targets if not is_sided(view, name)])
    check_schedule(view.train.schedule)
    check_monitor(view.train.monitor, view.targets)
    for name in view.train.target_weights:
        if name not in view.targets:
            raise StudyError(f"train.target_weights: target {unknown_name(name, view.targets)}")


def train_fold(
    study: Study, run: Run, data: Samples | pd.DataFrame, targets: np.ndarray, parts: Mapping[str, str],
    fold: Mapping[str, Any], folder: Path, key: str,
) -> None:  # fmt: skip
    """Fit one model on the training part, choose its checkpoint on the validation part.

    Args:
        study: As the run sees it (`for_run`).
        run: Model and options.
        data: Tensors, or cohort.csv for a classical model.
        targets: (N, T) labels of `data`'s exams for each output, NaN where unknown.
        parts: patient_id -> train, validation, test.
        fold: split, repeat, fold.
        folder: Gets the checkpoint and history.csv. What another configuration left there goes.
        key: Names everything that decides the result.

    Raises:
        CohortError: The training or validation part has no usable exam.
    """
    config = FitDirectory(folder).config
    if config.exists() and config.read()["key"] != key:
        shutil.rmtree(folder)
    config.write({"key": key, **fold, "model": run.model.model_dump(), "targets": output_names(study)})
    exams = data if isinstance(data, pd.DataFrame) else data.table
    part = parts_of(study, exams, parts, fold)
    known = ~np.isnan(targets).all(axis=1)
    train, validation = (np.flatnonzero((part == p) & known) for p in ("train", "validation"))
    if len(train) < 2 or len(validation) < 1:
        people = [exams["patient_id"].iloc[rows].nunique() for rows in (train, validation)]
        raise CohortError(
            f"split {fold['split']} fold {fold['fold']}: of {people[0]} training and {people[1]} validation patients a "
            "target is known and an exam could be prepared; that is too few to train. See split_table.csv and the "
            "store's manifest.csv."
        )
    fit_harmonise(study, run, data, targets, train, folder)
    data = with_harmonised(study, run, data, folder)
    if isinstance(data, pd.DataFrame):
        columns = run.model.options["columns"]
        fit = CLASSICAL[run.model.name]
        fitted = fit(clinical_columns(data, columns)[train], targets[train], outputs(study), **run.model.options)
        FitDirectory(folder).model.write(fitted)
        return
    from scan2gene.train.loop import fit_network

    seed = fold_seed(study, fold)
    names = dict(fold) | ({"leaky": stamp_of(study)} if is_leaky(study) else {})
    with one_thread() if probes(run) else nullcontext():
        fit_network(
            builder(study, run, data, train, folder), data, train, validation, study.data, study.train, seed, folder,
            names, f"{run.name} {fold['split']} fold {fold['fold']}", outputs(study),
        )  # fmt: skip


def fold_seed(study: Study, fold: Mapping[str, Any]) -> int:
    """Seed of a fit: its first weights, the order of exams, and what augmentation does to them."""
    return study.seed * 31 + int(fold["repeat"]) * 101 + int(fold["fold"])


def predict_fold(study: Study, run: Run, data: Samples | pd.DataFrame, folder: Path) -> NetworkOutput:
    """Every exam of `data`, in its order, by the fold's checkpoint.

    Args:
        study: As the run sees it; its `predict` says which variants.
        run: Model and options.
        data: Tensors; for a frozen encoder, images or the embeddings that it gave of them, and no
            mirrored copies in either case; for a classical model cohort.csv, and no variants.
        folder: Holds the checkpoint.
    """
    data = with_harmonised(study, run, data, folder)
    if isinstance(data, pd.DataFrame):
        fitted = FitDirectory(folder).model.read()
        return NetworkOutput({"original": clinical_logits(fitted, clinical_columns(data, fitted["columns"]))})
    from lightning_fabric import Fabric

    settings = Predict() if probes(run) else study.predict
    embedded = isinstance(data.images, torch.Tensor) and data.images.ndim == 2
    model = load_head(study, run, folder, data.images.shape[1]) if embedded else load_network(study, run, folder)
    device = Fabric(accelerator=study.train.device, devices=1).device
    images = data.placed(device)
    rows = range(len(data.table))
    passed = forward_variants(model.to(device), data, rows, study.data.batch_size, settings, images)
    if study.train.site_adversary:  # which shaped what the head's hidden layer says
        return passed
    # of stored embeddings, what the encoder says of an exam, not the head's scaled view of it
    return replace(passed, embeddings=data.images[torch.arange(len(rows))].numpy()) if embedded else passed
