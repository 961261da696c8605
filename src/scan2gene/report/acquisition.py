"""How the scans were made: studies found, voxel sizes, slice orientations.

Source: the figures 1.1 and 1.2 and the table 1.2 of the BRCA study's report.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scan2gene.privacy.redaction import shared_words, without_names
from scan2gene.report import figures
from scan2gene.report.inputs import Inputs

MAX_ROWS = 12
_MEASURES = (
    ("Pixel spacing", ("spacing_i_mm", "spacing_j_mm")),
    ("Slice thickness in the header", ("SliceThickness",)),
    ("Spacing between slices", ("spacing_k_mm",)),
)


def acquisition(inputs: Inputs) -> dict[str, Any]:
    """Studies before selection; voxel sizes and orientations of the series that networks see."""
    used = inputs.cohort[[f"role:{role}" for role in inputs.seen_roles()]].stack().unique()
    series = inputs.series[inputs.series["series_id"].isin(used)]
    return {"studies": _studies(inputs), "histograms": _histograms(series), "orientations": _orientations(series)}


def _studies(inputs: Inputs) -> list[dict[str, Any]]:
    """Exams of every study description, and how many of them are in the study."""
    series = inputs.series
    exams = series[series["format"] == "dicom"]
    if exams.empty or "exam_id" not in exams.columns:
        return []
    exams = exams.drop_duplicates("exam_id")
    text = exams["StudyDescription"].map(inputs.hide, na_action="ignore")
    shared = shared_words(text, exams["patient_id"])
    # what stands in one header only may name a person
    text = _words(
        without_names(text, exams["patient_id"], "descriptions of one exam each, which may hold a name", shared)
    )
    kept = exams["exam_id"].isin(inputs.cohort["exam_id"])
    table = kept.groupby(text).agg(["size", "sum"]).sort_values("size", ascending=False)
    rows = [{"text": t, "found": int(n), "kept": int(k), "share": n / table["size"].max()}
            for t, n, k in table.head(MAX_ROWS).itertuples()]  # fmt: skip
    rest = table.iloc[MAX_ROWS:]
    if len(rest):
        share = rest["size"].sum() / table["size"].max()
        rows.append({"text": f"{len(rest)} other descriptions", "found": int(rest["size"].sum()),
                     "kept": int(rest["sum"].sum()), "share": min(share, 1.0)})  # fmt: skip
    return rows


def _histograms(series: pd.DataFrame) -> list[tuple[str, Any]]:
    """(Name of its file, figure) of each measure that is known."""
    found = []
    for name, columns in _MEASURES:
        held = [pd.to_numeric(series[c], errors="coerce").dropna() for c in columns if c in series.columns]
        if any(len(values) for values in held):
            counted = "series" if len(columns) == 1 else "values, two of each series"
            drawn = figures.histogram(np.concatenate(held), name, "mm", counted)
            found.append((name.lower().replace(" ", "-"), drawn))
    return found


def _orientations(series: pd.DataFrame) -> list[dict[str, Any]]:
    """Row and column direction of the slices (direction cosines towards left, posterior, superior), and the view."""
    cosines = series.get("ImageOrientationPatient", pd.Series(dtype=object)).reindex(series.index)
    columns = {
        "cosines": cosines.map(_rounded, na_action="ignore"),
        "view": series["plane"],
        "axes": series["orientation"],
    }
    told = pd.DataFrame({name: _words(column) for name, column in columns.items()})
    counts = told.value_counts(sort=True)
    rows = [dict(zip(told.columns, key, strict=True)) | {"n": int(n)} for key, n in counts.head(MAX_ROWS).items()]
    if len(counts) > MAX_ROWS:
        rest = counts.iloc[MAX_ROWS:]
        rows.append({"cosines": f"{len(rest)} other orientations", "view": "", "axes": "", "n": int(rest.sum())})
    return rows


def _words(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), "not given")


def _rounded(text: str) -> str:
    """Two decimals: scanners write 4.897e-12 for 0, and -0 is no direction."""
    try:
        return ", ".join(f"{round(float(part), 2) + 0.0:g}" for part in text.split("\\"))
    except ValueError:
        return "not readable"
