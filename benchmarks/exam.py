"""One synthetic breast exam as 120 DICOM files: a body with two breasts, tissue and noise, in air."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHAPE, SPACING = (512, 512, 120), (0.7, 0.7, 1.5)


def voxels(shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> np.ndarray:
    """(I, J, K) uint16, 12 bits: a chest with two breasts, glandular texture, Rician noise."""
    from scipy.ndimage import gaussian_filter, zoom

    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    chest = (x / 0.9) ** 2 + ((y - 0.75) / 0.75) ** 2 + (z / 1.6) ** 2 < 1
    breasts = ((np.abs(x) - 0.42) / 0.33) ** 2 + ((y + 0.05) / 0.55) ** 2 + (z / 0.8) ** 2 < 1
    coarse = gaussian_filter(rng.standard_normal([n // 4 + 1 for n in shape], dtype=np.float32), 2)
    texture = zoom(coarse / coarse.std(), [n / c for n, c in zip(shape, coarse.shape, strict=True)], order=1)
    signal = np.where(chest | breasts, 700 + 220 * texture, 0).clip(0)
    noise = [rng.normal(0, 40, shape).astype(np.float32) for _ in range(2)]
    return np.hypot(signal + noise[0], noise[1]).clip(0, 4095).astype(np.uint16)


def write_exam(folder: Path) -> None:
    """`SHAPE` voxels as one axial MR series."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    series, array = generate_uid(), voxels()
    for k in range(SHAPE[2]):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, data.file_meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality, data.PatientID = series, series, "MR", "BENCH"
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, k * SPACING[2]], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = list(SPACING[:2]), SPACING[2]
        data.Rows, data.Columns, data.SamplesPerPixel = SHAPE[1], SHAPE[0], 1
        data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored = "MONOCHROME2", 16, 12
        data.HighBit, data.PixelRepresentation, data.InstanceNumber = 11, 0, k + 1
        data.PixelData = np.ascontiguousarray(array[:, :, k].T).tobytes()
        data.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
