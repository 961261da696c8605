"""Exams in which every text tag, file and folder holds a word that is found nowhere else."""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from PIL import Image
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

TEXT_VRS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC", "CS")
STRUCTURE = ("Modality", "PhotometricInterpretation", "SpecificCharacterSet", "ImageType", "PixelPresentation")
SHAPE = (16, 16, 8)
POSITIVE = 2  # every second patient


def text_keywords() -> list[str]:
    """Every current text tag of the groups that describe patients, visits, studies, machines and series."""
    groups = (0x0008, 0x0010, 0x0012, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040)
    return [
        keyword
        for tag, (vr, _, _, retired, keyword) in DicomDictionary.items()
        if tag >> 16 in groups and vr in TEXT_VRS and not retired and keyword not in STRUCTURE
    ]


def word(kind: str, words: dict[str, str]) -> str:
    """A new word of letters for one place of this kind; noted in `words`."""
    number = len(words)
    letters = "".join(chr(ord("A") + number // 26**k % 26) for k in (3, 2, 1, 0))
    words[made := f"QX{letters}ZJ"] = kind
    return made


def write_planted(folder: Path, patients: int) -> dict[str, str]:
    """Write `scans/`, `labels.csv` and `study.yaml`; returns planted word -> where it was planted."""
    words: dict[str, str] = {}
    rng = np.random.default_rng(0)
    rows = []
    for n in range(patients):
        identity, exam = word("PatientID", words), folder / "scans" / f"{word('folder', words)} MR of somebody"
        name = f"{word('PatientName', words)}^{word('PatientName', words)}"
        uid = f"2.25.{770_000_000_000 + n}"
        words[uid] = "uid"
        voxels = rng.integers(50, 900, SHAPE).astype(np.uint16)
        header = {k: word(k, words) for k in text_keywords()}
        header |= {"PatientID": identity, "PatientName": name, "StudyInstanceUID": uid, "SeriesInstanceUID": f"{uid}.1"}
        header |= {"SeriesDescription": f"T1 POST {header['SeriesDescription']} {name.split('^')[0]} 19561231"}
        header |= {"StudyDate": f"2014{1 + n % 12:02d}17", "PatientBirthDate": f"1956{1 + n % 12:02d}23"}
        header |= {
            "PatientAge": "058Y",
            "StudyTime": "071341",
            "PatientComments": f"{header['PatientComments']} {name}",
        }
        words |= {header["StudyDate"]: "StudyDate", header["PatientBirthDate"]: "PatientBirthDate"}
        words |= {"071341": "StudyTime", "19561231": "date in a description"}
        write_series(exam / word("folder", words), voxels, header, word("file", words))
        mask = nib.Nifti1Image((voxels > 400).astype(np.uint8), np.diag([-1.0, -1.0, 2.0, 1.0]))
        mask.header["descrip"], mask.header["aux_file"] = word("descrip", words), word("aux_file", words)
        nib.save(mask, exam / f"mask {word('file', words)}.nii.gz")
        rows.append({"patient_id": identity, "gene": n % POSITIVE, "age": 40 + n})
    spoil(folder / "scans", words)
    rows.append({"patient_id": word("PatientID", words), "gene": 1, "age": 50})  # labelled, no scan
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    (folder / "study.yaml").write_text(yaml.safe_dump(study(), sort_keys=False))
    return words


def spoil(scans: Path, words: dict[str, str]) -> None:
    """What real folders hold: files that are no scans, a lost slice, a slice cut short, a broken mask."""
    exams = sorted(scans.iterdir())
    (exams[0] / f"{word('file', words)}.dcm").write_text(f"report on {word('file content', words)}")
    slices = sorted(exams[1].glob("*/*.dcm"))
    slices[len(slices) // 2].unlink()
    last = sorted(exams[2].glob("*/*.dcm"))[-1]
    last.write_bytes(last.read_bytes()[:-100])
    mask = next(exams[3].glob("mask*"))
    mask.write_bytes(mask.read_bytes()[:60])
    negative = next(exams[4].glob("mask*"))
    nib.save(nib.Nifti1Image(np.full(SHAPE, -3, np.int16), np.diag([-1.0, -1.0, 2.0, 1.0])), negative)


def study() -> dict:
    return {
        "name": "planted",
        "question": "Does anything leak?",
        "cohort": {
            "scans": ["scans"],
            "labels": "labels.csv",
            "patient_pattern": None,
            "clinical": ["age"],
            "roles": {"t1c": {"match": {"SeriesDescription": "T1 POST"}}},
        },
        "targets": {"gene": {}},
        "preprocess": [{"name": "crop_or_pad", "options": {"shape": [12, 12, 8]}}, {"name": "min_max_uint8"}],
        "splits": [{"name": "holdout", "kind": "holdout", "test_fraction": 0.3}],
        "train": {"epochs": 1},
        "evaluate": {"bootstrap": 100},
        "runs": [
            {"name": "light", "model": {"name": "light_cnn"}},
            {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
        ],
    }


def write_series(folder: Path, voxels: np.ndarray, header: dict[str, str], name: str) -> None:
    """One MR series, a file per slice; `header` is written into every one, and a private tag too."""
    folder.mkdir(parents=True)
    for k in range(voxels.shape[2]):
        data, meta = Dataset(), FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = f"{header['SeriesInstanceUID']}.{k + 1}"
        data.file_meta = meta
        for keyword, value in header.items():
            setattr(data, keyword, value)
        data.private_block(0x0051, "PLANTED", create=True).add_new(0x01, "LO", header["PatientName"])
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.InstanceNumber = "MR", k + 1
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 2 * k]
        data.PixelSpacing, data.SliceThickness = [1, 1], 2
        data.Rows, data.Columns, data.SamplesPerPixel = voxels.shape[1], voxels.shape[0], 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = voxels[:, :, k].T.tobytes()
        data.save_as(folder / f"{name}_{k:03d}.dcm", enforce_file_format=True)


def texts(folder: Path) -> dict[str, str]:
    """Name and content of every file below a folder, whatever it is packed in, in lower case."""
    return {
        str(path.relative_to(folder)): (str(path.relative_to(folder)) + " " + _content(path)).lower()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _content(path: Path) -> str:
    raw = path.read_bytes()
    found = [raw.decode("latin-1")]
    if path.suffix == ".gz":
        found.append(zlib.decompressobj(wbits=31).decompress(raw).decode("latin-1"))  # also of a file cut short
    elif path.suffix == ".parquet":
        found.append(pd.read_parquet(path).to_csv())
    elif zipfile.is_zipfile(path):  # a checkpoint
        with zipfile.ZipFile(path) as archive:
            found += [archive.read(name).decode("latin-1") for name in archive.namelist()]
    elif path.suffix == ".png":
        found.append(str(Image.open(path).info))
    elif path.suffix in (".html", ".svg"):
        for code in re.findall(r"base64,([A-Za-z0-9+/=]+)", found[0]):
            image = base64.b64decode(code)
            found += [image.decode("latin-1"), str(Image.open(io.BytesIO(image)).info)]
    return "\n".join(found)


def leaked(text: str, words: dict[str, str]) -> set[str]:
    """Where the planted words that stand in a text came from."""
    text = text.lower()
    made = {w.lower(): kind for w, kind in words.items()}
    ours = set(re.findall(r"(?=(qx[a-z]{4}zj))", text))  # thousands of words of one form: one search finds them all
    other = {w for w in made if not re.fullmatch(r"qx[a-z]{4}zj", w) and w in text}
    return {made[w] for w in (ours & made.keys()) | other}
