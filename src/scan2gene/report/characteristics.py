"""Who the patients are, as the first table of a paper has it: over all, by class, and by part of a single split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from scan2gene.core.text import counted, percent, quartiles
from scan2gene.report.inputs import Inputs
from scan2gene.report.methods_data import MIN_NAMED_PATIENTS
from scan2gene.tasks.outputs import question

MOST_TARGETS = 3  # columns beyond fit no paper
MOST_VALUES = 6
SEX = "Sex in the header"
COLUMNS = ("characteristic", "value", "group", "n", "known", "text")


def characteristics(inputs: Inputs) -> dict[str, Any]:
    """Groups of patients, and a row for each characteristic with a cell for each group.

    Returns:
        `groups`: (name, patients); `rows`: (characteristic, value, cells of (n, known, text)); a number is a
        median with quartiles, a word a count with its share of the patients in whom it is known.
    """
    table = _table(inputs)
    groups = list(_groups(inputs))
    rows: list[tuple[str, str, list[tuple[int, int, str]]]] = []
    for name in table.columns:
        column = table[name]
        numbers = pd.to_numeric(column, errors="coerce")
        if name.startswith("clinical:"):
            shown = inputs.hide(name.removeprefix("clinical:"))
            if set(numbers.dropna()) == {0, 1}:
                rows.append((shown, "1", [_share(numbers.reindex(ids), lambda v: v == 1) for _, ids in groups]))
            else:
                rows.append((shown, "", [_quartiles(numbers.reindex(ids)) for _, ids in groups]))
            continue
        patients = column.dropna().value_counts()
        common = list(patients.index[patients >= MIN_NAMED_PATIENTS][:MOST_VALUES])
        for value in common:
            cells = [_share(column.reindex(ids), lambda v, word=value: v == word) for _, ids in groups]
            rows.append((name, inputs.hide(str(value)), cells))
        if len(common) < len(patients):
            rest = set(patients.index) - set(common)
            cells = [_share(column.reindex(ids), lambda v, words=rest: v.isin(words)) for _, ids in groups]
            rows.append((name, counted(len(rest), "other"), cells))
    return {"groups": [(name, len(ids)) for name, ids in groups], "rows": rows}


def long_rows(found: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A row for each cell, for programs; columns `COLUMNS`."""
    return [
        (name, value, group, *cell)
        for name, value, cells in found["rows"]
        for (group, _), cell in zip(found["groups"], cells, strict=True)
    ]


def _table(inputs: Inputs) -> pd.DataFrame:
    """patient_id x what is known of a patient and may stand in a paper."""
    patients = inputs.cohort.drop_duplicates("patient_id").set_index("patient_id")
    found = {c: patients[c] for c in patients if str(c).startswith("clinical:")}
    series = inputs.used_series().drop_duplicates("patient_id").set_index("patient_id")
    for name, column in ((SEX, "PatientSex"), ("Manufacturer", "Manufacturer"),
                         ("Field strength (T)", "MagneticFieldStrength")):  # fmt: skip
        if column in series and series[column].notna().any():
            found[name] = series[column].reindex(patients.index)
    if SEX in found:  # free text elsewhere in the world
        found[SEX] = found[SEX].where(found[SEX].isin(["F", "M", "O"]))
    if patients["site"].notna().any():
        found["Site"] = patients["site"]
    return pd.DataFrame(found, index=patients.index)


def _groups(inputs: Inputs) -> Iterator[tuple[str, pd.Index]]:
    wide = inputs.wide_labels()
    yield "all", wide.index
    for target, settings in list(inputs.study.targets.items())[:MOST_TARGETS]:
        for label in settings.classes:
            yield f"{target} {label}", wide.index[wide[question(target, label)] == 1]
        for name, value in () if settings.classes else (("positive", 1), ("negative", 0)):
            yield f"{target} {name}", wide.index[wide[target] == value]
    splits = inputs.study.splits
    if len(splits) == 1 and len(inputs.folds(splits[0].name)) == 1:
        for name, part in (("training", "train"), ("validation", "validation"), ("test", "test")):
            people = pd.Index(inputs.split.loc[inputs.split["part"] == part, "patient_id"].unique())
            if len(people):
                yield name, people


def _quartiles(values: pd.Series) -> tuple[int, int, str]:
    known = values.dropna()
    return len(known), len(known), quartiles(known) or "unknown"


def _share(values: pd.Series, hit: Callable[..., pd.Series]) -> tuple[int, int, str]:
    known = values.dropna()
    n = int(hit(known).sum())
    return n, len(known), f"{n:,} ({percent(n / len(known))})" if len(known) else "unknown"
