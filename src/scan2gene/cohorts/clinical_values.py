"""Clinical columns of new patients: from a table, or age and sex from the scans' headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.guess_columns import is_age, is_sex
from scan2gene.cohorts.ids import label_patients
from scan2gene.cohorts.label_table import read_labels
from scan2gene.cohorts.labels import SEXES, clinical_numbers, patient_values
from scan2gene.core.study_cohort import Cohort


def of_table(rules: Cohort, columns: Sequence[str], table: str | Path | None = None) -> pd.DataFrame:
    """Numbers (patient, column) of a label table; a column that it lacks is left out.

    Args:
        rules: How the table is read.
        columns: That a run reads.
        table: In place of the study's own label tables.

    Raises:
        CohortError: The table cannot be read, or a cell is no number.
    """
    if table is not None:
        rules = rules.model_copy(update={"labels": str(table), "sheet": None, "header_rows": None})
    rows = label_patients(read_labels(rules, Flow()), rules, Flow())
    values = patient_values(rows, rules.patient_column, [c for c in columns if c in rows.columns])
    return pd.DataFrame({column: clinical_numbers(values[column], rules.decimal) for column in values.columns})


def of_headers(series: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Age in years and sex (female 0, male 1) as DICOM headers have them, for columns that are named so."""
    values = {}
    for column in columns:
        if is_age(column) and "PatientAge" in series:
            values[column] = series["PatientAge"].fillna("").map(_years)
        elif is_sex(column) and "PatientSex" in series:
            values[column] = series["PatientSex"].fillna("").str.strip().str.lower().map(SEXES).astype(float)
    table = pd.DataFrame(values, index=series.index).assign(patient_id=series["patient_id"])
    return table.groupby("patient_id").first()


_PER_YEAR = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}


def _years(age: str) -> float:
    """'054Y' or '18M' (DICOM's age string) in years; NaN for anything else."""
    age = age.strip().upper()
    number, unit = age[:-1], age[-1:]
    return float(number) / _PER_YEAR[unit] if number.isdigit() and unit in _PER_YEAR else float("nan")
