"""What scans and a label table show before anything is configured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import below_roots, with_patients
from scan2gene.cohorts.genomics import gene_table
from scan2gene.cohorts.guess_columns import TargetGuess, guess_target, guess_targets
from scan2gene.cohorts.guess_ids import MEND_PATHS, PatientGuess, guess_patients
from scan2gene.cohorts.guess_roles import RoleGuess, guess_roles
from scan2gene.cohorts.label_table import read_table, sheets
from scan2gene.cohorts.maf import is_maf
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.imaging.index import index

MAX_TARGETS = 3  # predicted without being asked for


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
    mutations = is_maf(labels)
    for sheet in sheets(labels) if len(sheets(labels)) > 1 else [None]:
        table = gene_table(labels, wanted) if mutations else read_table(labels, sheet)
        patients = guess_patients(series, below, table)
        if patients and (best is None or patients.found > best[0].found):
            best = (patients, table, sheet)
    if best is None:
        raise CohortError(
            f"no column of {labels.name} holds ids of two scanned patients, neither in headers nor in paths. Scans "
            f"look like {below[0].partition('#')[0]!r} with PatientID {series['patient_id'].iloc[0]!r}; the table's "
            f"columns are {', '.join(c for c in table.columns[:12] if c)}."
        )
    patients, table, sheet = best
    if not patients.found:
        raise CohortError(
            f"column {patients.column} of {labels.name} holds ids that stand in the paths of scans, such as "
            f"{below[0].partition('#')[0]!r}, but no one pattern finds the id in every path. {MEND_PATHS}."
        )
    series = with_patients(series, patients.patient_pattern, [str(scans)])
    listed = table[patients.column]
    if patients.label_id_pattern:
        table = table.assign(
            **{patients.column: listed.str.extract(patients.label_id_pattern, expand=False).fillna("")}
        )
    scanned = sorted(set(series["patient_id"]) & set(table[patients.column]) - {""})
    table = table[table[patients.column] != ""]
    roles = guess_roles(series, below, [p if p in set(scanned) else "" for p in series["patient_id"]])
    return Seen(series, len(found), table, sheet, patients, tuple(scanned), tuple(roles), mutations)


def choose_targets(seen: Seen, wanted: Sequence[str]) -> tuple[list[TargetGuess], list[TargetGuess]]:
    """Columns to predict, and the other columns with two classes.

    Raises:
        CohortError: A wanted column does not exist or has not two classes, or nothing has.
    """
    column = seen.patients.column
    found = guess_targets(seen.table, column, seen.scanned)
    if wanted:
        rows = seen.table[seen.table[column].isin(seen.scanned)]
        chosen = []
        for name in wanted:
            if name not in seen.table.columns:
                raise CohortError(f"--target {unknown_name(name, [c for c in seen.table.columns if c])}")
            guess = guess_target(rows, column, name)
            if guess is None:
                values = ", ".join(f"{v!r} {n}" for v, n in rows[name].value_counts().head(6).items())
                raise CohortError(f"--target {name} has not two classes among scanned patients: {values}")
            chosen.append(guess)
    else:
        # a person must choose an outcome or a description; without any other column the best of them stands in
        chosen = [t for t in found if not t.doubts][:MAX_TARGETS] or found[:1]
    if not chosen:
        raise CohortError("no column of the label table has two classes among scanned patients; name one with --target")
    return chosen, [t for t in found if t.column not in {c.column for c in chosen}]
