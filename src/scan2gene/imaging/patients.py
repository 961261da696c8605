"""Whose a series is, where the study reads it from the path."""

from __future__ import annotations

import re

import pandas as pd

from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError


def with_patients(series: pd.DataFrame, patient_pattern: str | None, scans: list[str]) -> pd.DataFrame:
    """Fill patient_id from the path where the study says how.

    Args:
        series: The index. Its ids, as those of tables, are compared as `plain_text`.
        patient_pattern: Group 1 is the id; None leaves the headers' ids.
        scans: The scan folders; the pattern is searched below them.

    Raises:
        CohortError: `patient_pattern` has no group.
    """
    own = series["patient_id"].map(plain_text)
    if patient_pattern is None:
        return series.assign(patient_id=own)
    pattern = re.compile(patient_pattern)
    if not pattern.groups:
        raise CohortError("cohort.patient_pattern needs one group in brackets around the patient id")
    found = [(match := pattern.search(path)) and match[1] for path in below_roots(series["path"], scans)]
    return series.assign(patient_id=[plain_text(f) if f else i for f, i in zip(found, own, strict=True)])


def below_roots(paths: pd.Series, scans: list[str]) -> pd.Series:
    """Paths from the scan folder down, so that a pattern never hits the folders above it."""
    roots = "|".join(re.escape(str(p)) for p in sorted(scans, key=len, reverse=True))
    return paths.str.replace(f"^(?:{roots})", "", regex=True)
