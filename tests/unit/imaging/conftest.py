"""A writer of small DICOM series, one file per slice, in any order and with any fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

AXIAL = (1, 0, 0, 0, 1, 0)


def write_slices(
    folder: Path,
    slices: Sequence[np.ndarray],
    positions: Sequence[Sequence[float]],
    orientation: Sequence[float] = AXIAL,
    change: Callable[[int, Dataset], None] = lambda k, data: None,
    **same: Any,
) -> list[Path]:
    """Write slices (rows, columns) uint16 at LPS positions; `change` may spoil single headers."""
    folder.mkdir(parents=True, exist_ok=True)
    study, series = generate_uid(), generate_uid()
    paths = []
    for k, (pixels, position) in enumerate(zip(slices, positions, strict=True)):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.Modality, data.PatientID, data.PatientName = "MR", "P1", "Secret^Name"
        data.InstanceNumber = k + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = list(position), list(orientation)
        data.PixelSpacing, data.SliceThickness = [1.5, 0.75], 2
        data.Rows, data.Columns = pixels.shape
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.PixelData = pixels.astype("<u2").tobytes()
        for keyword, value in same.items():
            setattr(data, keyword, value)
        change(k, data)
        paths.append(folder / f"{k:03d}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.fixture
def write_series(tmp_path):
    """`write_series(n, step)`: n axial slices of noise, 3 mm apart, in `tmp_path/scan`; returns the folder."""

    def write(n: int = 5, positions: Any = None, **options: Any) -> Path:
        pixels = np.random.default_rng(0).integers(0, 4000, (n, 6, 4))
        where = [(10, 20, 3.0 * k) for k in range(n)] if positions is None else positions
        write_slices(tmp_path / "scan", list(pixels), where, **options)
        return tmp_path / "scan"

    return write
