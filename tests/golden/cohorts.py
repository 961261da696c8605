"""Synthetic patients for the golden studies: small, quick to write, the same voxels every time."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

SHAPE = (24, 16, 8)  # columns, rows, slices
SPACING = (1.5, 1.5, 3.0)
SIDE = 24
SCANNERS = {
    "A": ("SIEMENS", "Espree", 1.5),
    "B": ("GE MEDICAL SYSTEMS", "Signa", 3.0),
    "C": ("Philips", "Ingenia", 3.0),
}


def write_volumes(folder: Path, patients: int = 30, seed: int = 1, first: int = 0) -> None:
    """Patients of three hospitals: T1 as DICOM, for most a T2 as NIfTI, and a mask of their lesions.

    A lesion lies in the left half, the right half or both (columns `left`, `right`); it is brighter where `gene` is 1.
    Half of the series are stored mirrored. One more patient has no label, one has a gap in the series, one has a
    label and no scan.

    Args:
        folder: Gets `scans/` and `labels.csv`.
        patients: How many.
        seed: Of voxels and labels.
        first: Number of the first patient.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for n in range(first, first + patients + 2):
        row = {"patient_id": f"P{n:03d}", "gene": n % 2, "left": int(rng.random() < 0.5), "right": 1}
        row["right"] = int(rng.random() < 0.4) if row["left"] else 1
        row |= {"site": "ABC"[n // 2 % 3], "age": 40 + int(rng.integers(30)) + 4 * row["gene"], "sex": "FM"[n // 3 % 2]}
        _write_exam(folder / "scans" / str(row["patient_id"]), n, row, rng)
        rows.append(row)
    unlabelled = rows.pop()
    lost = sorted((folder / "scans" / str(rows[-1]["patient_id"]) / "t1").iterdir())
    lost[len(lost) // 2].unlink()
    rows.append(unlabelled | {"patient_id": "P999"})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)


def _write_exam(folder: Path, n: int, row: dict, rng: np.random.Generator) -> None:
    array = rng.normal(300, 25, SHAPE)
    array[:2], array[-2:], array[:, :1] = 5, 5, 5  # air
    mask = np.zeros(SHAPE, np.uint8)
    for side, start in (("right", 5), ("left", 15)):  # columns run from the patient's right to left
        if row[side]:
            i, j, k = start + rng.integers(-1, 2), rng.integers(4, 7), rng.integers(2, 4)
            mask[i : i + 4, j : j + 4, k : k + 3] = 1
    array += mask * (150.0 + 180 * row["gene"])
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])  # RAS
    mirrored = bool(n // 3 % 2)
    if mirrored:
        array, mask = array[::-1], mask[::-1]
        affine[0] = [SPACING[0], 0, 0, -SPACING[0] * (SHAPE[0] - 1)]
    _write_series(folder / "t1", np.clip(array, 0, 4095).astype(np.uint16), mirrored, n, row)
    nib.save(nib.Nifti1Image(mask, affine), folder / "mask.nii.gz")
    if n % 5:
        t2 = rng.normal(200, 20, SHAPE) + 40.0 * (array > 200)
        nib.save(nib.Nifti1Image(t2.astype(np.int16), affine), folder / "t2.nii.gz")


def _write_series(folder: Path, voxels: np.ndarray, mirrored: bool, n: int, row: dict) -> None:
    folder.mkdir(parents=True)
    maker, model, strength = SCANNERS[row["site"]]
    for k in range(voxels.shape[2]):
        data, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        data.file_meta = meta
        data.StudyInstanceUID, data.SeriesInstanceUID = f"2.25.{1000 + n}", f"2.25.{1000 + n}.1"
        data.SOPInstanceUID = meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + n}.1.{k + 1}"
        data.SOPClassUID, data.Modality, data.InstanceNumber = MRImageStorage, "MR", k + 1
        data.PatientID, data.PatientName, data.PatientSex = row["patient_id"], "Phantom^Golden", row["sex"]
        data.PatientAge, data.StudyDate = f"{row['age']:03d}Y", f"2015{1 + n // 2 % 12:02d}{1 + n // 3 % 28:02d}"
        data.StudyDescription, data.SeriesDescription = "MR BREAST", "T1 FS POST GD"
        data.Manufacturer, data.ManufacturerModelName, data.MagneticFieldStrength = maker, model, strength
        data.RepetitionTime, data.EchoTime, data.ContrastBolusAgent = 5 + 0.1 * (n % 3), 2.1, "Gadavist"
        data.ImageOrientationPatient = [-1 if mirrored else 1, 0, 0, 0, 1, 0]
        data.ImagePositionPatient = [SPACING[0] * (SHAPE[0] - 1) if mirrored else 0, 0, SPACING[2] * k]
        data.PixelSpacing, data.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        data.Rows, data.Columns, data.SamplesPerPixel = voxels.shape[1], voxels.shape[0], 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = voxels[:, :, k].T.tobytes()
        data.save_as(folder / f"{(5 * k) % 8:03d}.dcm", enforce_file_format=True)  # names say nothing of the order


def write_keys(folder: Path, scans: Path) -> Path:
    """A pseudonym for every patient, exam and series, so that none is drawn at random; returns the key file."""
    patients = sorted(p.name for p in scans.iterdir())
    numbers = [int(p[1:]) for p in patients]
    listed = set(pd.read_csv(scans.parent / "labels.csv", dtype=str)["patient_id"])
    ids = {
        "": ("patient_id", patients + sorted(listed - set(patients))),
        ".exams": ("exam_id", [f"2.25.{1000 + n}" for n in numbers]
                   + sorted({str(p.parent) for p in scans.rglob("*.nii.gz")})),
        ".series": ("series_id", [s for n in numbers for s in (f"2.25.{1000 + n}.1/0",)]
                    + [str(p) for p in sorted(scans.rglob("*.nii.gz"))]),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for kind, (column, known) in ids.items():
        names = [f"{column[0].upper()}-{1000 + 7 * n % 997}" for n in range(len(known))]
        pd.DataFrame({column: known, "pseudonym": names}).to_csv(folder / f"key{kind}.csv", index=False)
    return folder / "key.csv"


def write_slices(folder: Path, patients: int = 18) -> None:
    """Patients with an axial and, but for every fifth, a coronal series; some slices are bright where `gene` is 1."""
    rng = np.random.default_rng(7)
    coronal = np.array([[-1.0, 0, 0, 0], [0, 0, -5, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    grid = np.linspace(-1, 1, SIDE)
    inside = (grid[:, None] ** 2 + grid**2 < 0.8)[:, :, None]
    rows = []
    for n in range(patients):
        place = folder / "scans" / f"P{n:03d}"
        place.mkdir(parents=True)
        for role, affine in (("axial", np.diag([-1.0, -1, 5, 1])), ("coronal", coronal)):
            slices = int(rng.integers(6, 9))
            array = np.where(inside, 90 + 12 * rng.standard_normal((SIDE, SIDE, slices)), 3)
            array[:, :, [0, -1]] = 3
            spot = np.zeros(array.shape, np.uint8)
            spot[10:15, 9:14, 2:4] = 1
            array[spot > 0] += 110.0 * (n % 2)
            if role == "axial" or n % 5:
                nib.save(nib.Nifti1Image(np.clip(array, 0, 255).astype(np.uint8), affine), place / f"{role}.nii")
            if role == "axial":
                nib.save(nib.Nifti1Image(spot, affine), place / "spot.nii")
        rows.append({"patient_id": f"P{n:03d}", "gene": n % 2, "age": 40 + 7 * n % 31})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
