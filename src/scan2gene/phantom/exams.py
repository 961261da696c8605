"""Synthetic patients written to disk: DICOM series, a lesion mask, a label table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.phantom.patients import Patient, draw_patients, lesion_weight, signal
from scan2gene.phantom.scanners import SCANNERS, SEQUENCES, Scanner, acquisition_grid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_UID_ROOT = "2.25."  # UUID-derived UIDs, PS3.5 B.2
STUDY_DESCRIPTION = {"breast": "MR BREAST BILATERAL", "brain": "MR BRAIN W WO CONTRAST"}


def write_cohort(
    folder: Path,
    n: int,
    effect: float,
    organ: str = "breast",
    sequences: tuple[str, ...] = ("t1c",),
    seed: int = 0,
    troubles: bool = False,
) -> list[Patient]:
    """Write `folder/scans/` (DICOM and mask NIfTI) and `folder/labels.csv`.

    Args:
        folder: Made if needed.
        n: Patients.
        effect: See `patients.draw_patients`; 0 is the null cohort.
        organ: "breast" or "brain".
        sequences: Keys of `scanners.SEQUENCES`.
        seed: Same seed, same voxels.
        troubles: Add what real folders hold: a biopsy study, a series with a missing
            slice, a text file named .dcm, a patient without label, a label without scan.

    Returns:
        The patients, in the order of the table.
    """
    patients = draw_patients(n, effect, organ, seed)
    rows = []
    for patient in patients:
        write_exam(folder / "scans" / patient.patient_id, patient, sequences)
        rows.append(
            {"patient_id": patient.patient_id, "mutation": patient.label, "site": patient.site, "age": patient.age}
        )
    if troubles:
        _add_troubles(folder / "scans", patients, sequences, seed)
        rows.append({"patient_id": "SYN-9001", "mutation": 1, "site": "A", "age": 47.0})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    return patients


def _add_troubles(scans: Path, patients: list[Patient], sequences: tuple[str, ...], seed: int) -> None:
    from dataclasses import replace

    scans.joinpath("notes.dcm").write_text("exported by hand, please check\n")
    unlabelled = replace(patients[0], patient_id="SYN-9000", seed=seed + 1)
    write_exam(scans / "SYN-9000", unlabelled, sequences)
    write_exam(scans / "SYN-0001_biopsy", patients[1], sequences[:1], "MR BREAST BIOPSY", mask=False, study=3)
    broken = write_exam(scans / "SYN-0002_repeat", patients[2], sequences[:1], mask=False, study=2)
    sorted(broken[sequences[0]])[len(broken[sequences[0]]) // 2].unlink()


def write_exam(
    folder: Path,
    patient: Patient,
    sequences: tuple[str, ...],
    study_description: str | None = None,
    mask: bool = True,
    study: int = 1,
) -> dict[str, list[Path]]:
    """Write one exam: a DICOM series per sequence, file names unrelated to slice order.

    Returns:
        Files of each sequence, in slice order.
    """
    scanner = SCANNERS[patient.scanner]
    shape, lps = acquisition_grid(scanner, patient.organ)
    points = points_of(shape, LPS_TO_RAS @ lps)
    rng = np.random.default_rng([patient.seed, study])
    files = {}
    for number, sequence in enumerate(sequences, start=1):
        clean = signal(patient, points, sequence)
        noise = rng.normal(0, scanner.noise_std, (2, *shape)).astype(np.float32)
        rician = np.hypot(clean + noise[0], noise[1])  # magnitude of a complex signal
        stored = np.clip(np.rint(rician * scanner.gain), 0, 4095).astype(np.uint16)
        target = folder / f"s{number:02d}"
        description = study_description or STUDY_DESCRIPTION[patient.organ]
        files[sequence] = write_series(target, stored, lps, patient, scanner, sequence, (study, number), description)
    if mask:
        import nibabel as nib

        label = (lesion_weight(patient, points) >= 0.5).astype(np.uint8)
        nib.save(nib.Nifti1Image(label, LPS_TO_RAS @ lps), folder / "mask.nii.gz")
    return files


def points_of(shape: tuple[int, int, int], ras: np.ndarray) -> np.ndarray:
    """RAS mm of every voxel, (I, J, K, 3) float32."""
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"), axis=-1)
    return index @ ras[:3, :3].T.astype(np.float32) + ras[:3, 3].astype(np.float32)


def write_series(
    folder: Path,
    stored: np.ndarray,
    lps: np.ndarray,
    patient: Patient,
    scanner: Scanner,
    sequence: str,
    numbers: tuple[int, int],
    study_description: str,
    file_name: str = "IM{:04d}.dcm",
    header: Mapping[str, Any] | None = None,
) -> list[Path]:
    """One file per slice.

    Args:
        folder: Made if needed.
        stored: (columns, rows, slices) uint16, 12 bits used.
        lps: Affine (column, row, slice) -> mm, LPS.
        patient: Whom the header names.
        scanner: What the header says of the machine and of the directions.
        sequence: Key of `scanners.SEQUENCES`.
        numbers: Of the study and of the series; both go into the UIDs.
        study_description: StudyDescription.
        file_name: With one number, which has nothing to do with the order of slices.
        header: Further DICOM keywords, or others in place of these.

    Returns:
        Files in slice order.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import MRImageStorage

    folder.mkdir(parents=True, exist_ok=True)
    study, number = numbers
    descriptions, agent = SEQUENCES[sequence]
    stem = f"{_UID_ROOT}{patient.seed}{study}"
    names = np.random.default_rng(patient.seed + number).permutation(stored.shape[2])
    data = Dataset()
    data.SOPClassUID = MRImageStorage
    data.StudyInstanceUID, data.SeriesInstanceUID = stem, f"{stem}.{number}"
    data.FrameOfReferenceUID = f"{stem}.0"
    data.Modality, data.PatientID, data.PatientName = "MR", patient.patient_id, "Phantom^Synthetic"
    data.PatientAge, data.PatientSex = f"{round(patient.age):03d}Y", "F" if patient.organ == "breast" else "O"
    data.StudyDate = f"20{10 + patient.seed % 10}{1 + patient.seed % 12:02d}{1 + patient.seed % 28:02d}"
    data.StudyDescription, data.SeriesDescription = study_description, descriptions[patient.organ]
    data.SeriesNumber = number
    data.Manufacturer, data.ManufacturerModelName = scanner.manufacturer, scanner.model
    data.MagneticFieldStrength, data.ContrastBolusAgent = scanner.field_strength_t, agent
    data.ImageOrientationPatient = [*scanner.row, *scanner.column]
    data.PixelSpacing = [scanner.in_plane_mm, scanner.in_plane_mm]
    data.SliceThickness, data.SpacingBetweenSlices = scanner.slice_thickness_mm, scanner.slice_spacing_mm
    data.Rows, data.Columns = stored.shape[1], stored.shape[0]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    for keyword, value in (header or {}).items():
        setattr(data, keyword, value)
    shared = _encoded(data)
    paths = []
    for k in range(stored.shape[2]):
        own, uid = Dataset(), f"{stem}.{number}.{k + 1}"
        own.SOPInstanceUID, own.InstanceNumber = uid, k + 1
        own.ImagePositionPatient = [f"{v:.6g}" for v in (lps @ [0, 0, k, 1])[:3]]
        own.add_new("PixelData", "OW", stored[:, :, k].T.tobytes())
        before, after = _meta(len(uid))
        elements = _encoded(own) | shared
        path = folder / file_name.format(names[k])
        path.write_bytes(b"".join([before, uid.encode(), after, *(elements[tag] for tag in sorted(elements))]))
        paths.append(path)
    return paths


def _encoded(data: Dataset) -> dict[int, bytes]:
    """Every element by tag, as it stands in a file of explicit VR little endian.

    The slices of a series share all but four elements; encoding the others once makes a series ten times as fast.
    """
    from pydicom.charset import convert_encodings
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import correct_ambiguous_vr, write_data_element

    encodings = convert_encodings(data.get("SpecificCharacterSet", "ISO_IR 6"))
    found = {}
    for element in correct_ambiguous_vr(data, is_little_endian=True):
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_data_element(stream, element, encodings)
        found[int(element.tag)] = stream.getvalue()
    return found


@cache
def _meta(length: int) -> tuple[bytes, bytes]:
    """What stands in a file before and after an instance UID of this length: preamble and file meta information."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_file_meta_info
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    meta, stream, uid = FileMetaDataset(), DicomBytesIO(), "2." + "1" * (length - 2)
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = uid
    write_file_meta_info(stream, meta)
    before, after = stream.getvalue().split(uid.encode())
    return bytes(128) + b"DICM" + before, after
