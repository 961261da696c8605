"""Series to exams: which NIfTI files belong together, and one series per role."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.roles import ranked
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Role
from scan2gene.core.tables import ROLE_COLUMNS

_BIDS_NAME = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)_[^/]+$")
Row = dict[str, Any]  # of the series index, with its role
READABLE = "readable, regular volumes"  # the step before
_GRID = ["shape", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "orientation"]
_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate")


def build_exams(series: pd.DataFrame, roles: Mapping[str, Role], flow: Flow) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per exam that has every required role.

    Args:
        series: The index, with a column `role`.
        roles: The study's.
        flow: Gets what is left out.

    Returns:
        Exams: patient_id, exam_id, date, `role:<name>` with series_id; and the table of
        every series that fits a role, columns `ROLE_COLUMNS`.

    Raises:
        CohortError: No exam is complete.
    """
    members = series.to_dict("records")  # plain rows: groups of a few rows are slow as tables
    homeless = _join(members, roles)
    rows: list[dict[str, Any]] = []
    lacking: list[str] = []
    chosen: list[tuple] = []
    for (patient, exam), group in sorted(_grouped(members, "patient_id", "exam_id").items()):
        row: dict[str, Any] = {"patient_id": patient, "exam_id": exam, "date": exam_date(group)}
        for role in roles:
            fitting = [member for member in group if member["role"] == role]
            places = ranked(fitting) if fitting else []
            row[f"role:{role}"] = places[0][0] if places else None
            for place, (identity, reason) in enumerate(places):
                chosen.append((patient, exam, role, identity, int(place == 0), reason))
                if place:
                    flow.leave_out("one series per role", f"not taken as {role}: {reason}", patient, exam, identity)
        missing = [r for r, rule in roles.items() if not rule.optional and row[f"role:{r}"] is None]
        if missing:
            lacking.append(homeless.get((patient, exam), f"exam lacks {', '.join(missing)}"))
            flow.leave_out("complete exams", lacking[-1], patient, exam)
        else:
            rows.append(row)
    flow.step("complete exams", len(rows), "exams", pd.Series(lacking, dtype=str))
    if not rows:
        why = "; ".join(f"{n} x {reason}" for reason, n in flow.steps[-1]["left_out"].items())
        unread: dict[str, int] = next(
            (s["left_out"] for s in flow.steps if s["step"] == READABLE and s["left_out"]), {}
        )
        lost = f" Files left out: {'; '.join(f'{n} x {r}' for r, n in list(unread.items())[:3])}." if unread else ""
        hint = "Look at series.csv and mend the patterns under cohort.roles."
        if any(row["format"] != "dicom" for row in members):
            hint += " The NIfTI files of one exam must lie in one folder."
        raise CohortError(f"no exam has every required role. {why}.{lost} {hint}")
    exams = pd.DataFrame(rows)
    told = pd.DataFrame(chosen, columns=list(ROLE_COLUMNS))
    # several patients' NIfTI files may lie in one folder; an exam id names one patient's exam
    counts = exams.groupby("exam_id")["patient_id"].nunique()
    shared = counts.index[counts > 1]
    for table in (exams, told):
        named = table["exam_id"] + "#" + table["patient_id"]
        table["exam_id"] = table["exam_id"].mask(table["exam_id"].isin(shared), named)
    return exams, told


def one_day(series: pd.DataFrame) -> pd.DataFrame:
    """DICOM studies of one patient on one day as one exam, called by the first StudyInstanceUID.

    Some archives give each series a study of its own. A series without StudyDate stays in its study.
    """
    dated = series[(series["format"] == "dicom") & (series["StudyDate"] != "")]
    first = dated.groupby(["patient_id", "StudyDate"])["exam_id"].transform("min")
    return series.assign(exam_id=first.reindex(series.index).fillna(series["exam_id"]))


def exam_date(group: Sequence[Row]) -> str | None:
    """Date of an exam's series as the header has it (YYYYMMDD), or None."""
    found = (max(str(row.get(column) or "") for row in group) for column in _DATES)
    return next((date for date in found if date), None)


def _grouped(rows: Iterable[Row], *columns: str) -> dict[tuple, list[Row]]:
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[c] for c in columns), []).append(row)
    return groups


def _join(rows: list[Row], roles: Mapping[str, Role]) -> dict[tuple[str, str], str]:
    """Give NIfTI and like files, which know no exam, its id; why a mask found none: (patient, exam) -> reason."""
    nifti = [row for row in rows if row["format"] != "dicom"]
    for row in nifti:
        named = _BIDS_NAME.search(row["path"])  # tells subject and session, whatever folder it lies in
        row["exam_id"] = named[1] if named else row["exam_id"]
    by_patient = _grouped(rows, "patient_id")
    for row in nifti:
        dicom = [other for other in by_patient[row["patient_id"],] if other["format"] == "dicom"]
        near = {other["exam_id"] for other in _below(dicom, row["path"])}
        if len(near) == 1:  # a NIfTI belongs to the one DICOM exam of its patient beside or below it
            row["exam_id"] = near.pop()
    _flat_folders(nifti)
    homeless: dict[tuple[str, str], str] = {}
    for mine in by_patient.values():
        homeless |= _masks(mine, {name for name, role in roles.items() if role.kind == "label"})
    return homeless


def _below(rows: Iterable[Row], path: str) -> list[Row]:
    folder = str(Path(path).parent).rstrip("/") + "/"
    return [row for row in rows if row["path"].startswith(folder)]


def _flat_folders(nifti: Iterable[Row]) -> None:
    """A patient's files in folders of many patients, one folder per role, are one exam.

    Folders that repeat a role are visits and stay apart.
    """
    loose = [row for row in nifti if row["exam_id"] == str(Path(row["path"]).parent)]
    patients = {folder: {row["patient_id"] for row in rows} for (folder,), rows in _grouped(loose, "exam_id").items()}
    shared = [row for row in loose if len(patients[row["exam_id"]]) > 1]
    for rows in _grouped(shared, "patient_id").values():
        folders = {row["exam_id"] for row in rows}
        roles = _grouped(rows, "role").values()
        if len(folders) > 1 and all(len({row["exam_id"] for row in same}) == 1 for same in roles):
            for row in rows:
                row["exam_id"] = os.path.commonpath(folders)


def _masks(mine: list[Row], mask_roles: set[str]) -> dict[tuple[str, str], str]:
    """A folder that holds only masks of a patient joins the exam they belong to."""
    images = [row for row in mine if row["role"] not in mask_roles]
    homeless = {}
    for (patient, exam), group in _grouped(mine, "patient_id", "exam_id").items():
        if not images or any(row["format"] == "dicom" or row["role"] not in mask_roles for row in group):
            continue
        for row in group:
            found = _told_apart(_below(images, row["path"]) or images, row)
            if found is not None:
                row["exam_id"] = found
            else:
                homeless[patient, exam] = (
                    "a mask that may belong to several exams of its patient: put it into the folder of its exam, "
                    "or the exam's date (YYYYMMDD) or StudyInstanceUID into its name"
                )
    return homeless


def _told_apart(images: list[Row], mask: Row) -> str | None:
    """The only exam that a mask can belong to: by what its name says, else by its voxel grid."""
    exams = {str(exam): group for (exam,), group in _grouped(images, "exam_id").items()}
    if len(exams) == 1:
        return next(iter(exams))
    name = Path(mask["path"]).name
    digits = re.sub(r"(\d{4})[-_.](\d{2})[-_.](\d{2})", r"\1\2\3", name)
    named = [e for e, group in exams.items() if e in name or ((day := exam_date(group)) and day in digits)]
    if len(named) == 1:
        return named[0]
    grid = [e for e, group in exams.items() if any(all(row[c] == mask[c] for c in _GRID) for row in group)]
    return grid[0] if len(grid) == 1 else None
