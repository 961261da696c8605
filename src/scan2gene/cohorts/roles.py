"""Which series plays which role in an exam, and why that one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_cohort import Role

# These hold one of a few words, so a pattern must match the whole: T1 is not T1c.
WHOLE_COLUMNS = ("sequence", "plane", "format")
ONLY = "the only series that fits"
_DECIDED = {"most slices": "most slices", "smallest voxels": "smallest voxels", "first path": "first path alone"}


def found_in(series: pd.DataFrame, column: str, pattern: str, where: str) -> pd.Series:
    """Which series a pattern is found in, case ignored.

    Args:
        series: The series index, text without nulls.
        column: Of the index.
        pattern: Regular expression; in `WHOLE_COLUMNS` it must match the whole cell.
        where: The study's key, for the message.

    Raises:
        CohortError: The index has no such column.
    """
    if column not in series.columns:
        raise CohortError(f"{where}: column {unknown_name(column, series.columns)}")
    compiled = re.compile(pattern, re.IGNORECASE)
    match = compiled.fullmatch if column in WHOLE_COLUMNS else compiled.search
    return series[column].map(lambda cell: match(str(cell)) is not None).astype(bool)


def role_fits(series: pd.DataFrame, roles: Mapping[str, Role]) -> pd.DataFrame:
    """Series x roles: True where every pattern of the role is found.

    Raises:
        CohortError: A column is not in the index, or a series fits two roles.
    """
    fits = pd.DataFrame(index=series.index)
    for name, role in roles.items():
        match = pd.Series(True, index=series.index)
        for column, pattern in role.match.items():
            match &= found_in(series, column, pattern, f"role {name}")
        fits[name] = match
    twice = fits.sum(axis=1) > 1
    if twice.any():
        row = series[twice].iloc[0]
        names = ", ".join(fits.columns[fits.loc[row.name].to_numpy(bool)])
        raise CohortError(
            f"{int(twice.sum())} series fit more than one role, first {row['series_id']} "
            f"({row['SeriesDescription'] or 'no description'}): {names}. Make the roles' patterns exclude each other."
        )
    return fits


def ranked(candidates: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Series of one exam that fit one role, best first, each with the reason for its place.

    Most slices win, then the smallest voxels, then the first path.

    Args:
        candidates: Rows of the series index.

    Returns:
        (series_id, reason); the first is taken.
    """
    keys = [(_slices(row), _voxel_mm3(row), row["path"], row["series_id"]) for row in candidates]
    keys.sort(key=lambda key: (-key[0], *key[1:]))
    best, others = keys[0], keys[1:]
    if not others:
        return [(best[3], ONLY)]
    of = f" of {len(keys)} series that fit"
    if best[0] > others[0][0]:
        why = f"most slices ({best[0]}){of}"
    elif best[1] < others[0][1]:
        why = f"smallest voxels ({best[1]:.3g} mm3){of}; no other has more than {best[0]} slices"
    else:
        why = f"first path{of}; alike in slices ({best[0]}) and voxel size"
    return [(best[3], why), *[(other[3], _why_not(other, best)) for other in others]]


def contested(roles: pd.DataFrame) -> list[str]:
    """Sentences on roles that several series of an exam fit: something decides that the study does not ask for.

    Args:
        roles: Columns `ROLE_COLUMNS`, as `build_exams` gives or roles.csv holds them.

    Returns:
        One for each such role, with the number of exams by what decided.
    """
    taken = roles[roles["taken"].astype(str) == "1"]
    told = []
    for role, rows in taken.groupby("role", sort=False):
        several = rows[rows["reason"] != ONLY]
        counts = [(words, int(several["reason"].str.startswith(why).sum())) for why, words in _DECIDED.items()]
        if len(several):
            by = ", ".join(f"{words} in {n}" for words, n in counts if n)
            told.append(
                f"role {role}: several series fit in {len(several)} of {len(rows)} exams, and which is taken was "
                f"decided by {by}. Contrast phases or repeated scans may be mixed: see roles.csv, and make the "
                "pattern of the role match one series of an exam"
            )
    return told


def _why_not(other: tuple, best: tuple) -> str:
    if other[0] < best[0]:
        return f"another has more slices: {best[0]} against {other[0]}"
    if other[1] > best[1]:
        against = f"against {other[1]:.3g}" if math.isfinite(other[1]) else "and this one's are not known"
        return f"another has as many slices and smaller voxels: {best[1]:.3g} mm3 {against}"
    return "another is alike in slices and voxel size and comes first by path"


def _slices(row: Mapping[str, Any]) -> int:
    last = str(row["shape"]).rpartition("x")[2]
    return int(last) if last.isdigit() else 0


def _voxel_mm3(row: Mapping[str, Any]) -> float:
    try:
        return math.prod(float(row[f"spacing_{axis}_mm"]) for axis in "ijk")
    except ValueError:
        return math.inf
