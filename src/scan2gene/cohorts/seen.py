"""What scans and a label table show before anything is configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.genomics import gene_table
from scan2gene.cohorts.guess_columns import DESCRIBES, TargetGuess, guess_target, guess_targets
from scan2gene.cohorts.guess_ids import MEND_PATHS, PatientGuess, guess_patients, near_column
from scan2gene.cohorts.guess_roles import RoleGuess, guess_roles
from scan2gene.cohorts.guess_several import CODES, TEXT, class_columns, classes_of, numbers_of, one_class
from scan2gene.cohorts.label_table import read_table, sheets
from scan2gene.cohorts.labels import MISSING, canonical
from scan2gene.cohorts.maf import is_maf
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.text import clauses, listed, sentences
from scan2gene.imaging.index import index
from scan2gene.imaging.patients import below_roots, with_patients

MAX_TARGETS = 3  # predicted without being asked for
_SHOWN = 8  # columns that a message describes


@dataclass(frozen=True)
class Seen:
    """What the draft is made from.

    Args:
        series: Readable rows of the index, text without nulls, patient_id filled where known.
        n_series: Of the whole index.
        table: The label table.
        sheet: Of an Excel file that has several.
        patients: How both find each other.
        scanned: Ids of scanned patients.
        roles: Guessed roles.
        mutations: The table is made from a MAF, a column per gene.
    """

    series: pd.DataFrame
    n_series: int
    table: pd.DataFrame
    sheet: str | None
    patients: PatientGuess
    scanned: tuple[str, ...]
    roles: tuple[RoleGuess, ...]
    mutations: bool = False


def look(scans: Path, labels: Path, wanted: Sequence[str] = ()) -> Seen:
    """Index the scans, read the table and find how they fit.

    Args:
        scans: Folder with DICOM or NIfTI.
        labels: A table, or a MAF.
        wanted: Genes that are looked at however rarely they are mutated.

    Raises:
        CohortError: No readable scan, or no column with the scans' patients.
    """
    scans = scans.resolve()  # patterns begin at the scan folder, as those of a loaded study do
    found = index([scans]).fillna("")
    series = found[found["status"] == "ok"].reset_index(drop=True)
    if series.empty:
        why = "; ".join(f"{n} x {r}" for r, n in found["reason"].value_counts().head(3).items())
        raise CohortError(f"there is no readable scan below {scans}. {why}".strip())
    below = list(below_roots(series["path"], [str(scans)]))
    best: tuple[PatientGuess, pd.DataFrame, str | None] | None = None
    mutations, tables = label_sheets(labels, wanted)
    for table, sheet in tables:
        patients = guess_patients(series, below, table)
        if patients and (best is None or patients.found > best[0].found):
            best = (patients, table, sheet)
    if best is None:
        raise CohortError(
            f"no column of {labels.name} holds ids of two scanned patients, neither in headers nor in paths. Scans "
            f"look like {below[0].partition('#')[0]!r} with PatientID {series['patient_id'].iloc[0]!r}; the table's "
            f"columns are {', '.join(c for c in table.columns[:12] if c)}.{near_column(series, below, table)}"
        )
    patients, table, sheet = best
    if not patients.found:
        raise CohortError(
            f"column {patients.column} of {labels.name} holds ids that stand in the paths of scans, such as "
            f"{below[0].partition('#')[0]!r}, but no one pattern finds the id in every path. {MEND_PATHS}."
        )
    series = with_patients(series, patients.patient_pattern, [str(scans)])
    table = with_patient_ids(table, patients)
    scanned = sorted(set(series["patient_id"]) & set(table[patients.column]))
    roles = guess_roles(series, below, [p if p in set(scanned) else "" for p in series["patient_id"]])
    return Seen(series, len(found), table, sheet, patients, tuple(scanned), tuple(roles), mutations)


def label_sheets(labels: Path, wanted: Sequence[str]) -> tuple[bool, list[tuple[pd.DataFrame, str | None]]]:
    """Whether a file holds mutations, and its tables, each with its sheet where an Excel file has several."""
    if is_maf(labels):
        return True, [(gene_table(labels, wanted), None)]
    names = sheets(labels) if len(sheets(labels)) > 1 else [None]
    return False, [(read_table(labels, name), name) for name in names]


def with_patient_ids(table: pd.DataFrame, patients: PatientGuess) -> pd.DataFrame:
    """The rows of a label table that have a patient, with the patient's id taken out of the cell."""
    if patients.label_id_pattern:
        ids = table[patients.column].str.extract(patients.label_id_pattern, expand=False).fillna("")
        table = table.assign(**{patients.column: ids})
    return table[table[patients.column] != ""]


def choose_targets(seen: Seen, wanted: Sequence[str]) -> tuple[list[TargetGuess], list[TargetGuess]]:
    """Columns to predict, and the other columns with two classes.

    Args:
        seen: What was found.
        wanted: Columns, names of pairs of sides, or "COLUMN=CLASS" for one class against the others.

    Raises:
        CohortError: A wanted column does not exist or cannot be a target, or nothing can be drafted by itself.
    """
    found = guess_targets(seen.table, seen.patients.column, seen.scanned)
    chosen = [_wanted(seen, name, found) for name in wanted] or _by_themselves(seen, found)
    if not chosen:
        raise CohortError(_nothing_to_draft(seen, found))
    taken = {(c.column, c.sides) for c in chosen}
    return chosen, [t for t in found if (t.column, t.sides) not in taken]


def _by_themselves(seen: Seen, found: Sequence[TargetGuess]) -> list[TargetGuess]:
    """Up to three columns with two classes, else the most meaningful with several, else the best of the doubtful ones.

    A person must choose an outcome; without any other column the best of them stands in. Sex, age, site or scanner are
    never what is meant.
    """
    sure = [t for t in found if not t.doubts][:MAX_TARGETS]
    if sure:
        return sure
    several = several_classes(seen, found)
    stand_in = [t for t in found if DESCRIBES not in t.doubts]
    stand_in += [t for t in several if not {DESCRIBES, CODES, TEXT} & set(t.doubts)]
    return [t for t in several if not t.doubts][:1] or stand_in[:1]


def several_classes(seen: Seen, taken: Sequence[TargetGuess]) -> list[TargetGuess]:
    """Columns with several classes, the most meaningful first, without those that are targets already."""
    if seen.mutations:
        return []
    ready = {t.column for t in taken if not t.name}
    found = class_columns(seen.table, seen.patients.column, seen.scanned)
    return [t for t in found if t.column not in ready]


def _wanted(seen: Seen, name: str, found: Sequence[TargetGuess]) -> TargetGuess:
    """The target of one --target."""
    column, rows = seen.patients.column, seen.table[seen.table[seen.patients.column].isin(seen.scanned)]
    columns = [c for c in seen.table.columns if c]
    pair = next((t for t in found if t.sides and t.column == name), None)
    if pair and name not in columns:
        return pair
    holder, mark, value = name.rpartition("=")
    if name not in columns and mark and holder in columns:
        one = one_class(rows, column, holder, value)
        if one is None:
            classes = _counted(rows[holder])
            raise CohortError(f"--target {name}: not a class of {holder} among scanned patients: {classes}")
        return one
    if name not in columns:
        raise CohortError(f"--target {unknown_name(name, columns)}")
    guess = (
        guess_target(rows, column, name)
        or classes_of(seen.table, column, seen.scanned, name)
        or numbers_of(rows, column, name)
    )
    if guess is not None:
        return guess
    known = rows.loc[~rows[name].map(canonical).isin(MISSING), name]
    if known.empty:
        patients = f"all {len(seen.scanned)} scanned patients in the table"
        raise CohortError(f"--target {name}: the column is empty for {patients}")
    several = known.map(canonical).nunique() > 2
    mend = f". One class against the others: --target '{name}={known.value_counts().index[-1]}'" if several else ""
    raise CohortError(
        f"--target {name} has neither 2 to 20 classes nor numbers among scanned patients: {_counted(known)}{mend}"
    )


def _counted(values: pd.Series) -> str:
    return ", ".join(f"{v!r} {n}" for v, n in values.value_counts().head(6).items())


def classes_text(target: TargetGuess) -> str:
    """Each of several classes and its patients, the most frequent first."""
    counted = sorted(zip(target.classes, target.counts, strict=True), key=lambda one: -one[1])
    return ", ".join(f"{value} {n}" for (_, value), n in counted)


def _nothing_to_draft(seen: Seen, found: Sequence[TargetGuess]) -> str:
    """Why no column is drafted as a target, what columns there are and how to choose one."""
    classes = several_classes(seen, ())
    parts = []
    if found:
        told = listed((f"{t.column} ({', '.join((*t.positive, *t.negative))})" for t in found), most=_SHOWN)
        parts.append(f"two classes, but they describe patient or scan: {told}")
    if classes:
        columns = (f"{c.column} ({classes_text(c)})" for c in classes)
        parts.append(f"3 to 20 classes: {clauses(columns, _SHOWN)}")
    named = {c for t in found for c in t.sides or (t.column,)} | {c.column for c in classes} | {seen.patients.column}
    others = [c for c in seen.table.columns if c and c not in named]
    if others:
        parts.append(
            f"without two to twenty classes among these {len(seen.scanned)} patients: {listed(others, most=12)}"
        )
    best = next((c for c in classes if not c.doubts), classes[0] if classes else None)
    against = f", or one class against the others with --target '{best.column}={best.classes[0][1]}'" if best else ""
    told = sentences(parts) or f"The table has no column but {seen.patients.column}"
    return f"no column is drafted as a target by itself. {told}. Choose one with --target COLUMN{against}."
