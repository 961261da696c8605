"""Models on columns of cohort.csv, such as age: classical baselines that see no images."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.section import unknown_name
from scan2gene.data.samples import Samples
from scan2gene.evaluate.stability import Features
from scan2gene.forward.logits import NetworkOutput
from scan2gene.radiomics.clinical import CLASSICAL, clinical_columns, clinical_logits
from scan2gene.stats.linear import logistic_scores
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import output_values
from scan2gene.tasks.run_config import RunConfig

MODELS, TRAINS_ON_IMAGES = CLASSICAL, False


def check(config: RunConfig) -> None:
    """Refuse columns that do not exist, and splits by slice.

    Raises:
        StudyError: With the valid names.
    """
    place = f"run {config.name}"
    if config.weights is not None:
        raise StudyError(f"{place}: model {config.model.name} has no weights to start from")
    if config.is_leaky:
        raise StudyError(f"{place}: model {config.model.name} sees patients, and a split of the study slices")
    columns = config.model.options.get("columns")
    if not columns:
        raise StudyError(f"{place}: model {config.model.name} needs options.columns, out of {list(config.clinical)}")
    for column in columns:
        if column not in config.clinical:
            raise StudyError(f"{place}: column {unknown_name(column, config.clinical)} See cohort.clinical.")


def samples_of(config: RunConfig, cohort: pd.DataFrame, targets: np.ndarray) -> Samples:
    """The model's columns (N, C) in place of images.

    Args:
        config: Of the run.
        cohort: N rows of cohort.csv.
        targets: (N, T), NaN where unknown.
    """
    values = torch.from_numpy(clinical_columns(cohort, config.model.options["columns"]))
    return Samples(
        cohort, values, torch.ones(len(cohort), 1), torch.from_numpy(targets), {}, tuple(config.output_names)
    )


def data_key(config: RunConfig, out: RunDirectory) -> Hashable:
    """None: it is read in no time."""
    return None


def data(config: RunConfig, out: RunDirectory) -> Samples:
    """Columns of the whole cohort."""
    cohort = out.cohort.read()
    return samples_of(config, cohort, output_values(out.labels.read(), cohort["patient_id"], config.outputs))


def fit(fit: Fit, data: Samples, train: np.ndarray, validation: np.ndarray) -> None:
    """Fit the model on training rows; nothing is chosen on the validation part."""
    model, targets = fit.config.model, data.targets.numpy()[train]
    values = data.vectors.numpy()[train]
    fit.folder.model.write(CLASSICAL[model.name](values, targets, fit.config.outputs, **model.options))


def predict(fit: Fit, data: Samples) -> NetworkOutput:
    """Logits of every row."""
    return NetworkOutput({"original": clinical_logits(load(fit), data.vectors.numpy())})


def load(fit: Fit) -> dict[str, Any]:
    """The model's numbers, for `clinical_logits`."""
    return fit.folder.model.read()


def describe(fit: Fit, out: RunDirectory) -> dict[str, int]:
    """A slope for each column and an intercept, of each output."""
    numbers = (len(fit.config.model.options["columns"]) + 1) * len(fit.config.output_names)
    return {"parameters": numbers, "trained": numbers}


def refit(config: RunConfig, out: RunDirectory) -> Features:
    """The same model on the same columns."""
    options = config.model.options

    def read(split: str) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        cohort, table = out.cohort.read(), out.split.read()
        values, patients = clinical_columns(cohort, options["columns"]), cohort["patient_id"].to_numpy()
        folds = table.loc[table["split"] == split, ["repeat", "fold"]].drop_duplicates()
        for repeat, fold in folds.itertuples(index=False, name=None):
            yield int(repeat), int(fold), patients, values

    without = ", without its harmonisation" if config.data.harmonise else ""
    again = partial(logistic_scores, strength=float(options.get("strength", 1.0)))
    return Features(f"the model itself, fitted again{without}", again, read)


def prepare(fit: Fit, images: Samples, kept: dict[str, Samples]) -> Samples:
    """Never of use: new exams have no columns, and `apply` leaves such runs out."""
    return images
