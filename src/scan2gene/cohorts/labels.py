"""What the cells of a label table mean: one long table of known values, numbers, ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from scan2gene.cohorts.cells import MISSING, SHOWN, canonical, decimal_mark, different, each, parse_number
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study import SIDES
from scan2gene.core.study_cohort import Target
from scan2gene.core.tables import LABEL_COLUMNS
from scan2gene.core.text import counted, listed

SEXES = {"f": 0, "female": 0, "w": 0, "woman": 0, "m": 1, "male": 1, "man": 1}
_GENES: dict[str, int | None] = {"1": 1, "0": 0, "": None}


def without_unknown(table: pd.DataFrame, unknown: Iterable[object]) -> pd.DataFrame:
    """The table with the cells emptied that mean "not known" in this table, such as Duke's NP."""
    meant = {canonical(value) for value in unknown}
    return table.apply(lambda cells: cells.mask(each(cells, canonical).isin(meant), "")) if meant else table


def target_labels(
    table: pd.DataFrame,
    patient_column: str,
    targets: Mapping[str, Target],
    source: str,
    sides: pd.Series | None = None,
    decimal: str | None = None,
) -> pd.DataFrame:
    """Known label values, one row per patient, side and target.

    Args:
        table: From `read_label_table`.
        patient_column: Column of patient ids.
        targets: Name -> which column or columns and which values.
        source: File name, for messages and the `source` column, where the table's index is a line and no place.
        sides: Which sides each row of the table is about, from `row_sides`; None: rows are about patients.
        decimal: `cohort.decimal`, for numbers that are cut in two.

    Returns:
        Columns `LABEL_COLUMNS`; value 0 or 1, or the number of one of several classes; label is its name; side L, R
        or "" for the whole patient; what is not known has no row.

    Raises:
        CohortError: A missing column, a value that is in no class and not unknown (or named in two), one that is no
            number where the target has a limit, or contradicting rows; every such cell is listed.
    """
    rows: list[tuple[str, str, str, float, str, str]] = []
    troubles: list[str] = []
    for name, target in targets.items():
        meant = _meaning(name, target)
        strange = set()
        found = []
        for side, column, about in _sources(name, target, sides):
            if column not in table.columns:
                raise CohortError(f"target {name}: column {unknown_name(column, table.columns)}")
            part = table if about is None else table[about]
            what = f"{source}, target {name}"
            troubles += _twin_column(part, column, what, source)
            if target.above is not None:
                values = part[column]
                meaning = _above(f"{what}, column {column}", different(values), target, decimal)
            else:
                values = each(part[column], canonical)
                meaning = _GENES if column == gene_column(name) else _beginnings(meant, values)
            wrong = values[~values.isin(meaning.keys())]
            if len(wrong) and column not in strange:
                strange.add(column)
                counts = _how_often(wrong, "in", "row")
                troubles.append(f"{what}: {counts} of column {column} {_no_meaning(name, target)}")
            found.append((side, part.assign(value=values.map(meaning)).dropna(subset=["value"])))
        for side in dict.fromkeys(side for side, _ in found) if not strange else ():
            known = pd.concat([part for about, part in found if about == side])  # mutations and a column must agree
            _gather(known, patient_column, (name, side, target), source, rows, troubles)
    if troubles:
        raise CohortError("\n".join(troubles))
    return pd.DataFrame(rows, columns=list(LABEL_COLUMNS))


def _twin_column(table: pd.DataFrame, column: str, what: str, source: str) -> list[str]:
    """A second column of the same name, which reading calls `column.1`, must say the same."""
    twin = f"{column}.1"
    if twin not in table.columns:
        return []
    cells = table[[column, twin]].map(canonical)
    differ = cells[(cells[column] != cells[twin]) & ~cells.isin(MISSING).any(axis=1)]
    if differ.empty:
        return []
    return [
        f"{what}: two columns are called {column}, and they differ in {counted(len(differ), 'row')}, first "
        f"{place_of(source, differ.index[0])}. Rename or remove one."
    ]


def label_names(target: Target) -> tuple[str, ...]:
    """Names of a target's values 0, 1 and so on."""
    return tuple(target.classes) or ("negative", "positive")


def _meaning(name: str, target: Target) -> dict[str, int | None]:
    """Canonical cell -> the number of its class, or None for not known; what is listed first goes first."""
    meaning: dict[str, int | None] = dict.fromkeys(MISSING | {canonical(v) for v in target.unknown}, None)
    classes = target.classes or {"positive": target.positive, "negative": target.negative}
    holder: dict[str, str] = {}
    for label, cells in classes.items():
        number = label_names(target).index(label)
        for cell in sorted({canonical(v) for v in cells}):
            if cell in holder:
                both = "both " if len(classes) == 2 else ""
                raise CohortError(f"targets.{name}: {cell!r} is listed {both}as {holder[cell]} and as {label}")
            holder[cell], meaning[cell] = label, number
    return meaning


def _above(what: str, cells: list[str], target: Target, decimal: str | None) -> dict[str, int | None]:
    """Cell -> 1 for a number above the target's limit, 0 for another, None for not known; of others nothing."""
    unknown = MISSING | {canonical(v) for v in target.unknown}
    meaning: dict[str, int | None] = {cell: None for cell in cells if canonical(cell) in unknown}
    mark = decimal_mark((cell for cell in cells if cell not in meaning), what, decimal)
    numbers = {cell: parse_number(cell, mark) for cell in cells if cell not in meaning}
    limit = target.above or 0.0
    return meaning | {cell: int(number > limit) for cell, number in numbers.items() if number is not None}


def _no_meaning(name: str, target: Target) -> str:
    """What is wrong with cells of a target's column, and how to mend it."""
    if target.above is not None:
        return f"is no number. Correct it, or name it in targets.{name}.unknown where it means 'not known'."
    if target.classes:
        names = listed(target.classes)
        return f"is in no class of {names}. Name it in targets.{name}.classes or .unknown."
    return f"is neither positive nor negative. Name it in targets.{name}.positive, .negative or .unknown."


def _beginnings(meaning: dict[str, int | None], values: pd.Series) -> dict[str, int | None]:
    """The meaning, and that of cells that begin like a value which ends in an asterisk; whole cells go first."""
    begins = [(v[:-1], meant) for v, meant in meaning.items() if v.endswith("*") and len(v) > 1]
    known = set(values) - meaning.keys() if begins else set()
    return meaning | {v: meant for v in known for begin, meant in reversed(begins) if v.startswith(begin)}


def _sources(name: str, target: Target, sides: pd.Series | None) -> list[tuple[str, str, np.ndarray | None]]:
    """(side, column, which rows) where the values of a target stand; None: every row."""
    if target.genes:
        return [("", column, None) for column in (gene_column(name), target.column) if column]
    if target.left:
        return [("L", target.left, None), ("R", target.right, None)]
    column = target.column or name
    if sides is None or not target.per_side:
        return [("", column, None)]
    return [(side, column, sides.str.contains(side).to_numpy(bool)) for side in SIDES]


def gene_column(name: str) -> str:
    """Column that holds 1 or 0 for a target read from `cohort.mutations`; no table of a user has such a name."""
    return f"mutations: {name}"


def place_of(source: str, line: object) -> str:
    """file:line; of several tables the index says it already."""
    return line if isinstance(line, str) else f"{source}:{line}"


def _gather(
    known: pd.DataFrame,
    patient_column: str,
    what: tuple[str, str, Target],
    source: str,
    rows: list[tuple[str, str, str, float, str, str]],
    troubles: list[str],
) -> None:
    """Add a label per patient; rows of one patient that contradict each other to `troubles`."""
    name, side, target = what
    labels = label_names(target)
    shown = labels if target.classes else ("0", "1")
    first = known.drop_duplicates(patient_column).sort_values(patient_column)
    value_of = pd.Series(first["value"].to_numpy(), index=first[patient_column])
    differ = known["value"].to_numpy() != known[patient_column].map(value_of).to_numpy()
    contradicting = set(known.loc[differ, patient_column])
    for patient, group in known[known[patient_column].isin(contradicting)].groupby(patient_column, sort=True):
        cells = listed(
            f"{name}={shown[int(v)]} at {place_of(source, r)}" for v, r in zip(group["value"], group.index, strict=True)
        )
        who = f"patient {patient}{f', side {side},' if side else ''}"
        troubles.append(f"{who} has {cells}. Delete one row, or list {patient} in exclude.csv.")
    rows += [
        (str(patient), side, name, float(value), labels[int(value)], place_of(source, line))
        for patient, value, line in zip(
            first[patient_column].to_numpy(dtype=object), first["value"].to_numpy(), first.index, strict=True
        )
        if patient not in contradicting
    ]


_SIDE_WORDS = {"l": "L", "left": "L", "r": "R", "right": "R", "b": "LR", "both": "LR", "bilateral": "LR"}


def row_sides(column: pd.Series, source: str) -> pd.Series:
    """Which sides the rows of a table are about.

    Args:
        column: Cells such as L, right, Left breast, both.
        source: File name, for messages.

    Returns:
        "L", "R", "LR" for both, or "" where a cell says that the side is not known.

    Raises:
        CohortError: A cell that names no side; all are listed.
    """
    words = column.map(lambda cell: {_SIDE_WORDS[w] for w in re.findall(r"[a-z]+", cell.lower()) if w in _SIDE_WORDS})
    sides = words.map(lambda found: "".join(side for side in SIDES if side in "".join(found)))
    strange = column[(sides == "") & ~column.str.lower().isin(MISSING)]
    if len(strange):
        counts = _how_often(strange, "in", "row")
        raise CohortError(
            f"{source}: {counts} of column {column.name} is no side. Write L, R or both; leave empty what is not known."
        )
    return sides


def patient_values(table: pd.DataFrame, patient_column: str, columns: Iterable[str]) -> pd.DataFrame:
    """First non-empty value of some columns per patient, as text; index patient_id.

    Raises:
        CohortError: A column does not exist.
    """
    columns = list(columns)
    for column in columns:
        if column not in table.columns:
            raise CohortError(f"the label table has no column {unknown_name(column, table.columns)}")
    kept = table[[patient_column, *columns]].where(lambda t: t != "")
    return kept.groupby(patient_column)[columns].first()


def clinical_numbers(values: pd.Series, mark: str | None = None) -> pd.Series:
    """A clinical column as numbers, missing ones NaN; of a column of sexes in words female is 0 and male 1.

    Args:
        values: Text per patient; its name is the column's.
        mark: Which mark stands before decimals, '.' or ','; default: decided from all cells.

    Raises:
        CohortError: A cell that is neither a number nor missing, no number at all, or cells such as 1,200 that can
            be read in two ways.
    """
    words = values.fillna("").str.strip().str.lower()
    missing = words.isin(MISSING)
    if not missing.all() and words[~missing].isin(SEXES).all():
        return words.map(SEXES).astype(float)
    mark = decimal_mark(different(values[~missing]), f"clinical column {values.name}", mark)
    numbers = each(values, lambda cell: parse_number(cell, mark))
    strange = values[numbers.isna() & ~missing]
    if len(strange) or numbers.isna().all():
        cells = _how_often(strange, "of", "patient")
        raise CohortError(
            f"clinical column {values.name} must hold numbers; {cells or 'it holds none'}. "
            "Correct the cells, name those that mean 'not known' in cohort.unknown, or remove the column from "
            "cohort.clinical."
        )
    return numbers.astype(float)


def _how_often(values: pd.Series, preposition: str, noun: str) -> str:
    """Cells and how often each occurs, the most frequent first: 'maybe' in 2 rows and 'old' in 1 row."""
    counts = values.value_counts()
    return listed((f"{v!r} {preposition} {counted(n, noun)}" for v, n in counts.items()), most=SHOWN)
