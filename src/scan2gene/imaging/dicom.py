"""Classic single-frame DICOM series to volumes.

A series is found by SeriesInstanceUID, ordered by position along the slice normal and
refused unless the slices make a regular grid. DICOM's LPS becomes RAS+ here, once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.core.volume import Volume

MIN_SLICES = 3
ORIENTATION_TOLERANCE = 1e-3  # largest difference of a direction cosine within one series
SPACING_TOLERANCE_MM = 0.05  # slice gaps may differ from their median by this, or by 2 %, whichever is larger
SPACING_TOLERANCE = 0.02
TILT_TOLERANCE_MM = 0.1  # sideways shift from slice to slice, as of a tilted gantry

# What the index keeps of a header, in DICOM's own keywords; no names, birth dates or addresses.
KEYWORDS = (
    "Modality", "StudyDescription", "SeriesDescription", "ProtocolName", "Manufacturer", "ManufacturerModelName",
    "MagneticFieldStrength", "StudyDate", "PatientSex", "PatientAge", "SliceThickness", "SpacingBetweenSlices",
    "ContrastBolusAgent", "RepetitionTime", "EchoTime", "BitsStored",
)  # fmt: skip
_GEOMETRY = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID", "InstanceNumber",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "SamplesPerPixel", "ImageType",
)  # fmt: skip


def read_header(path: Path) -> Any:
    """Header of one DICOM file without its pixels (pydicom Dataset).

    Raises:
        ScanError: The file is not DICOM, or its header cannot be parsed.
    """
    import pydicom

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[*KEYWORDS, *_GEOMETRY])
    except Exception as error:  # damaged headers raise many kinds
        raise ScanError(f"not a readable DICOM file ({type(error).__name__})") from error
    if "SOPInstanceUID" not in header and "SeriesInstanceUID" not in header:
        raise ScanError("a DICOM file without image identifiers, such as a DICOMDIR")
    return header


def group_series(files: Iterable[tuple[Path, Any]]) -> dict[str, list[tuple[Path, Any]]]:
    """(path, header) pairs by SeriesInstanceUID."""
    groups: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for path, header in files:
        groups[str(header.get("SeriesInstanceUID", "unknown"))].append((path, header))
    return groups


def series_grid(headers: list[Any]) -> tuple[list[int], tuple[int, int, int], np.ndarray]:
    """Order and place of the slices of one series.

    Args:
        headers: One per file, any order.

    Returns:
        Order of the files from first to last slice; shape (I, J, K) = columns, rows,
        slices; affine (4, 4) voxel index -> RAS+ mm.

    Raises:
        ScanError: Not a regular stack: multi-frame, few slices, mixed sizes or
            orientations, repeated or missing positions, tilt.
    """
    if any(int(h.get("NumberOfFrames") or 1) > 1 for h in headers):
        raise ScanError("multi-frame DICOM is not read yet")
    if any("MOSAIC" in (h.get("ImageType") or []) for h in headers):
        raise ScanError("Siemens mosaic DICOM is not read yet")
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        if any(h.get(keyword) is None for h in headers):
            raise ScanError(f"a slice has no {keyword}, so its place in the patient is unknown")
    if len(headers) < MIN_SLICES:
        raise ScanError(f"only {len(headers)} slice(s); a volume needs at least {MIN_SLICES}")
    sizes = {(int(h.Columns), int(h.Rows)) for h in headers}
    spacings = {tuple(round(float(v), 4) for v in h.PixelSpacing) for h in headers}
    if len(sizes) > 1 or len(spacings) > 1:
        raise ScanError(f"slices of different size or pixel spacing: {sorted(sizes)} at {sorted(spacings)} mm")
    orientations = np.array([[float(v) for v in h.ImageOrientationPatient] for h in headers])  # (N, 6)
    if np.abs(orientations - orientations[0]).max() > ORIENTATION_TOLERANCE:
        raise ScanError("slices of different orientation in one series, such as a localiser")
    row, column = orientations[0, :3], orientations[0, 3:]
    lengths = np.linalg.norm([row, column], axis=1)
    if abs(row @ column) > ORIENTATION_TOLERANCE or np.abs(lengths - 1).max() > 0.01:
        raise ScanError("the row and column directions are not perpendicular unit vectors")
    normal = np.cross(row, column)
    positions = np.array([[float(v) for v in h.ImagePositionPatient] for h in headers])  # (N, 3)
    order = np.argsort(positions @ normal, kind="stable")
    positions = positions[order]
    step = _slice_step(positions, normal)
    affine = np.eye(4)
    row_mm, column_mm = (float(v) for v in headers[0].PixelSpacing)  # between rows, between columns
    affine[:3, 0] = row * column_mm
    affine[:3, 1] = column * row_mm
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    columns, rows = sizes.pop()
    return order.tolist(), (columns, rows, len(headers)), LPS_TO_RAS @ affine


def _slice_step(positions: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Vector (3,) from a slice to the next, in mm; refuses irregular stacks."""
    gaps = np.diff(positions @ normal)
    typical = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * typical)
    if typical <= SPACING_TOLERANCE_MM or gaps.min() <= SPACING_TOLERANCE_MM:
        raise ScanError("several slices at one position: repeated files, or a 4D series")
    if gaps.max() > 1.5 * typical:
        raise ScanError(f"a slice is missing: a gap of {gaps.max():.2f} mm among slices {typical:.2f} mm apart")
    if np.abs(gaps - typical).max() > tolerance:
        raise ScanError(f"unequal slice spacing, {gaps.min():.2f} to {gaps.max():.2f} mm")
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    if sideways > TILT_TOLERANCE_MM:
        raise ScanError(f"slices are sheared by {sideways:.2f} mm from one to the next, as of a tilted gantry")
    return step


def read_series(paths: list[Path]) -> Volume:
    """Read the files of one series: array (I, J, K) float32, rescale applied.

    8-bit colour gives (I, J, K, C).

    Raises:
        ScanError: Not a regular stack, or a slice that cannot be decoded.
    """
    import pydicom

    try:
        datasets = [pydicom.dcmread(p) for p in paths]
    except Exception as error:
        raise ScanError(f"not a readable DICOM file ({type(error).__name__})") from error
    order, _, affine = series_grid(datasets)
    array: np.ndarray | None = None
    for k, index in enumerate(order):
        pixels = _pixels(datasets[index])  # (rows, columns) or (rows, columns, channels)
        if array is None:
            array = np.empty((len(order), *pixels.shape), dtype=np.float32)  # (K, J, I), as the files hold it
        array[k] = pixels
        datasets[index].clear()  # frees the decoded pixels; a series is held once, not twice
    assert array is not None  # series_grid refuses empty series
    return Volume(array.swapaxes(0, 2), affine)


def _pixels(dataset: Any) -> np.ndarray:
    try:
        pixels = dataset.pixel_array
    except Exception as error:
        raise ScanError(
            f"a slice cannot be decoded ({type(error).__name__}); compressed files need `pip install scan2gene[codecs]`"
        ) from error
    slope, intercept = float(dataset.get("RescaleSlope") or 1), float(dataset.get("RescaleIntercept") or 0)
    return pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
