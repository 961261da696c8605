"""Predictions of new exams by models on tables: features of their images, and what is known of the patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from scan2gene.cohorts.feature_table import joined_to_exams, read_feature_table
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.unlabelled import HIDDEN_REASON, Found
from scan2gene.commands.predict_exams import prediction_table, without_roles
from scan2gene.core.errors import RunError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study_features import Features
from scan2gene.core.tables import EXCLUSION_COLUMNS
from scan2gene.core.text import listed
from scan2gene.imaging.rows import SERIES_COLUMNS
from scan2gene.preprocess.recipe import roles_seen
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

FAR = 5.0  # standard deviations from the training mean
MOST_FAR = 0.1  # share of an exam's numbers that may lie so far


def exams_of_tables(tables: Mapping[str, Features], out: RunDirectory) -> Found:
    """New exams of a study without scans: one for each patient whom a table of features has."""
    flow = Flow()
    numbers = [read_feature_table(block, name, flow=flow) for name, block in tables.items()]
    patients = sorted({str(patient) for table in numbers for patient in table.index})
    exams = pd.DataFrame({"patient_id": patients, "exam_id": patients})
    series = pd.DataFrame(columns=list(SERIES_COLUMNS), dtype=str)
    out.series.write(series)
    out.exclusions.write(pd.DataFrame(flow.exclusions, columns=list(EXCLUSION_COLUMNS)))
    return Found(exams, series, {}, {}, exams.assign(site=None))


def features_of_exams(
    configs: Sequence[RunConfig], found: Found, out: RunDirectory, brought: Mapping[str, Features],
    trained: RunDirectory,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Tables of features that the runs read, of the new exams; each exam is read once.

    Args:
        configs: The runs.
        found: The new exams.
        out: Keeps the tables.
        brought: Tables that come with the new exams, by the names that they have in the run's study.
        trained: The run, whose columns of such tables are read.

    Raises:
        RunError: Such a table lacks a column that the run has.
    """
    from scan2gene.features.compute import Wanted, compute

    names = list(dict.fromkeys(n for config in configs for n in config.model.options.get("features", ())))
    if not names or not len(found.exams):
        return {n: pd.DataFrame(columns=["patient_id", "exam_id", "status", "reason"]) for n in names}
    config = configs[0]
    computed = [n for n in names if not config.features[n].table]
    wanted = [Wanted(n, config.features[n], config.cohort_roles) for n in computed]
    hide = (lambda _: HIDDEN_REASON) if found.hidden else str
    unfinished = out.unfinished_features.path
    tables = compute(wanted, found.exams, found.paths, unfinished, hide) if wanted else {}
    unfinished.unlink(missing_ok=True)
    for name in [n for n in names if n not in computed]:
        columns = list(trained.features(name).read().columns[4:])
        numbers = read_feature_table(brought[name].model_copy(update={"columns": []}), name)
        lacking = [column for column in columns if column not in numbers]
        if lacking:
            raise RunError(
                f"features.{name}: the table lacks numbers in {listed(lacking, most=5)}, which the run reads"
            )
        tables[name] = joined_to_exams(numbers[columns], found.exams, name)
    for name, table in tables.items():
        out.features(name).write(table)
    return tables


def predict_tables(
    fits: Sequence[Fit], found: Found, tables: Mapping[str, pd.DataFrame], clinical: pd.DataFrame, force: bool
) -> pd.DataFrame:
    """Rows of the fits of one run on one split, and of their ensemble.

    Args:
        fits: Of one run.
        found: The new exams.
        tables: Features by name.
        clinical: Numbers by patient_id; a patient or column that is not there is not known.
        force: Predict also exams whose numbers are far from those of training.
    """
    from scan2gene.learners.tabular import load, predict, samples_of

    fits = [replace(fit.as_chosen(), parts=dict.fromkeys(found.listed["patient_id"], "apply")) for fit in fits]
    config = fits[0].config
    failed = without_roles(found.exams, roles_seen(config)) if tables else {}
    exams = found.listed.assign(date=None)
    for column in config.model.options.get("columns", ()):
        values = clinical[column] if column in clinical else pd.Series(dtype=float)
        exams[f"clinical:{column}"] = exams["patient_id"].map(values).astype(float)
        unknown = exams.loc[exams[f"clinical:{column}"].isna(), "exam_id"]
        reason = f"not available: {column} of the patient is not known; give --clinical TABLE"
        failed = dict.fromkeys(unknown, reason) | failed
    failed = dict(found.left_out) | failed
    ready = exams[~exams["exam_id"].isin(failed)].reset_index(drop=True)
    data = samples_of(config, ready, np.full((len(ready), len(config.output_names)), np.nan), dict(tables))
    failed |= data.failed
    ids, logits = data.table["exam_id"], []
    for fit in fits:
        logits.append({"original": dict(zip(ids, predict(fit, data).logits["original"], strict=True))})
    shares = np.mean([_share_far(load(fit), data.vectors.numpy()) for fit in fits], axis=0)
    against = {
        exam: f"{share:.0%} of its numbers are more than {FAR:g} standard deviations from training exams"
        for exam, share in zip(ids, shares, strict=True) if share > MOST_FAR
    }  # fmt: skip
    refused = {} if force else against
    if refused:
        logits = [{"original": {e: v for e, v in each["original"].items() if e not in refused}} for each in logits]
    return prediction_table(fits, found.listed, logits, refused, failed, against)


def _share_far(model: object, values: np.ndarray) -> np.ndarray:
    """(N,) share of each row's numbers that lie far from those of training rows."""
    if isinstance(model, dict):
        mean, spread = np.array(model["mean"]), np.array(model["spread"])
    else:
        mean, spread = model.mean, model.spread  # type: ignore[attr-defined]
    used = spread > 0
    with np.errstate(invalid="ignore"):
        return (np.abs(values[:, used] - mean[used]) > FAR * spread[used]).mean(axis=1)
