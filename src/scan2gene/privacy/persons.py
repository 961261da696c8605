"""Persons in DICOM headers: names and numbers to keep out of everything, and two persons under one id."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from scan2gene.core.text import listed
from scan2gene.imaging.frames import read_dataset
from scan2gene.imaging.sources import Source, find
from scan2gene.imaging.volume_files import is_volume_file

# Who is in the picture, who sent, made and read it ...
NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ReferringPhysicianName",
    "PerformingPhysicianName", "OperatorsName", "NameOfPhysiciansReadingStudy", "RequestingPhysician",
    "PhysiciansOfRecord", "ConsultingPhysicianName", "ScheduledPerformingPhysicianName", "ResponsiblePerson",
)  # fmt: skip
# ... and what a hospital or anybody else finds a patient by.
NUMBERS = (
    "PatientID", "OtherPatientIDs", "AccessionNumber", "AdmissionID", "MedicalRecordLocator", "PatientBirthDate",
    "PatientTelephoneNumbers", "PatientAddress",
)  # fmt: skip


def two_persons(series: pd.DataFrame, same_person: Iterable[str] = ()) -> pd.Series:
    """Why series are left out whose patient id seems to be that of two persons; empty where it is not.

    Args:
        series: The index, patients filled in.
        same_person: Ids that are known to be of one person.
    """
    reasons = pd.Series("", index=series.index)
    sex = series["PatientSex"].astype(str).str.strip().str.upper().str[:1]
    born = series.get("birth_date_number", pd.Series("", index=series.index)).astype(str)  # absent of an older index
    said = {"PatientSex": sex.where(sex.isin(["F", "M"]), ""), "birth date": born}
    differ = {
        word: values.where(values != "").groupby(series["patient_id"]).nunique().loc[lambda n: n > 1].index
        for word, values in said.items()
    }
    confirmed = {*same_person, ""}
    for patient in sorted({p for ids in differ.values() for p in ids} - confirmed):
        mine = series["patient_id"] == patient
        words = [word for word, ids in differ.items() if patient in ids]
        words = [
            f"PatientSex ({', '.join(sorted(set(sex[mine]) & {'F', 'M'}))})" if w == "PatientSex" else w for w in words
        ]
        reasons[mine] = (
            f"scans of this patient id differ in {listed(words)}, so two persons may share it: give each an id, "
            "leave one out with cohort.exclude, or list the id under cohort.same_person if it is one person"
        )
    return reasons


def persons_by_series(scans: Iterable[str]) -> pd.DataFrame:
    """What names or numbers a person in the headers of each series.

    Args:
        scans: Folders or files.

    Returns:
        Columns `names` and `numbers`: the different values, joined by a backslash as in
        DICOM; the index is SeriesInstanceUID.
    """
    files = [source for source in find(scans) if not is_volume_file(source.path)]
    found: dict[str, tuple[set[str], set[str]]] = defaultdict(lambda: (set(), set()))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for uid, *values in pool.map(_persons, files):
            for known, more in zip(found[uid], values, strict=True):
                known.update(more)
    rows = {uid: ["\\".join(sorted(values)) for values in both] for uid, both in found.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["names", "numbers"])


def _persons(source: Source) -> tuple[str, set[str], set[str]]:
    """SeriesInstanceUID, names and numbers of one file; nothing of a file that is not DICOM."""
    try:
        header = read_dataset(source, words=["SeriesInstanceUID", *NAMES, *NUMBERS])
        names, numbers = ({text for k in group for text in _texts(header.get(k))} for group in (NAMES, NUMBERS))
        return str(header.get("SeriesInstanceUID", "")), names, numbers
    except Exception:  # the index says what is wrong with it
        return "", set(), set()


def _texts(value: Any) -> list[str]:
    """A value's texts; several stand apart."""
    from pydicom.multival import MultiValue

    several = value if isinstance(value, MultiValue) else [value]
    return [str(one).strip() for one in several if one is not None and str(one).strip()]
