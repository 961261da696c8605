"""`make bench`: the BRCA preprocessing of one exam beside MONAI's dictionary pipeline, in one run.

One synthetic exam, 120 DICOM files of 512 x 512, to 1.1 x 1.1 x 3.0 mm, equalised, uint8.
MONAI reads the series with its pydicom reader; SimpleITK is timed on the resampling alone.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import scan2gene
from scan2gene.core.study import Plugin
from scan2gene.preprocess.recipe import apply_recipe

SHAPE, SPACING = (512, 512, 120), (0.7, 0.7, 1.5)
RECIPE = [
    Plugin(name="reorient", options={"axes": "LAS"}),
    Plugin(name="min_max_uint8"),
    Plugin(name="resample", options={"spacing_mm": [1.1, 1.1, 3.0]}),
    Plugin(name="equalise"),
]
RUNS = 3
BORDER = 12


def write_exam(folder: Path) -> None:
    """120 DICOM files of smooth noise; only their number and size matter here."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    rng = np.random.default_rng(0)
    series = generate_uid()
    base = rng.integers(0, 2000, (512, 512), dtype=np.uint16)
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
        data.Rows, data.Columns, data.SamplesPerPixel = 512, 512, 1
        data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored = "MONOCHROME2", 16, 12
        data.HighBit, data.PixelRepresentation, data.InstanceNumber = 11, 0, k + 1
        data.PixelData = np.roll(base, k, axis=0).tobytes()
        data.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def ours(folder: Path) -> np.ndarray:
    """Read and prepare with scan2gene."""
    return apply_recipe({"t1": scan2gene.read_volume(folder)}, RECIPE)["t1"].array


def monai(folder: Path) -> Any:
    """The same steps with MONAI's dictionary transforms."""
    from monai.transforms import (
        Compose,
        EnsureChannelFirstd,
        HistogramNormalized,
        LoadImaged,
        Orientationd,
        ScaleIntensityd,
        Spacingd,
    )

    keys = ["image"]
    chain = Compose(
        [
            LoadImaged(keys, reader="PydicomReader"),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="LAS"),
            ScaleIntensityd(keys, minv=0, maxv=255),
            Spacingd(keys, pixdim=(1.1, 1.1, 3.0), mode=3, padding_mode="mirror"),
            HistogramNormalized(keys, num_bins=256, min=0, max=255),
        ]
    )
    return chain({"image": str(folder)})["image"]


def resampling(volume: scan2gene.Volume) -> tuple[float, float, float]:
    """Seconds of ours and of SimpleITK, and their largest relative difference inside the border."""
    import SimpleITK as sitk

    from scan2gene.core.geometry import to_sitk
    from scan2gene.preprocess import STEPS

    spacing = (1.1, 1.1, 3.0)
    image, target = to_sitk(volume), to_sitk(STEPS["resample"](volume, spacing_mm=spacing))
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)

    def theirs() -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.Resample(image, target, sitk.Transform(), sitk.sitkBSpline)).T

    inner = tuple(slice(BORDER, n - BORDER) for n in target.GetSize())
    difference = STEPS["resample"](volume, spacing_mm=spacing).array - theirs().clip(
        volume.array.min(), volume.array.max()
    )
    deviation = float(np.abs(difference[inner]).max() / np.abs(volume.array).max())
    return seconds(lambda: STEPS["resample"](volume, spacing_mm=spacing)), seconds(theirs), deviation


def seconds(work: Callable[[], Any]) -> float:
    """Median of `RUNS` timings after one warm-up."""
    work()
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Time both and write benchmarks/RESULTS.md."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_exam(folder)
        read = seconds(lambda: scan2gene.read_volume(folder))
        mine, theirs = seconds(lambda: ours(folder)), seconds(lambda: monai(folder))
        spline, sitk, deviation = resampling(scan2gene.read_volume(folder))
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; one run, two cores, median of three after a warm-up.",
        "",
        "| one exam, 120 DICOM files of 512 x 512 | seconds | ratio |",
        "|---|---|---|",
        f"| scan2gene: read the series | {read:.2f} | |",
        f"| scan2gene: read, reorient, scale, resample 1.1 x 1.1 x 3.0 mm, equalise | {mine:.2f} | 1 |",
        f"| MONAI dictionary transforms, the same steps | {theirs:.2f} | {theirs / mine:.1f} |",
        "",
        "| cubic B-spline alone, 512 x 512 x 120 float32 to 1.1 x 1.1 x 3.0 mm | seconds | ratio |",
        "|---|---|---|",
        f"| scan2gene, banded matrices | {spline:.3f} | 1 |",
        f"| SimpleITK, two threads | {sitk:.2f} | {sitk / spline:.1f} |",
        "",
        f"Largest difference of the two, a border of {BORDER} voxels left out, as a share of the largest voxel: "
        f"{deviation:.0e}.",
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
