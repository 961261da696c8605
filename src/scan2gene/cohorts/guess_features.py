"""Guess how tables of features fit a label table: which column holds patients, and which columns are no features."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.draft_text import scalar, study_name, unique
from scan2gene.cohorts.feature_table import FEWEST, identity, read_cells, read_feature_table, row_numbers
from scan2gene.cohorts.guess_columns import DATE, doubts_of, guess_age, guess_sex, guess_site, plain
from scan2gene.cohorts.guess_ids import PatientGuess, guess_patients
from scan2gene.cohorts.ids import near_ids
from scan2gene.cohorts.seen import Seen, label_sheets, with_patient_ids
from scan2gene.core.errors import CohortError
from scan2gene.core.study_features import Features
from scan2gene.core.text import counted, listed
from scan2gene.imaging.rows import SERIES_COLUMNS

_FRACTION = r"-?\d*[.,]\d*[1-9]\d*(?:[eE][-+]?\d+)?"
_ID = re.compile(r"(?<![a-z])(id|ids|pid|mrn|patient\w*|subject\w*|case|participant|proband|name)(?![a-z])|^$")
_REPEATED = 0.5  # of the rows: a column of ids repeats less
_FEW_VALUES = 2  # of a column that may be a label
_SHOWN = 3  # features that a comment names


@dataclass(frozen=True)
class TableGuess:
    """A table of features in a drafted study.

    Args:
        name: Of the features.
        block: As the study file has it.
        seen: A comment: whom it holds, and which numbers.
        warnings: What a person must look at.
    """

    name: str
    block: Features
    seen: str
    warnings: tuple[str, ...]


def look_at_tables(tables: Sequence[Path], labels: Path, wanted: Sequence[str] = ()) -> Seen:
    """As `look`, of tables of features in place of scans: patients are the rows that a label table has too.

    Raises:
        CohortError: A table cannot be read, or no two patients are in both.
    """
    cells = [read_cells(table) for table in tables]
    mutations, sheets = label_sheets(labels, wanted)
    found = [(guess, table, sheet) for table, sheet in sheets if (guess := _in_both(cells[0], table))]
    if not found:
        raise CohortError(_no_column(tables[0], cells[0], labels, sheets[0][0]))
    best = max(found, key=lambda f: f[0].found)
    patients, table, sheet = best
    table = with_patient_ids(table, patients)
    listed_ids = set(table[patients.column])
    everyone = set().union(*(_ids(rows)[_id_column(rows, listed_ids)] for rows in cells)) - {""}
    in_both = sorted(everyone & set(table[patients.column]))
    told = f"{len(in_both)} of {len(everyone)} patients with features are in this table"
    missing = sorted(everyone - set(in_both))
    lines = [told, *([f"not in the table: {listed(missing, most=5)}"] if missing else []), *patients.told[1:]]
    patients = replace(patients, found=len(in_both), scanned=len(everyone), told=tuple(lines))
    series = pd.DataFrame(columns=list(SERIES_COLUMNS), dtype=str)
    return Seen(series, 0, table, sheet, patients, tuple(in_both), (), mutations)


def guess_tables(
    tables: Sequence[Path], labels: Path, seen: Seen, targets: Sequence[str], relative: Sequence[str]
) -> list[TableGuess]:
    """Each table of features as the study file has it.

    Args:
        tables: The files.
        labels: The label table, whose columns are no features.
        seen: From `look` or `look_at_tables`.
        targets: Columns to predict.
        relative: Paths of the tables, as the study file writes them.

    Raises:
        CohortError: As `read_feature_table`, or a table has no two of the labelled patients.
    """
    names = unique(study_name(table.stem, "features") for table in tables)
    return [
        _table(path, name, shown, labels, seen, targets)
        for path, name, shown in zip(tables, names, relative, strict=True)
    ]


def _table(path: Path, name: str, shown: str, labels: Path, seen: Seen, targets: Sequence[str]) -> TableGuess:
    rows = read_cells(path)
    column = _id_column(rows, set(seen.table[seen.patients.column]))
    here = set(rows[column].map(identity)) & set(seen.scanned)
    if len(here) < 2:
        raise CohortError(_no_column(path, rows, labels, seen.table))
    block = Features(table=str(path), patient_column=column)
    numbers = read_feature_table(block, name)
    clinical = {c for c in (guess_age(seen.table, targets)[0], guess_sex(seen.table)[0]) if c}
    none = _no_features(numbers, seen, {*targets, *clinical}, whole=path.resolve() == labels.resolve())
    kept = [c for c in numbers if c not in none]
    if not kept:
        raise CohortError(f"{path.name} has no column of numbers that the label table lacks")
    beyond = [c for c in none if c.lower() not in {t.lower() for t in (*targets, *clinical)}]
    block = block.model_copy(update={"table": shown, "columns": kept if beyond else []})
    told = f"{len(here)} of {len(rows)} patients; {counted(len(kept), 'number')} such as {listed(kept[:_SHOWN])}"
    warnings = []
    if beyond:
        warnings.append(f"{path.name}: columns that the label table has too are no features: {listed(beyond, most=12)}")
    known = numbers.loc[numbers.index.isin(here), kept]
    few = list(known.columns[(known.nunique() == _FEW_VALUES) & (known.notna().sum() >= FEWEST)])
    if few:
        warnings.append(
            f"{path.name}: columns with two values may be labels rather than features: {listed(few, most=12)}. Where "
            f"they are, name the features in features.{name}.columns"
        )
    return TableGuess(name, block, told, tuple(warnings))


def table_lines(guess: TableGuess) -> list[str]:
    """A table of features in the study file."""
    block = guess.block
    keys = [f"table: {scalar(str(block.table))}"]
    if block.patient_column != "patient_id":
        keys.append(f"patient_column: {scalar(block.patient_column)}")
    lines = [f"  {scalar(guess.name)}: {{{', '.join(keys)}}}   # {guess.seen}"]
    if block.columns:
        named = ", ".join(map(scalar, block.columns))
        keys.append(f"columns: [{named}]")
        lines = [f"  {scalar(guess.name)}:   # {guess.seen}", *(f"    {key}" for key in keys)]
    return [*(f"  # WARNING: {text}" for text in guess.warnings), *lines]


def _no_features(numbers: pd.DataFrame, seen: Seen, labels: Collection[str], whole: bool) -> list[str]:
    """Columns of numbers that the label table has too; of a table that is the label table (`whole`), what looks so."""
    counting = row_numbers(numbers)
    if not whole:
        shared = {c.lower() for c in seen.table.columns}
        return [c for c in numbers if c.lower() in shared or c in counting]
    site = guess_site(seen.table, seen.patients.column, seen.scanned)
    named = {c.lower() for c in (*labels, *(site or ())[:1])}
    return [
        c for c in numbers
        if c.lower() in named or c in counting or doubts_of(c, set()) or DATE.search(plain(c))
        or numbers[c].nunique() == _FEW_VALUES
    ]  # fmt: skip


def _ids(rows: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns that may hold ids, as text: those without fractions."""
    return {c: rows[c].map(identity) for c in rows.columns if not (rows[c].astype(str).str.fullmatch(_FRACTION)).any()}


def _in_both(rows: pd.DataFrame, table: pd.DataFrame) -> PatientGuess | None:
    """The column of a label table that has most patients in common with a column of a table of features.

    Ages and counts agree by chance, so that a column with letters, without repetitions or called an id goes first.
    """
    best: tuple[tuple, PatientGuess] | None = None
    for column, ids in _ids(rows).items():
        filled = ids[ids != ""]
        if len(filled) < 2 or filled.duplicated().mean() > _REPEATED:
            continue
        guess = guess_patients(pd.DataFrame({"patient_id": ids, "format": "dicom"}), [""] * len(rows), table)
        letters = filled.str.contains(r"[^\W\d_]", regex=True).mean() > _REPEATED
        rank = (letters, not filled.duplicated().any(), bool(_ID.search(plain(column))), guess.found if guess else 0)
        if guess and (best is None or rank > best[0]):
            best = rank, guess
    return best and best[1]


def _id_column(rows: pd.DataFrame, ids: Collection[str]) -> str:
    """The column that holds most of the ids."""
    columns = _ids(rows)
    return max(columns, key=lambda column: len(set(columns[column]) & set(ids)), default=rows.columns[0])


def _no_column(path: Path, rows: pd.DataFrame, labels: Path, table: pd.DataFrame) -> str:
    """That no patient is in both tables, and which ids are nearly the same."""
    head = f"no column of {labels.name} holds ids of two patients of {path.name}"
    for column, ids in _ids(rows).items():
        for other in (c for c in table.columns if c):
            near = near_ids(set(ids) - {""}, set(table[other]) - {""})
            if len(near) >= 2:
                mine, (theirs, what) = next(iter(near.items()))
                return (
                    f"{head}. Column {column} of {path.name} and column {other} of {labels.name} differ in {what} "
                    f"alone, such as {mine!r} and {theirs!r}: write them alike."
                )
    first = str(rows.iloc[0, 0]) if len(rows) else ""
    columns = listed([c for c in table.columns if c], most=12)
    return f"{head}, which begins with {first!r}. The label table has the columns {columns}."
