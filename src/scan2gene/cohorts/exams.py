"""Series to exams: which NIfTI files belong together, and one series per role."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.roles import ROLE_COLUMNS, ranked
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Role

_BIDS_NAME = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)_[^/]+$")
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
    series, homeless = _joined(series, roles)
    rows: list[dict[str, Any]] = []
    lacking: list[str] = []
    chosen: list[tuple] = []
    for (patient, exam), group in series.groupby(["patient_id", "exam_id"], sort=True):
        row: dict[str, Any] = {"patient_id": patient, "exam_id": exam, "date": exam_date(group)}
        for role in roles:
            fitting = group[group["role"] == role]
            places = ranked(fitting) if len(fitting) else []
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
        raise CohortError(
            f"no exam has every required role. {why}. Look at series.csv and mend the patterns under cohort.roles. "
            "The NIfTI files of one exam must lie in one folder."
        )
    exams = pd.DataFrame(rows)
    # several patients' NIfTI files may lie in one folder; an exam id names one patient's exam
    shared = exams.groupby("exam_id")["patient_id"].transform("nunique") > 1
    exams["exam_id"] = exams["exam_id"].where(~shared, exams["exam_id"] + "#" + exams["patient_id"])
    return exams, pd.DataFrame(chosen, columns=list(ROLE_COLUMNS))


def exam_date(group: pd.DataFrame) -> str | None:
    """Date of an exam's series as the header has it (YYYYMMDD), or None."""
    found = (str(group[c].max()) for c in _DATES if c in group.columns)
    return next((date for date in found if date), None)


def _joined(series: pd.DataFrame, roles: Mapping[str, Role]) -> tuple[pd.DataFrame, dict[tuple[str, str], str]]:
    """Exam ids of NIfTI files, which know none; and why a mask found no exam: (patient, exam) -> reason."""
    series = series.assign(exam_id=series["exam_id"].where(series["format"] == "dicom", _by_name(series)))
    series = _beside_dicom(series)
    series = _flat_folders(series)
    return _masks(series, roles)


def _by_name(series: pd.DataFrame) -> pd.Series:
    """A BIDS file name holds subject and session, whatever folder it lies in."""
    named = series["path"].map(lambda path: (found := _BIDS_NAME.search(path)) and found[1])
    return named.where(named.notna(), series["exam_id"])


def _beside_dicom(series: pd.DataFrame) -> pd.DataFrame:
    """A NIfTI belongs to the DICOM exam of its patient that lies beside or below it, if there is one only."""
    exam = series["exam_id"].copy()
    dicom = dict(tuple(series[series["format"] == "dicom"].groupby("patient_id")))
    for row in series[(series["format"] == "nifti") & series["patient_id"].isin(dicom)].itertuples():
        near = _below(dicom[row.patient_id], row.path)
        if near["exam_id"].nunique() == 1:
            exam[row.Index] = near["exam_id"].iloc[0]
    return series.assign(exam_id=exam)


def _below(series: pd.DataFrame, path: str) -> pd.DataFrame:
    return series[series["path"].str.startswith(str(Path(path).parent).rstrip("/") + "/")]


def _flat_folders(series: pd.DataFrame) -> pd.DataFrame:
    """A patient's files in folders of many patients, one folder per role, are one exam.

    Folders that repeat a role are visits and stay apart.
    """
    loose = series[
        (series["format"] == "nifti") & (series["exam_id"] == series["path"].map(lambda path: str(Path(path).parent)))
    ]
    shared = loose[loose.groupby("exam_id")["patient_id"].transform("nunique") > 1]
    exam = series["exam_id"].copy()
    for _, rows in shared.groupby("patient_id"):
        folders = rows["exam_id"].unique()
        if len(folders) > 1 and (rows.groupby("role")["exam_id"].nunique() == 1).all():
            exam[rows.index] = os.path.commonpath(folders)
    return series.assign(exam_id=exam)


def _masks(series: pd.DataFrame, roles: Mapping[str, Role]) -> tuple[pd.DataFrame, dict[tuple[str, str], str]]:
    """A folder that holds only masks of a patient joins the exam they belong to."""
    is_mask = series["role"].map({n: r.kind == "label" for n, r in roles.items()}).astype(bool)
    alone = (series["format"] == "nifti") & is_mask.groupby([series["patient_id"], series["exam_id"]]).transform("all")
    imaged = dict(tuple(series[~is_mask].groupby("patient_id")))
    exam, homeless = series["exam_id"].copy(), {}
    for row in series[alone & series["patient_id"].isin(imaged)].itertuples():
        others = imaged[row.patient_id]
        near = _below(others, row.path)
        found = _told_apart(near if len(near) else others, series.loc[row.Index])
        if found is not None:
            exam[row.Index] = found
        else:
            homeless[row.patient_id, row.exam_id] = (
                "a mask that may belong to several exams of its patient: put it into the folder of its exam, "
                "or the exam's date (YYYYMMDD) or StudyInstanceUID into its name"
            )
    return series.assign(exam_id=exam), homeless


def _told_apart(images: pd.DataFrame, mask: pd.Series) -> str | None:
    """The only exam that a mask can belong to: by what its name says, else by its voxel grid."""
    exams = {str(identity): group for identity, group in images.groupby("exam_id")}
    if len(exams) == 1:
        return next(iter(exams))
    name = Path(mask["path"]).name
    digits = re.sub(r"(\d{4})[-_.](\d{2})[-_.](\d{2})", r"\1\2\3", name)
    named = [e for e, group in exams.items() if e in name or ((day := exam_date(group)) and day in digits)]
    if len(named) == 1:
        return named[0]
    grid = [e for e, group in exams.items() if (group[_GRID] == mask[_GRID]).all(axis=1).any()]
    return grid[0] if len(grid) == 1 else None
