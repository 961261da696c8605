"""The series index: every scan under some folders, one row each, rejects with a reason."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.console import track
from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.geometry import axis_codes, plane
from scan2gene.core.volume import Volume
from scan2gene.imaging import dicom
from scan2gene.imaging.nifti import is_nifti, label_array, read_nifti

DICOM_SUFFIXES = (".dcm", ".ima", ".dicom")
SERIES_COLUMNS = (
    "series_id", "path", "format", "patient_id", "exam_id", *dicom.KEYWORDS, "ImageOrientationPatient", "n_files",
    "shape", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "orientation", "plane", "status", "reason",
)  # fmt: skip


def index(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Find every DICOM series and NIfTI volume.

    Args:
        paths: A folder or file, or several.

    Returns:
        One row per 3D volume, columns `SERIES_COLUMNS`, sorted by path. `status` is "ok"
        or "rejected", then `reason` says why. `read_volume(row.path)` opens that row.

    Raises:
        ScanError: A path does not exist.
    """
    # folders may overlap: a file counts once
    files = list(dict.fromkeys(_scan_files([paths] if isinstance(paths, str | Path) else paths)))
    rows: list[dict[str, Any]] = []
    headers: list[tuple[Path, Any]] = []
    for path in track(files, "index", len(files)):
        try:
            if is_nifti(path):
                rows.append(_nifti_row(path))
            else:
                headers.append((path, dicom.read_header(path)))
        except Exception as error:  # one bad file never stops an index
            rows.append(_row(series_id=str(path), path=str(path), n_files=1, status="rejected", reason=_reason(error)))
    rows += [_dicom_row(uid, members) for uid, members in dicom.group_series(headers).items()]
    table = pd.DataFrame(rows, columns=list(SERIES_COLUMNS))
    return table.sort_values("path", kind="stable", ignore_index=True)


def read_volume(path: str | Path, kind: str = "intensity") -> Volume:
    """Open one row of the index, or a NIfTI file, or a folder that holds one DICOM series.

    Args:
        path: `series.csv`'s path: a NIfTI file, or `folder#SeriesInstanceUID/0`.
        kind: "intensity", or "label" for a mask (integers kept).

    Returns:
        Volume; intensities are float32 with DICOM's or NIfTI's rescale applied.

    Raises:
        ScanError: Nothing there, more than one series, or not a regular readable volume.
    """
    location, uid = split_row_path(path)
    if not location.exists():
        raise ScanError(f"there is no scan at {location}")
    if is_nifti(location):
        return read_nifti(location, "label" if kind == "label" else "intensity")
    found = []
    for file in _scan_files([location]):
        try:
            if not is_nifti(file):
                found.append((file, dicom.read_header(file)))
        except ScanError:
            if file == location:
                raise  # a bad neighbour in a folder is the index's business, not this series'
    groups = dicom.group_series(found)
    wanted = next(iter(groups), "") if uid is None else uid
    if wanted not in groups or (uid is None and len(groups) > 1):
        raise ScanError(f"{location} holds {len(groups)} series; name one as FOLDER#SeriesInstanceUID/0 (see `index`)")
    volume = dicom.read_series([file for file, _ in groups[wanted]])
    if kind == "label":
        return Volume(label_array(volume.array), volume.affine, "label")
    return volume


def split_row_path(path: str | Path) -> tuple[Path, str | None]:
    """A row's path as file or folder and, for DICOM, SeriesInstanceUID; a '#' may also belong to a name."""
    folder, mark, series = str(path).rpartition("#")
    if not mark or Path(path).exists():
        return Path(path), None
    return Path(folder), series.rpartition("/")[0]


def fingerprint(paths: Iterable[str | Path]) -> list[tuple[str, int, int]]:
    """(path, bytes, modification time in ns) of every scan file: cheap evidence that nothing changed."""
    return [(str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in _scan_files(paths)]


def _scan_files(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Scan files below `paths`, sorted; hidden files and other formats are passed over."""
    for root in map(Path, paths):
        if root.is_file():
            yield root
            continue
        if not root.is_dir():
            raise ScanError(f"there is no folder or file {root}")
        seen = {os.path.realpath(root)}
        for folder, folders, names in os.walk(root, followlinks=True):
            folders[:] = sorted(d for d in folders if not d.startswith(".") and _first_visit(Path(folder, d), seen))
            for name in sorted(names):
                path = Path(folder, name)
                if not name.startswith(".") and (is_nifti(path) or _may_be_dicom(path)):
                    yield path


def _first_visit(folder: Path, seen: set[str]) -> bool:
    """False for a folder that a link leads to again; links are followed, loops are not."""
    real = os.path.realpath(folder)
    if real in seen:
        return False
    seen.add(real)
    return True


def _may_be_dicom(path: Path) -> bool:
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _row(**values: Any) -> dict[str, Any]:
    return dict.fromkeys(SERIES_COLUMNS, "") | values


def _geometry_columns(shape: tuple[int, ...], affine: np.ndarray) -> dict[str, Any]:
    spacing = np.linalg.norm(affine[:3, :3], axis=0).round(4)
    return {
        "shape": "x".join(str(n) for n in shape),
        **{f"spacing_{axis}_mm": float(v) for axis, v in zip("ijk", spacing, strict=True)},
        "orientation": axis_codes(affine),
        "plane": plane(affine),
    }


def _nifti_row(path: Path) -> dict[str, Any]:
    # Read to the end: only so is a file that was cut short noticed here and not in the middle of a study.
    volume = read_nifti(path)
    return _row(
        series_id=str(path),
        path=str(path),
        format="nifti",
        exam_id=str(path.parent),
        n_files=1,
        status="ok",
        **_geometry_columns(volume.shape, volume.affine),
    )


def _dicom_row(uid: str, members: list[tuple[Path, Any]]) -> dict[str, Any]:
    header = members[0][1]
    folder = os.path.commonpath([path.parent for path, _ in members])
    row = _row(
        series_id=f"{uid}/0",
        path=f"{folder}#{uid}/0",
        format="dicom",
        patient_id=str(header.get("PatientID") or ""),
        exam_id=str(header.get("StudyInstanceUID") or ""),
        n_files=len(members),
        ImageOrientationPatient=_text(header.get("ImageOrientationPatient")),
        status="ok",
        **{k: _text(header.get(k)) for k in dicom.KEYWORDS},
    )
    try:
        _, shape, affine = dicom.series_grid([h for _, h in members])
        row |= _geometry_columns(shape, affine)
        if row["Modality"] not in ("MR", ""):
            raise ScanError(f"modality {row['Modality']} is not MR")
    except Exception as error:  # headers hold anything
        row |= {"status": "rejected", "reason": _reason(error)}
    return row


def _reason(error: Exception) -> str:
    """Our own messages as they are; of foreign ones only the kind, since they may quote the header."""
    return str(error) if isinstance(error, ScanError | GeometryError) else f"unreadable ({type(error).__name__})"


def _text(value: Any) -> str:
    """A header value as text; None is empty, several values are joined by a backslash as in DICOM."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    try:
        return "\\".join(str(v) for v in value)
    except TypeError:
        return str(value)
