"""Models on tables: columns of cohort.csv such as age, and features of the exams."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.section import unknown_name
from scan2gene.data.samples import Samples
from scan2gene.evaluate.stability import Features
from scan2gene.forward.logits import NetworkOutput
from scan2gene.learners.clinical import clinical, clinical_columns, fit_clinical, linear_logits
from scan2gene.learners.feature_rows import numbers_of
from scan2gene.stats.linear import logistic_scores, ridge_scores
from scan2gene.stats.table_models import MODELS as TABLE_MODELS
from scan2gene.stats.table_models import SINGLE, TableModel, fit_table_model, inner_folds
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import Output, output_values
from scan2gene.tasks.run_config import RunConfig

MODELS: dict[str, Callable[..., Any]] = {"clinical": clinical, **TABLE_MODELS}
TRAINS_ON_IMAGES = False
TRUSTED = ["sklearn.tree._tree.Tree"]  # beside what skops trusts: arrays without code


def check(config: RunConfig) -> None:
    """Refuse columns and features that do not exist, and splits by slice.

    Raises:
        StudyError: With the valid names.
    """
    place, options = f"run {config.name}", config.model.options
    if config.weights is not None:
        raise StudyError(f"{place}: model {config.model.name} has no weights to start from")
    if config.is_leaky:
        raise StudyError(f"{place}: model {config.model.name} sees patients, and a split of the study slices")
    if not options.get("columns") and not options.get("features"):
        needs = "options.columns" if config.model.name == "clinical" else "options.features or options.columns"
        valid = list(config.clinical) if config.model.name == "clinical" else [*config.features, *config.clinical]
        raise StudyError(f"{place}: model {config.model.name} needs {needs}, out of {valid}")
    for column in options.get("columns", ()):
        if column not in config.clinical:
            raise StudyError(f"{place}: column {unknown_name(column, config.clinical)} See cohort.clinical.")
    for name in options.get("features", ()):
        if name not in config.features:
            raise StudyError(f"{place}: features {unknown_name(name, config.features)}")
    for name in options.get("models", ()):
        if name not in SINGLE:
            raise StudyError(f"{place}: models {unknown_name(name, SINGLE)}")


def table_of(config: RunConfig, cohort: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> tuple[list[str], np.ndarray]:
    """Names of a model's columns, and their numbers (N, F) for the rows of a cohort; NaN where missing.

    Args:
        config: Of the run.
        cohort: N rows of cohort.csv.
        tables: Features by name; see `features.compute`.
    """
    columns, blocks = config.model.options.get("columns", ()), config.model.options.get("features", ())
    names, values = list(columns), []
    if columns:
        values.append(clinical_columns(cohort, columns))
    for block in blocks:
        numbers = numbers_of(tables[block]).reindex(cohort["exam_id"])
        names += [f"{block}:{name}" for name in numbers.columns]
        values.append(numbers.to_numpy(float))
    return names, np.concatenate(values, axis=1)


def samples_of(
    config: RunConfig, cohort: pd.DataFrame, targets: np.ndarray, tables: dict[str, pd.DataFrame]
) -> Samples:
    """The model's columns (N, F) in place of images, of the exams that have every table.

    Args:
        config: Of the run.
        cohort: Rows of cohort.csv.
        targets: (N, T), NaN where unknown.
        tables: Features by name.
    """
    failed: dict[str, str] = {}
    for block in config.model.options.get("features", ()):
        bad = tables[block][tables[block]["status"] != "ok"]
        failed |= dict(zip(bad["exam_id"], bad["reason"], strict=True))
        without = set(cohort["exam_id"]) - set(tables[block]["exam_id"])
        failed |= dict.fromkeys(without, f"no row in the features {block}")
    kept = ~cohort["exam_id"].isin(failed).to_numpy()
    cohort = cohort[kept].reset_index(drop=True)
    columns, values = table_of(config, cohort, tables)
    answers, present = torch.from_numpy(targets[kept]), torch.ones(len(cohort), 1)
    return Samples(
        cohort, torch.from_numpy(values), present, answers, failed, tuple(config.output_names), columns=tuple(columns)
    )


def feature_tables(config: RunConfig, out: RunDirectory) -> dict[str, pd.DataFrame]:
    """The features that a run reads."""
    return {name: out.features(name).read() for name in config.model.options.get("features", ())}


def data_key(config: RunConfig, out: RunDirectory) -> Hashable:
    """None: it is read in no time."""
    return None


def data(config: RunConfig, out: RunDirectory) -> Samples:
    """The numbers of the whole cohort."""
    cohort = out.cohort.read()
    targets = output_values(out.labels.read(), cohort["patient_id"], config.outputs)
    return samples_of(config, cohort, targets, feature_tables(config, out))


def fit(fit: Fit, data: Samples, train: np.ndarray, validation: np.ndarray) -> None:
    """Fit the model on training rows; nothing is chosen on the validation part."""
    rows = data.table.iloc[train]
    table = Table(data.vectors.numpy()[train], data.targets.numpy()[train], rows["patient_id"].to_numpy(), data.columns)
    scores = (_fit_clinical if fit.config.model.name == "clinical" else _fit_table_model)(fit, table)
    scores = pd.DataFrame(scores, columns=fit.config.output_names)
    fit.folder.inner.write(pd.concat([rows[["exam_id"]].reset_index(drop=True), scores], axis=1))


@dataclass(frozen=True)
class Table:
    """Training rows: numbers (N, F), what each output should say (N, T), patient ids (N,), and names of the numbers."""

    values: np.ndarray
    targets: np.ndarray
    patients: np.ndarray
    columns: tuple[str, ...]


def _fit_clinical(fit: Fit, table: Table) -> np.ndarray:
    """Write the model; log odds (N, T) of training rows by inner folds without them."""
    strength = float(fit.config.model.options.get("strength", 1.0))
    fitted = partial(fit_clinical, columns=table.columns, strength=strength)
    fit.folder.model.write(fitted(table.values, table.targets, fit.config.outputs))
    scores, start = np.full(table.targets.shape, np.nan), 0
    for output in fit.config.outputs:
        columns = slice(start, start := start + len(output.names))
        rows = np.flatnonzero(~np.isnan(table.targets[:, columns]).any(axis=1))
        values, targets = table.values[rows], table.targets[rows, columns]
        classes = targets.argmax(axis=1) if len(output.names) > 1 else targets[:, 0]
        level = linear_logits(fitted(values, targets, [output]), values).mean(axis=0)
        for learn, left_out in inner_folds(classes, table.patients[rows], fit.seed):
            logits = linear_logits(fitted(values[learn], targets[learn], [output]), values)
            # where more positives were left out, the intercept is lower: scores are taken from the model's own mean
            scores[rows[left_out], columns] = level + logits[left_out] - logits[learn].mean(axis=0)
    return scores


def _fit_table_model(fit: Fit, table: Table) -> np.ndarray:
    """As `_fit_clinical`."""
    import skops.io

    estimators = MODELS[fit.config.model.name](fit.seed, **fit.config.model.options)
    model, scores = fit_table_model(table.values, table.targets, table.patients, estimators, fit.seed)
    numbers = {k: np.asarray(v).tolist() for k, v in vars(model).items() if k not in ("fitted", "placed")}
    fit.folder.model.write({"columns": table.columns, "placed": model.placed, **numbers})
    fit.folder.estimators.path.write_bytes(skops.io.dumps(model.fitted, compression=ZIP_DEFLATED))
    return of_classes(scores, fit.config.outputs)


def predict(fit: Fit, data: Samples) -> NetworkOutput:
    """Logits of every row."""
    model, values = load(fit), data.vectors.numpy()
    if not isinstance(model, TableModel):
        return NetworkOutput({"original": linear_logits(model, values)})
    return NetworkOutput({"original": of_classes(model.logits(values), fit.config.outputs)})


def of_classes(logits: np.ndarray, outputs: Sequence[Output]) -> np.ndarray:
    """Logits (N, T) of each class against the rest -> those of a softmax, whose shares follow their probabilities."""
    from scipy.special import log_expit

    softmax = [output.kind.loss == "cross_entropy" for output in outputs for _ in output.names]
    return np.where(softmax, log_expit(logits), logits)


def load(fit: Fit) -> dict[str, Any] | TableModel:
    """The fitted model; a clinical one as the numbers of `fit_clinical`.

    Raises:
        WeightsError: The file holds what no model of this product does.
    """
    kept = fit.folder.model.read()
    if "slopes" in kept:
        return kept
    import skops.io

    content = fit.folder.estimators.path.read_bytes()
    try:
        strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))
    except Exception as error:  # of a damaged file, of many kinds
        raise WeightsError(f"{fit.folder.estimators.path} cannot be read: {error}") from error
    if strange:
        raise WeightsError(f"{fit.folder.estimators.path} holds {strange[0]}, which no model of scan2gene does")
    arrays = {name: np.array(kept[name]) for name in ("median", "mean", "spread", "kept", "line")}
    placed = [{name: (at, width) for name, (at, width) in column.items()} for column in kept["placed"]]
    return TableModel(**arrays, fitted=skops.io.loads(content, trusted=TRUSTED), placed=placed)


def describe(fit: Fit, out: RunDirectory) -> dict[str, int]:
    """Slopes and intercepts of a linear model; of others the number of columns that they use, for each output."""
    kept = fit.folder.model.read()
    numbers = (len(kept.get("kept", kept["columns"])) + 1) * len(fit.config.output_names)
    return {"parameters": numbers, "trained": numbers}


def refit(config: RunConfig, out: RunDirectory) -> Features:
    """The same model on the same columns, or ridge regression on them where the model takes long."""

    def read(split: str) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        table, samples = out.split.read(), data(config, out)
        values, patients = samples.vectors.numpy(), samples.table["patient_id"].to_numpy()
        folds = table.loc[table["split"] == split, ["repeat", "fold"]].drop_duplicates()
        for repeat, fold in folds.itertuples(index=False, name=None):
            yield int(repeat), int(fold), patients, values

    without = ", without its harmonisation" if config.data.harmonise else ""
    if config.model.name != "clinical":
        return Features(f"ridge regression on the same table{without}", ridge_scores, read)
    again = partial(logistic_scores, strength=float(config.model.options.get("strength", 1.0)))
    return Features(f"the model itself, fitted again{without}", again, read)


def prepare(fit: Fit, images: Samples, kept: dict[str, Samples]) -> Samples:
    """Never of use: new exams come as features, see `samples_of`."""
    return images
