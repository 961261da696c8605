"""Heads on the embeddings of a frozen encoder, which sees every exam once; the run directory keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Hashable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from scan2gene.core.console import say
from scan2gene.core.files import value_hash, write_json
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.section import version_of
from scan2gene.core.study_runs import Predict
from scan2gene.core.text import duration
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Samples, sampling_of
from scan2gene.evaluate.stability import Features
from scan2gene.forward.embed import embed, read_embeddings, write_embeddings
from scan2gene.forward.logits import NetworkOutput
from scan2gene.learners.network import MODELS as MODELS
from scan2gene.learners.network import check as check
from scan2gene.learners.network import embedded, pass_all, store_of
from scan2gene.models.networks import left_right, load_head, one_thread, scaled_head, size_of_probe, with_sides
from scan2gene.models.networks import load_probed as load
from scan2gene.models.start import Start, loaded_text, start_of, started_network
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

TRAINS_ON_IMAGES = False
VERSION = 1  # raised when embeddings are computed differently


def data_key(config: RunConfig, out: RunDirectory) -> Hashable:
    """The encoder, what it sees, and the labels."""
    return embeddings_key(config, out), config.outputs


def fit(fit: Fit, data: Samples, train: np.ndarray, validation: np.ndarray) -> None:
    """Train a new head."""
    from scan2gene.train.loop import fit_network

    with one_thread():
        fit_network(fit, partial(scaled_head, fit.config, data.vectors, train), data, train, validation)


def predict(fit: Fit, data: Samples) -> NetworkOutput:
    """Every row; no mirrored copies, whose embeddings are not kept."""
    output = pass_all(load_head(fit, data.vectors.shape[1]), fit, data, Predict())
    if fit.config.train.site_adversary:  # which shaped what the head's hidden layer says
        return output
    return replace(output, embeddings=data.vectors.numpy())  # what the encoder says, not the head's scaled view of it


def describe(fit: Fit, out: RunDirectory) -> dict[str, int]:
    """See `size_of_probe`; weights.json gets what the embeddings say of their encoder."""
    fit.folder.weights.write(json.loads(_file(fit.config, out).with_suffix(".json").read_text()))
    return size_of_probe(fit)


def refit(config: RunConfig, out: RunDirectory) -> Features:
    """A linear probe of the same embeddings."""
    return embedded("a linear probe of the frozen encoder", config, out)


def prepare(fit: Fit, images: Samples, kept: dict[str, Samples]) -> Samples:
    """New exams, embedded once for all fits that share an encoder.

    Raises:
        WeightsError: The encoder's file is not there, or changed.
    """
    key = value_hash([fit.config.model.model_dump(), fit.folder.weights.read({}), sampling_of(fit.config)])
    if key not in kept:
        kept[key] = replace(images, images=_embedded(load(fit), fit.config, images))
    return kept[key]


def data(config: RunConfig, out: RunDirectory) -> Samples:
    """The cohort with embeddings (N, F) in place of images, of every exam or of every slice.

    With sides they are the left half's and then the right half's.

    Args:
        config: With `freeze: all`.
        out: Keeps embeddings, one file per encoder, recipe and roles; prepared volumes are read only where they are
            missing, a batch at a time.
    """
    store, cohort, labels = store_of(config, out), out.cohort.read(), out.labels.read()
    # images stay on disk
    images = load_samples(store.path, store.manifest.read(), cohort, labels, sampling_of(config), memory=0)
    path = _file(config, out)
    vectors = read_embeddings(path, images.table) if path.with_suffix(".json").exists() else None
    return replace(images, images=_compute(config, path, images) if vectors is None else vectors)


def _file(config: RunConfig, out: RunDirectory) -> Path:
    return out.path / "embeddings" / f"{embeddings_key(config, out)}.parquet"


def embeddings_key(config: RunConfig, out: RunDirectory) -> str:
    """Everything that decides the numbers; where they are computed does not."""
    start = _start(config)
    return value_hash(
        [
            VERSION,
            version_of(MODELS[config.model.name]),
            config.model.name,
            {k: v for k, v in config.model.options.items() if k != "dropout"},
            start.sha256,
            start.options,
            config.weights and config.weights.channels,
            store_of(config, out).manifest.hash(),
            config.roles,
            list(left_right(config)) if config.has_sides else [],
            *([["slices", config.data.slices.per_patient]] if config.data.slices else []),
        ]
    )


def _start(config: RunConfig) -> Start:
    start = start_of(config)
    assert start is not None  # for the type checker: freeze: all needs weights
    return start


def _compute(config: RunConfig, path: Path, data: Samples) -> torch.Tensor:
    began, start = time.perf_counter(), _start(config)
    say("", f"  {config.name}: {len(data.table)} {data.unit} are embedded by the frozen encoder")
    network, record = started_network(config, start, data.images.dtype == torch.uint8)
    vectors = _embedded(with_sides(config, network), config, data)
    write_embeddings(path, data.table, vectors)
    write_json(path.with_suffix(".json"), record | {"exams": len(vectors), "numbers": vectors.shape[1]})
    seconds = time.perf_counter() - began
    say("", f"  {config.name}: {loaded_text(record)}")
    grid, expected = data.grid[::-1], start.card.grid if start.card else None
    if expected and grid != expected:
        say("", f"  {config.name}: given {grid} voxels, trained on {expected}: positions are interpolated")
    say(
        "",
        f"  {config.name}: {len(vectors)} {data.unit} embedded in {duration(seconds)}, {vectors.shape[1]} numbers each",
    )
    return vectors


def _embedded(network: Any, config: RunConfig, images: Samples) -> torch.Tensor:
    device = Fabric(accelerator=config.train.device, devices=1).device
    return embed(network.to(device), images, config.data.batch_size, config.train.precision)
