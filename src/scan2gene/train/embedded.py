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
from scan2gene.core.rundir import FitDirectory, StoreDirectory
from scan2gene.core.section import version_of
from scan2gene.core.study import Study, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.core.text import duration
from scan2gene.data.load import load_samples
from scan2gene.data.samples import Samples, sampling_of
from scan2gene.forward.embed import embed, read_embeddings, write_embeddings
from scan2gene.models import MODELS
from scan2gene.tasks.outputs import has_sides
from scan2gene.train.networks import left_right, load_network, with_sides
from scan2gene.train.start import Start, start_of, started_network, told

VERSION = 1  # raised when embeddings are computed differently


def embedded_cohort(
    folder: Path, store: Path, cohort: pd.DataFrame, labels: pd.DataFrame, view: Study, run: Run
) -> Samples:
    """The cohort with embeddings (N, F) in place of images, of every exam or of every slice.

    With sides they are the left half's and then the right half's.

    Args:
        folder: Where embeddings are kept, one file per encoder, recipe and roles.
        store: The prepared volumes; read only where embeddings are missing, a batch at a time.
        cohort: Rows of cohort.csv.
        labels: Long label table.
        view: As the run sees the study.
        run: With `freeze: all`.
    """
    manifest = StoreDirectory(store).manifest.read()
    data = load_samples(store, manifest, cohort, labels, sampling_of(view), memory=0)  # images stay on disk
    path = folder / f"{embeddings_key(store, view, run)}.parquet"
    vectors = read_embeddings(path, data.table) if path.with_suffix(".json").exists() else None
    if vectors is None:
        vectors = _compute(path, data, _start(view, run), view, run)
    return replace(data, images=vectors)


def embedded_by(view: Study, run: Run, fold: Path, data: Samples) -> Samples:
    """Exams that are not of the cohort, embedded by the frozen encoder of a fit.

    Args:
        view: As the run sees the study.
        run: With `freeze: all`.
        fold: Folder of the fit.
        data: With images.

    Raises:
        WeightsError: The encoder's file is not there, or changed.
    """
    from lightning_fabric import Fabric

    device = Fabric(accelerator=view.train.device, devices=1).device
    network = load_network(view, run, fold).to(device)
    return replace(data, images=embed(network, data, view.data.batch_size, view.train.precision))


def keep_record(folder: Path, store: Path, view: Study, run: Run, fold: Path) -> None:
    """Copy what the embeddings say of their encoder into a fit's weights.json."""
    record = folder / f"{embeddings_key(store, view, run)}.json"
    FitDirectory(fold).weights.write(json.loads(record.read_text()))


def embeddings_key(store: Path, view: Study, run: Run) -> str:
    """Everything that decides the numbers; where they are computed does not.

    Args:
        store: The prepared volumes.
        view: As the run sees the study.
        run: With `freeze: all`.
    """
    start = _start(view, run)
    options = {k: v for k, v in run.model.options.items() if k != "dropout"}
    channels = run.weights.channels if run.weights else None
    sides = list(left_right(view)) if has_sides(view) else []
    slices = [] if view.data.slices is None else [["slices", view.data.slices.per_patient]]
    return value_hash(
        [
            VERSION,
            version_of(MODELS[run.model.name]),
            run.model.name,
            options,
            start.sha256,
            start.options,
            channels,
            StoreDirectory(store).manifest.hash(),
            input_roles(view),
            sides,
            *slices,
        ]
    )


def _start(view: Study, run: Run) -> Start:
    start = start_of(view, run)
    assert start is not None  # for the type checker: freeze: all needs weights
    return start


def _compute(path: Path, data: Samples, start: Start, view: Study, run: Run) -> torch.Tensor:
    from lightning_fabric import Fabric

    began = time.perf_counter()
    say("", f"  {run.name}: {len(data.table)} {data.unit} are embedded by the frozen encoder")
    network, record = started_network(view, run, start, data.images.dtype == torch.uint8)
    fabric = Fabric(accelerator=view.train.device, devices=1)
    network = with_sides(view, network)
    vectors = embed(network.to(fabric.device), data, view.data.batch_size, view.train.precision)
    write_embeddings(path, data.table, vectors)
    write_json(path.with_suffix(".json"), record | {"exams": len(vectors), "numbers": vectors.shape[1]})
    seconds = time.perf_counter() - began
    say("", f"  {run.name}: {told(record)}")
    grid, expected = data.grid[::-1], start.card.grid if start.card else None
    if expected and grid != expected:
        say("", f"  {run.name}: given {grid} voxels, trained on {expected}: positions are interpolated")
    say(
        "", f"  {run.name}: {len(vectors)} {data.unit} embedded in {duration(seconds)}, {vectors.shape[1]} numbers each"
    )
    return vectors
