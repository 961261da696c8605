"""Train one run on one fold: a network, or a classical baseline."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.cohorts.split import parts_of
from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.section import check_plugin, unknown_name
from scan2gene.core.study_runs import Predict
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput, forward_variants
from scan2gene.models import MODELS
from scan2gene.predict.aggregate import check_fusion
from scan2gene.radiomics.clinical import CLASSICAL, clinical_columns, clinical_logits
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig
from scan2gene.train.fusion import LEARNED
from scan2gene.train.harmonise import check_harmonise, fit_harmonise, with_harmonised
from scan2gene.train.networks import builder, left_right, load_head, load_network, one_thread
from scan2gene.train.sites import check_sites


def check_model(config: RunConfig) -> None:
    """Refuse an unknown model or option before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    model, known, place = config.model, MODELS | CLASSICAL, f"run {config.name}"
    check_plugin(model, known, f"{place}: model")
    check_harmonise(config)
    if config.is_tabular:
        if config.is_leaky:
            raise StudyError(f"{place}: model {model.name} sees patients, and a split of the study slices")
        columns = model.options.get("columns")
        if not columns:
            raise StudyError(f"{place}: model clinical needs options.columns, out of {list(config.clinical)}")
        for column in columns:
            if column not in config.clinical:
                raise StudyError(f"{place}: column {unknown_name(column, config.clinical)} See cohort.clinical.")
        return
    check_sites(config)
    _check_dimensions(config)
    if config.has_sides:
        _check_sides(config)


def _check_dimensions(config: RunConfig) -> None:
    """A 2D network sees slices, any other whole volumes; what slices cannot have is refused."""
    with torch.device("meta"):  # without memory
        try:
            flat = MODELS[config.model.name](1, 1, **config.model.options).spatial_dims == 2
        except Exception as error:  # of an option's value, which the network judges in its own words
            raise StudyError(f"run {config.name}: {config.model.name} cannot have these options: {error}") from None
    slices = config.data.slices
    if flat != (slices is not None):
        raise StudyError(
            f"run {config.name}: {config.model.name} sees "
            + ("single slices; set data.slices, such as slices: {}" if flat else "whole volumes; set data.slices: null")
        )
    if slices is None:
        return
    check_fusion(slices.fusion, LEARNED)
    axes = {a for s in config.data.augment if s.name == "flip" for a in s.options.get("axes", [])}
    for given, why in (
        (config.has_sides, "targets with sides need whole volumes"),
        (config.data.harmonise, "data.harmonise would take the slices of a patient for patients"),
        ("k" in {*config.predict.flips, *axes}, "a slice has no axis k to be mirrored along"),
    ):
        if given:
            raise StudyError(f"run {config.name} sees slices: {why}")


def _check_sides(config: RunConfig) -> None:
    """For targets with sides every exam must lie alike, and one axis run from left to right everywhere."""
    try:
        axis, _ = left_right(config)
    except StudyError as error:
        raise StudyError(f"run {config.name}: {error}") from None
    swaps = [s.options.get("swap_axis", "i") for s in config.data.augment if s.name == "flip"]
    for where, given in [("predict", config.predict.swap_axis), *(("data.augment, flip", s) for s in swaps)]:
        if given != axis:
            raise StudyError(
                f"run {config.name}: after reorient left to right is {axis}, but {where} has swap_axis {given}"
            )


def check_training(config: RunConfig) -> None:
    """Refuse unknown augmentation and schedules, their options, and targets, before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    from scan2gene.data.augment import check_augmentation
    from scan2gene.train.monitor import check_monitor
    from scan2gene.train.schedules import SCHEDULES

    check_augmentation(config.data.augment, [output.target for output in config.outputs if not output.side])
    check_plugin(config.train.schedule, SCHEDULES, "train.schedule")
    check_monitor(config.train.monitor, config.targets)
    for name in config.train.target_weights:
        if name not in config.targets:
            raise StudyError(f"train.target_weights: target {unknown_name(name, config.targets)}")


def train_fold(fit: Fit, data: Samples | pd.DataFrame, targets: np.ndarray) -> None:
    """Fit one model on the training part, choose its checkpoint on the validation part.

    Args:
        fit: Its folder gets the checkpoint and history.csv; what another configuration left there goes.
        data: Tensors, or cohort.csv for a classical model.
        targets: (N, T) labels of `data`'s exams for each output, NaN where unknown.

    Raises:
        CohortError: The training or validation part has no usable exam.
    """
    config, folder = fit.config, fit.folder
    begin(fit, fit.place | {"model": config.model.model_dump(), "targets": config.output_names})
    exams = data if isinstance(data, pd.DataFrame) else data.table
    part = parts_of(fit, exams)
    known = ~np.isnan(targets).all(axis=1)
    train, validation = (np.flatnonzero((part == p) & known) for p in ("train", "validation"))
    if len(train) < 2 or len(validation) < 1:
        people = [exams["patient_id"].iloc[rows].nunique() for rows in (train, validation)]
        raise CohortError(
            f"split {fit.split} fold {fit.fold}: of {people[0]} training and {people[1]} validation patients a "
            "target is known and an exam could be prepared; that is too few to train. See split_table.csv and the "
            "store's manifest.csv."
        )
    fit_harmonise(fit, data, targets, train)
    data = with_harmonised(fit, data)
    if isinstance(data, pd.DataFrame):
        options = config.model.options
        values = clinical_columns(data, options["columns"])[train]
        folder.model.write(CLASSICAL[config.model.name](values, targets[train], config.outputs, **options))
        return
    from scan2gene.train.loop import fit_network

    with one_thread() if config.probes else nullcontext():
        fit_network(fit, builder(fit, data, train), data, train, validation)


def begin(fit: Fit, about: Mapping[str, Any]) -> None:
    """Make a fit's folder, without what another configuration left in it, and keep there what is told of the fit."""
    if fit.folder.config.exists() and fit.folder.config.read()["key"] != fit.key:
        shutil.rmtree(fit.folder.path)
    fit.folder.config.write({"key": fit.key, **about})


def predict_fold(fit: Fit, data: Samples | pd.DataFrame) -> NetworkOutput:
    """Every exam of `data`, in its order, by the fit's checkpoint.

    Args:
        fit: Its `predict` says which variants.
        data: Tensors; for a frozen encoder, images or the embeddings that it gave of them, and no
            mirrored copies in either case; for a classical model cohort.csv, and no variants.
    """
    config, data = fit.config, with_harmonised(fit, data)
    if isinstance(data, pd.DataFrame):
        fitted = fit.folder.model.read()
        return NetworkOutput({"original": clinical_logits(fitted, clinical_columns(data, fitted["columns"]))})
    from lightning_fabric import Fabric

    settings = Predict() if config.probes else config.predict
    embedded = isinstance(data.images, torch.Tensor) and data.images.ndim == 2
    model = load_head(fit, data.images.shape[1]) if embedded else load_network(fit)
    device = Fabric(accelerator=config.train.device, devices=1).device
    images = data.placed(device)
    rows = range(len(data.table))
    passed = forward_variants(model.to(device), data, rows, config.data.batch_size, settings, images)
    if config.train.site_adversary:  # which shaped what the head's hidden layer says
        return passed
    # of stored embeddings, what the encoder says of an exam, not the head's scaled view of it
    return replace(passed, embeddings=data.images[torch.arange(len(rows))].numpy()) if embedded else passed
