"""Rows of the series index, and those of DICOM series."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from scan2gene.core.axes import axis_codes, plane
from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.limits import check_plausible
from scan2gene.imaging.frame import KEPT, MARKS, Frame
from scan2gene.imaging.grid import MIN_SLICES, Stack, grid
from scan2gene.imaging.sequence import recognise
from scan2gene.imaging.sources import Source
from scan2gene.imaging.stacks import series_words, stacks
from scan2gene.imaging.tags import KEYWORDS

SERIES_COLUMNS = (
    "series_id", "path", "format", "patient_id", "exam_id", *KEYWORDS, "ImageOrientationPatient", "n_files", "n_copies",
    "n_unreadable", "shape", "spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "origin_x_mm", "origin_y_mm",
    "origin_z_mm", "orientation", "plane", "told_apart_by", "sequence", "sequence_rule", "burned_in",
    "birth_date_number", "status", "reason", "note",
)  # fmt: skip
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
Row = dict[str, Any]


def index_row(**values: Any) -> Row:
    """One row of the index; what is not given is empty."""
    return dict.fromkeys(SERIES_COLUMNS, "") | values


def geometry_columns(shape: tuple[int, ...], affine: np.ndarray) -> Row:
    """Size, spacing, origin and orientation of a volume (I, J, K) as the index shows them."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0).round(4)
    return {
        "shape": "x".join(str(n) for n in shape),
        **{f"spacing_{axis}_mm": float(v) for axis, v in zip("ijk", spacing, strict=True)},
        **{f"origin_{axis}_mm": float(v) for axis, v in zip("xyz", affine[:3, 3].round(3), strict=True)},
        "orientation": axis_codes(affine),
        "plane": plane(affine),
    }


def dicom_rows(uid: str, frames: Sequence[Frame], lost: int) -> tuple[list[Row], list[tuple[Row, Frame]]]:
    """One row per volume and per damaged file of a series.

    Args:
        uid: SeriesInstanceUID, or what stands for it.
        frames: Of all its files.
        lost: Files without a readable header that may be slices of it.

    Returns:
        The rows; and those of a single slice, with that slice, for `say_one_uid_per_slice`.
    """
    parts = stacks(frames, lost)
    # of the files that are read: copies in other folders are left aside
    folder = _common_folder([f.source.folder for stack in parts for f in (*stack.frames, *stack.damaged)])
    b_values = _largest_b(frames)
    rows, single = [], []
    for number, stack in enumerate(parts):
        if stack.frames:  # else all its files are damaged, and have rows of their own
            row = _header_columns(_first(stack.frames), folder) | _volume_columns(stack, b_values)
            exams = {f.exam for f in stack.frames}
            if len(exams) > 1:
                patients = {patient for patient, _ in exams}
                row |= {"patient_id": patients.pop() if len(patients) == 1 else "", "exam_id": folder}
            row |= {"series_id": f"{uid}/{number}", "path": f"{folder}#{uid}/{number}"}
            rows.append(row)
            if len(stack.frames) == 1 and row["status"] != "ok" and not stack.frames[0].trouble:
                single.append((row, stack.frames[0]))
    damaged = [f for f in frames if f.damage]
    names = [f.source.name for f in damaged]
    for frame in damaged:
        name = frame.source.name if names.count(frame.source.name) == 1 else frame.source.path.replace("/", "|")
        row = _header_columns(frame, frame.source.folder)
        row |= {"series_id": f"{uid}/{name}", "path": frame.source.path, "n_files": 1}
        rows.append(row | {"status": "rejected", "reason": frame.damage})
    return rows, single


def _first(frames: Sequence[Frame]) -> Frame:
    """The frame whose header stands for its volume, whatever the files are called."""
    return min(frames, key=lambda f: (f.order, f.marks, f.header))


def _header_columns(frame: Frame, folder: str) -> Row:
    header = dict(zip(KEPT, frame.header, strict=True))
    patient, study = frame.exam
    return index_row(
        format="dicom",
        patient_id=patient,
        exam_id=study or folder,
        burned_in=_burned_in(header),
        birth_date_number=header["PatientBirthDate"],
        **{k: header[k] for k in KEYWORDS},
    )


def _volume_columns(stack: Stack, b_values: Mapping[tuple[str, ...], float]) -> Row:
    telling = dict(mark.split("=", 1) for mark in stack.apart.split("; ") if "=" in mark)
    row: Row = {k: v for k, v in telling.items() if k in KEYWORDS}
    first = _first(stack.frames)
    header = dict(zip(KEPT, first.header, strict=True)) | row
    marks = {k: v for k, v in zip(MARKS, first.marks, strict=True) if v}
    more = {"DiffusionBValue": b_values.get(series_words(first.header)), "SeveralEchoes": "EchoTime" in telling}
    sequence, rule = recognise(header | marks | {k: str(v) for k, v in more.items() if v})
    row |= {
        "ImageOrientationPatient": "\\".join(f"{v:g}" for v in stack.frames[0].orientation),
        "n_files": len({frame.source for frame in stack.frames}),
        "n_copies": stack.copies,
        "n_unreadable": len(stack.damaged) + stack.lost,
        "told_apart_by": stack.apart,
        "sequence": sequence,
        "sequence_rule": rule,
        "burned_in": max(_burned_in(dict(zip(KEPT, h, strict=True))) for h in {f.header for f in stack.frames}),
        "status": "ok",
    }
    try:
        if header["Modality"] == "SEG":
            raise ScanError("a DICOM segmentation (SEG), which is not read: write it as a NIfTI or NRRD mask")
        _, shape, affine = grid(stack)
        row |= geometry_columns(shape, affine)
        check_plausible(shape, [row[f"spacing_{axis}_mm"] for axis in "ijk"])
        if header["Modality"] not in ("MR", ""):
            raise ScanError(f"modality {header['Modality']} is not MR")
    except Exception as error:  # headers hold anything
        row |= {"status": "rejected", "reason": reason_of(error)}
    return row


def _largest_b(frames: Sequence[Frame]) -> dict[tuple[str, ...], float]:
    """Of each diffusion series; its volume without diffusion weighting belongs to it all the same."""
    place = MARKS.index("DiffusionBValue")
    largest: dict[tuple[str, ...], float] = defaultdict(float)
    for words, text in {(series_words(f.header), f.marks[place]) for f in frames if f.marks[place]}:
        with suppress(ValueError):
            largest[words] = max(largest[words], float(text))
    return largest


def say_one_uid_per_slice(single: Iterable[tuple[Row, Frame]]) -> None:
    """Say so in the rows of lone slices that are slices of one series with a SeriesInstanceUID each."""
    alike: dict[tuple, list[tuple[Row, Frame]]] = defaultdict(list)
    for row, frame in single:
        direction = tuple(round(v, 2) for v in frame.orientation)
        alike[frame.exam[0], frame.size, direction, series_words(frame.header)].append((row, frame))
    for members in alike.values():
        if len({frame.position for _, frame in members}) >= MIN_SLICES:
            for row, _ in members:
                row["reason"] = (
                    f"only 1 slice: {len(members)} slices that look like one series have a SeriesInstanceUID each, "
                    "as some anonymisers write it, so which belong together cannot be told"
                )


def number_births(rows: Iterable[Row]) -> None:
    """Put numbers in place of what stands for birth dates: equal numbers are equal dates, and tell nothing else."""
    rows = list(rows)
    number = {mark: n for n, mark in enumerate(sorted({r["birth_date_number"] for r in rows} - {""}), 1)}
    for row in rows:
        row["birth_date_number"] = number.get(row["birth_date_number"], "")


def unread_row(source: Source, reason: str) -> Row:
    """The row of a file that cannot be read."""
    return index_row(series_id=source.path, path=source.path, n_files=1, status="rejected", reason=reason)


def _common_folder(folders: list[str]) -> str:
    """What all lie below; absolute where some are relative to where we are and some are not."""
    try:
        return os.path.commonpath(folders)
    except ValueError:
        return os.path.commonpath([Path(folder).absolute() for folder in folders])


def _burned_in(header: Mapping[str, str]) -> str:
    """Whether names may be painted into the pixels: "yes" by the header, "possible" for captured screens."""
    said = header["BurnedInAnnotation"].upper()
    if said in ("YES", "NO"):
        return "yes" if said == "YES" else ""
    captured = header["SOPClassUID"].startswith(_SECONDARY_CAPTURE)
    return "possible" if captured or header["SamplesPerPixel"] not in ("", "1") else ""


def reason_of(error: Exception) -> str:
    """Our own messages as they are; of foreign ones only the kind, since they may quote the header."""
    return str(error) if isinstance(error, ScanError | GeometryError) else f"unreadable ({type(error).__name__})"
