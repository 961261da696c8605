"""Real scans with flipped, cut, zeroed and doubled bytes: no crash, no hang, a reason for every reject.

`make fuzz` runs 10,000 cases; the suite runs 300.
"""

from __future__ import annotations

import os
import random
import shutil
import time
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from scan2gene.core.errors import Scan2GeneError
from scan2gene.imaging.index import index, read_volume

CASES = int(os.environ.get("SCAN2GENE_FUZZ", "300"))
HEAD = 6000  # bytes from the beginning that are spoilt in three cases of four
SECONDS = 5.0  # no case may take longer, by far

SEEDS = [
    "dicom_pydicom/pydicom/MR_small.dcm",
    "dicom_pydicom/pydicom/MR_small_implicit.dcm",
    "dicom_pydicom/pydicom/MR_small_bigendian.dcm",
    "dicom_pydicom/pydicom/MR_small_RLE.dcm",
    "dicom_pydicom/pydicom/MR_small_jpeg_ls_lossless.dcm",
    "dicom_pydicom/pydicom/MR_small_jp2klossless.dcm",
    "dicom_dicom2nifti/hyperfine/anatomical/001/001.dcm",
    "dicom_transfer_syntaxes/In/1.dcm",
    "dicom_transfer_syntaxes/In/9.dcm",
    "dicom_dicom2nifti/generic/rgb/001/IM-0001-0001-0001.dcm",
]


def stack(source: Path, folder: Path) -> None:
    """Three neighbouring slices with the encoding and header of one real file."""
    folder.mkdir(parents=True)
    data = pydicom.dcmread(source)
    several = "NumberOfFrames" in data or "MOSAIC" in data.ImageType
    for k in range(1 if several else 3):
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(k)])
        if not several:
            data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * k]
        data.save_as(folder / f"{k}.dcm")


@pytest.fixture(scope="module")
def corpus(shared_data, tmp_path_factory):
    """One folder per seed, each a readable volume, and their names."""
    root = tmp_path_factory.mktemp("corpus")
    for n, name in enumerate(SEEDS):
        stack(shared_data / name, root / f"d{n}")
    array = np.random.default_rng(0).integers(0, 900, (9, 8, 7)).astype(np.int16)
    for name in ("a.nii", "b.nii.gz"):
        (root / name[0]).mkdir()
        nib.save(nib.Nifti1Image(array, np.diag([1, 2, 3, 1])), root / name[0] / name)
    (root / "z").mkdir()
    with zipfile.ZipFile(root / "z" / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "d0").iterdir()):
            archive.write(path, path.name)
    for folder in root.iterdir():
        assert "ok" in set(index(folder)["status"]), folder
    return root


def spoilt(data: bytes, rng: random.Random) -> bytes:
    end = min(len(data), HEAD) if rng.random() < 0.75 else len(data)
    out = bytearray(data)
    kind = rng.choice(("flip", "flip", "flip", "cut", "zeros", "double", "noise"))
    if kind == "cut":
        return bytes(out[: rng.randrange(end)])
    for _ in range(rng.choice((1, 1, 2, 5, 30))):
        at = rng.randrange(end)
        run = rng.choice((1, 2, 4, 16))
        if kind == "flip":
            out[at] ^= 1 << rng.randrange(8)
        elif kind == "zeros":
            out[at : at + run] = b"\0" * len(out[at : at + run])
        elif kind == "double":
            out[at:at] = out[at : at + run]
        else:
            out[at : at + run] = rng.randbytes(len(out[at : at + run]))
    return bytes(out)


@pytest.mark.parametrize("block", range(10))
def test_spoilt_scans_are_read_or_rejected_with_a_reason(corpus, tmp_path, block):
    folders = sorted(corpus.iterdir())
    rejected = 0
    for case in range(block, CASES, 10):
        rng = random.Random(case)
        folder = tmp_path / "case"
        shutil.copytree(rng.choice(folders), folder)
        path = rng.choice(sorted(folder.iterdir()))
        path.write_bytes(spoilt(path.read_bytes(), rng))
        started = time.perf_counter()
        try:
            table = index(folder)
            assert (table["reason"] != "").eq(table["status"] == "rejected").all()
            rejected += int((table["status"] == "rejected").any())
            for row in table[table["status"] == "ok"].itertuples():
                try:
                    volume = read_volume(row.path)
                except Scan2GeneError as error:
                    assert str(error)
                else:
                    assert "x".join(map(str, volume.shape)) == row.shape
        except Exception as error:
            raise AssertionError(f"case {case}, {path.name}: {type(error).__name__}: {error}") from error
        assert time.perf_counter() - started < SECONDS, f"case {case}"
        shutil.rmtree(folder)
    assert rejected >= CASES // 10 // 20  # else nothing was spoilt
