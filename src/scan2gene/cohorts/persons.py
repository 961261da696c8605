"""Names and numbers of persons in DICOM headers: read so that they can be kept out of everything."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

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
