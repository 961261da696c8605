"""Tables of features, computed from the scans or read from the study's own files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.cohorts.clinical_values import of_table
from scan2gene.cohorts.feature_table import (
    FEWEST,
    VERSION,
    copies_of_labels,
    joined_to_exams,
    read_feature_table,
    row_numbers,
)
from scan2gene.core.console import say
from scan2gene.core.errors import CohortError
from scan2gene.core.files import file_hash
from scan2gene.core.study import Study
from scan2gene.stages.job import Job, stage_key


def compute_features(job: Job) -> str:
    """Write features/<name>.parquet of every table that a run reads: ids, status, reason and numbers of each exam."""
    from scan2gene.features.compute import compute

    names = read_by_runs(job)
    if not names:
        return "no run reads features"
    brought = [name for name in names if job.study.features[name].table]
    for name in brought:
        _read_own(job, name)
    wanted, scans = [], (job.out.stamp("index") or {}).get("key")
    for want in wanted_tables(job.study, [name for name in names if name not in brought]):
        key = stage_key("features", table=want.key, cohort=job.out.cohort.hash(), scans=scans)
        if not job.is_done(f"features/{want.name}", key):
            wanted.append((want, key))
    if wanted:
        unfinished = job.out.unfinished_features.path
        tables = compute(
            [w for w, _ in wanted], job.out.cohort.read(), job.paths(), unfinished, job.pseudonymiser or str
        )
        for want, key in wanted:
            file = job.out.features(want.name)
            file.write(tables[want.name])
            job.done(f"features/{want.name}", key, [file])
        unfinished.unlink(missing_ok=True)
    return "; ".join(_summary(name, job.out.features(name).read()) for name in names)


def read_by_runs(job: Job) -> list[str]:
    """Names of the features that a run reads, in the order of the study."""
    read = {name for config in job.configs for name in config.model.options.get("features", ())}
    return [name for name in job.study.features if name in read]


def wanted_tables(study: Study, names: list[str]) -> list:
    """What is to be computed of each exam."""
    from scan2gene.features.compute import Wanted

    return [Wanted(name, study.features[name], study.cohort.roles) for name in names]


def _read_own(job: Job, name: str) -> None:
    """Write a table of the study's own, joined to the exams by patient id."""
    block = job.study.features[name]
    key = stage_key(
        "features", table=file_hash(Path(str(block.table))), block=block.model_dump(exclude={"table"}), version=VERSION,
        cohort=job.out.cohort.hash(), labels=job.out.labels.hash(),
    )  # fmt: skip
    if job.is_done(f"features/{name}", key):
        return
    numbers = read_feature_table(block, name, label_columns(job.study), job.study.cohort.decimal)
    numbers = without_leaks(job, name, numbers)
    table = joined_to_exams(numbers, job.out.cohort.read(), name)
    job.out.features(name).write(table)
    job.done(f"features/{name}", key, [job.out.features(name)])


def without_leaks(job: Job, name: str, numbers: pd.DataFrame) -> pd.DataFrame:
    """A study's own table, ids as the run shows them, without columns that tell a label by themselves.

    Raises:
        CohortError: The study names such a column as a feature.
    """
    study, why = job.study, dict.fromkeys(row_numbers(numbers), "it counts the rows of the table")
    named = [c for c in study.features[name].columns if c.lower() in target_columns(study)]
    why |= dict.fromkeys(named, "it is what is to be predicted")
    copies = copies_of_numbers(study, numbers)
    if job.pseudonymiser:
        numbers = numbers.set_axis(job.pseudonymiser.shown(numbers.index.to_series(), "patient_id"))
    copies |= copies_of_labels(numbers, job.out.labels.read())
    why |= {column: f"its values stand one to one for the labels of {target}" for column, target in copies.items()}
    if why and study.features[name].columns:
        column, reason = next(iter(why.items()))
        raise CohortError(f"features.{name}: column {column} cannot be a feature: {reason}. Take it out of columns.")
    for column, reason in why.items():
        say("", f"  warning: features {name}: column {column} is left out: {reason}")
    if len(why) == numbers.shape[1]:
        raise CohortError(f"features.{name}: no column is left")
    return numbers.drop(columns=list(why))


def copies_of_numbers(study: Study, numbers: pd.DataFrame) -> dict[str, str]:
    """Column -> target, of columns that repeat the number which a target cuts in two."""
    cut = {name: target.column or name for name, target in study.targets.items() if target.above is not None}
    values = of_table(study.cohort, list(cut.values())) if cut else pd.DataFrame()
    copies: dict[str, str] = {}
    for name, column in cut.items():
        both = numbers.index.intersection(values.index)
        alike = np.isclose(numbers.loc[both], values.loc[both, [column]])
        copies |= dict.fromkeys(numbers.columns[alike.sum(axis=0) >= max(FEWEST, len(both) / 2)], name)
    return copies


def target_columns(study: Study) -> set[str]:
    """Columns of the label table that are to be predicted, in lower case."""
    named = [c for name, t in study.targets.items() for c in (name, t.column, t.left, t.right)]
    return {column.lower() for column in named if column}


def label_columns(study: Study) -> set[str]:
    """Columns of the label table that are no features, in lower case: the targets, and what was known before."""
    cohort = study.cohort
    named = [cohort.patient_column, cohort.side_column, cohort.site_column, *cohort.clinical]
    return target_columns(study) | {column.lower() for column in named if column}


def _summary(name: str, table: pd.DataFrame) -> str:
    failed = int((table["status"] != "ok").sum())
    return f"{name}: {table.shape[1] - 4} numbers of {len(table) - failed} exams" + (
        f", {failed} failed" if failed else ""
    )
