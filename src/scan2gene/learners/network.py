"""Networks on prepared images, trained whole or from a start, for volumes and for slices."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from scan2gene.core.console import say
from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.study_runs import Predict
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Samples, sampling_of, stored_as_uint8
from scan2gene.evaluate.stability import Features
from scan2gene.forward.logits import NetworkOutput, forward_variants
from scan2gene.models import MODELS as MODELS
from scan2gene.models.networks import left_right, new_network, size
from scan2gene.models.networks import load_network as load
from scan2gene.models.start import check_weights, plain_network
from scan2gene.predict.aggregate import check_fusion
from scan2gene.preprocess.recipe import recipe_hash
from scan2gene.stats.linear import ridge_scores
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

TRAINS_ON_IMAGES = True


def check(config: RunConfig) -> None:
    """Refuse what a network cannot see, sites that cannot be balanced, and wrong weights.

    Raises:
        StudyError: Saying what and how to mend it.
    """
    from scan2gene.train.sites import check_sites

    check_sites(config)
    _check_dimensions(config)
    if config.has_sides:
        _check_sides(config)
    check_weights(config)


def _check_dimensions(config: RunConfig) -> None:
    """A 2D network sees slices, any other whole volumes; what slices cannot have is refused."""
    from scan2gene.train.fusion import LEARNED

    with torch.device("meta"):  # without memory
        try:
            flat = plain_network(config).spatial_dims == 2
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


def store_of(config: RunConfig, out: RunDirectory) -> StoreDirectory:
    """The volumes that a run's recipe prepared."""
    return out.store(recipe_hash(config.recipe))


def data_key(config: RunConfig, out: RunDirectory) -> Hashable:
    """The prepared volumes and how instances are taken from them."""
    return store_of(config, out), sampling_of(config)


def data(config: RunConfig, out: RunDirectory) -> Samples:
    """Images of the whole cohort."""
    store = store_of(config, out)
    data = load_samples(store.path, store.manifest.read(), out.cohort.read(), out.labels.read(), sampling_of(config))
    say("", f"  {config.name}: {data.description()}")
    return data


def fit(fit: Fit, data: Samples, train: np.ndarray, validation: np.ndarray) -> None:
    """Train a new network, or one that starts from weights."""
    from scan2gene.train.loop import fit_network

    build = partial(new_network, fit.config, stored_as_uint8(data), fit.folder)
    fit_network(fit, build, data, train, validation)


def predict(fit: Fit, data: Samples) -> NetworkOutput:
    """Every row, and its mirrored copies where the run has them."""
    return pass_all(load(fit), fit, data, fit.config.predict)


def pass_all(network: Any, fit: Fit, data: Samples, variants: Predict) -> NetworkOutput:
    """All rows through a network, on the device of the run."""
    device = Fabric(accelerator=fit.config.train.device, devices=1).device
    images = data.placed(device)
    rows = range(len(data.table))
    return forward_variants(network.to(device), data, rows, fit.config.data.batch_size, variants, images)


def describe(fit: Fit, out: RunDirectory) -> dict[str, int]:
    """See `size`."""
    return size(fit)


def embedded(what: str, config: RunConfig, out: RunDirectory) -> Features:
    """Kept embeddings of the exams, and a linear probe on them; see `evaluate.stability`."""

    def read(split: str) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        if not out.embeddings.exists():
            return
        columns = ["repeat", "fold", "patient_id", "embedding"]
        table = out.embeddings.read(columns, [("run_id", "==", config.name), ("split", "==", split)])
        for (repeat, fold), rows in table.groupby(["repeat", "fold"]):
            yield int(repeat), int(fold), rows["patient_id"].to_numpy(), np.stack(rows["embedding"].to_numpy())

    return Features(what, ridge_scores, read)


def refit(config: RunConfig, out: RunDirectory) -> Features:
    """A linear probe: a network takes too long to train again."""
    return embedded("a linear probe of the trained network's features", config, out)


def prepare(fit: Fit, images: Samples, kept: dict[str, Samples]) -> Samples:
    """The images themselves."""
    return images
