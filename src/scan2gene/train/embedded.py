"""A cohort's embeddings by a frozen encoder: computed once, kept in the run directory."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from scan2gene.core.console import say
from scan2gene.core.files import value_hash, write_json
from scan2gene.core.rundir import StoreDirectory
from scan2gene.core.section import version_of
from scan2gene.core.text import duration
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Samples, sampling_of
from scan2gene.forward.embed import embed, read_embeddings, write_embeddings
from scan2gene.models import MODELS
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig
from scan2gene.train.networks import left_right, load_network, with_sides
from scan2gene.train.start import Start, start_of, started_network, told

VERSION = 1  # raised when embeddings are computed differently


def embedded_cohort(
    config: RunConfig, folder: Path, store: Path, cohort: pd.DataFrame, labels: pd.DataFrame
) -> Samples:
    """The cohort with embeddings (N, F) in place of images, of every exam or of every slice.

    With sides they are the left half's and then the right half's.

    Args:
        config: With `freeze: all`.
        folder: Where embeddings are kept, one file per encoder, recipe and roles.
        store: The prepared volumes; read only where embeddings are missing, a batch at a time.
        cohort: Rows of cohort.csv.
        labels: Long label table.
    """
    manifest = StoreDirectory(store).manifest.read()
    data = load_samples(store, manifest, cohort, labels, sampling_of(config), memory=0)  # images stay on disk
    path = folder / f"{embeddings_key(config, store)}.parquet"
    vectors = read_embeddings(path, data.table) if path.with_suffix(".json").exists() else None
    if vectors is None:
        vectors = _compute(config, path, data)
    return replace(data, images=vectors)


def embedded_by(fit: Fit, data: Samples) -> Samples:
    """Exams that are not of the cohort, embedded by the frozen encoder of a fit.

    Args:
        fit: With `freeze: all`.
        data: With images.

    Raises:
        WeightsError: The encoder's file is not there, or changed.
    """
    from lightning_fabric import Fabric

    config = fit.config
    device = Fabric(accelerator=config.train.device, devices=1).device
    network = load_network(fit).to(device)
    return replace(data, images=embed(network, data, config.data.batch_size, config.train.precision))


def keep_record(fit: Fit, folder: Path, store: Path) -> None:
    """Copy what the embeddings say of their encoder into a fit's weights.json."""
    fit.folder.weights.write(json.loads((folder / f"{embeddings_key(fit.config, store)}.json").read_text()))


def embeddings_key(config: RunConfig, store: Path) -> str:
    """Everything that decides the numbers; where they are computed does not.

    Args:
        config: With `freeze: all`.
        store: The prepared volumes.
    """
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
            StoreDirectory(store).manifest.hash(),
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
    from lightning_fabric import Fabric

    began, start = time.perf_counter(), _start(config)
    say("", f"  {config.name}: {len(data.table)} {data.unit} are embedded by the frozen encoder")
    network, record = started_network(config, start, data.images.dtype == torch.uint8)
    fabric = Fabric(accelerator=config.train.device, devices=1)
    network = with_sides(config, network)
    vectors = embed(network.to(fabric.device), data, config.data.batch_size, config.train.precision)
    write_embeddings(path, data.table, vectors)
    write_json(path.with_suffix(".json"), record | {"exams": len(vectors), "numbers": vectors.shape[1]})
    seconds = time.perf_counter() - began
    say("", f"  {config.name}: {told(record)}")
    grid, expected = data.grid[::-1], start.card.grid if start.card else None
    if expected and grid != expected:
        say("", f"  {config.name}: given {grid} voxels, trained on {expected}: positions are interpolated")
    say(
        "",
        f"  {config.name}: {len(vectors)} {data.unit} embedded in {duration(seconds)}, {vectors.shape[1]} numbers each",
    )
    return vectors
