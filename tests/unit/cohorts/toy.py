"""Rows of series.csv and a label table for a toy cohort."""

from __future__ import annotations

from scan2gene.cohorts.curate import Curated
from scan2gene.imaging.index import SERIES_COLUMNS

IDH = {"IDH": {"genes": ["IDH1", "IDH2"]}}
LABELS = "patient_id,IDH,site,age\nP1,1,A,50\nP2,0,B,61Y\nP3,1,A,\nP4,0,,40\n"
ROLES = {"t1": {"match": {"SeriesDescription": "t1"}}, "flair": {"match": {"SeriesDescription": "flair"}}}


def scan(patient: str, description: str, **columns: str) -> dict[str, str]:
    """One row of series.csv."""
    uid = f"1.{patient}.{description}"
    row = dict.fromkeys(SERIES_COLUMNS, "") | {
        "series_id": f"{uid}/0", "path": f"/scans/{patient}#{uid}/0", "format": "dicom", "patient_id": patient,
        "exam_id": f"exam-{patient}", "SeriesDescription": description, "shape": "64x64x20", "status": "ok",
        "StudyDate": "20200101",
    }  # fmt: skip
    return row | columns


def whole(*patients: str) -> list[dict[str, str]]:
    return [scan(p, d) for p in patients for d in ("T1 SE", "FLAIR")]


def reasons(curated: Curated) -> dict[str, str]:
    """series, exam or patient id -> reason, whichever is most exact."""
    rows = curated.exclusions.to_dict("records")
    return {r["series_id"] or r["exam_id"] or r["patient_id"]: r["reason"] for r in rows}


def labels(curated: Curated, target: str = "IDH") -> dict[str, int]:
    """patient id -> label of a target."""
    part = curated.labels[curated.labels["target"] == target]
    return dict(zip(part["patient_id"], part["value"].astype(int), strict=True))


def curate_genes(go, path, *patients, targets=None, **cohort) -> Curated:
    """The fixture `go` on mutation files instead of a label table."""
    return go(whole(*patients), targets=targets or IDH, label_file="", mutations=str(path), **cohort)
