"""`make bench`: 3,000 DICOM series of 25 slices prepared for 2D networks: how near to the disk, in how much memory?

The steps are those of `gbm-mutations`. "Disk alone" is every file's bytes read, and as many bytes written as the
store holds, by as many threads and nothing done with them. Before each, the scans are put out of the system's cache.
Series are copies of a few synthetic ones with identifiers of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from timing import once, peak_mb

SERIES, FEW, SLICES, SIDE = 3000, 300, 25, 256
ROLES = ("t1", "t1c", "t2", "flair")
ORIGINALS = 8
UID = b"1.2.826.0.1.3680043.8.498.1000000"  # its last six digits are the series


def write(folder: Path, count: int = SERIES) -> None:
    """`folder/<patient>/<role>/<slice>.dcm`."""
    templates = [_series(np.random.default_rng(seed)) for seed in range(ORIGINALS)]
    for n in range(count):
        target = folder / f"P{n // len(ROLES):04d}" / ROLES[n % len(ROLES)]
        target.mkdir(parents=True)
        for k, data in enumerate(templates[n % ORIGINALS]):
            (target / f"{k:03d}.dcm").write_bytes(data.replace(UID, UID[:-6] + f"{n:06d}".encode()))


def _series(rng: np.random.Generator) -> list[bytes]:
    """The files of one axial series: a head of a few tissues with noise, in air."""
    from io import BytesIO

    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    x, y = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2, indexing="ij")
    files = []
    for k in range(SLICES):
        size = np.sqrt(max(1 - ((k - SLICES / 2) / (0.55 * SLICES)) ** 2, 0)) * 0.8
        tissue = 300 * rng.random((SIDE // 16, SIDE // 16)).repeat(16, 0).repeat(16, 1) + 500
        signal = np.where(x**2 + y**2 < size**2, tissue, 0)
        pixels = np.hypot(signal + rng.normal(0, 20, signal.shape), rng.normal(0, 20, signal.shape)).astype(np.uint16)
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = f"{UID.decode()}.{k}"
        data.StudyInstanceUID = data.SeriesInstanceUID = UID.decode()
        data.Modality, data.PatientID, data.InstanceNumber = "MR", "BENCH", k + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5.0 * k], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.9, 0.9], 5.0
        data.Rows = data.Columns = SIDE
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = pixels.tobytes()
        stream = BytesIO()
        data.save_as(stream, enforce_file_format=True)
        files.append(stream.getvalue())
    return files


def prepare(folder: Path, store: Path, count: int) -> dict[str, float]:
    """Index and prepare the first `count` series; seconds of both, and this process's memory."""
    import pandas as pd
    import yaml

    import scan2gene
    from scan2gene.core.section import Plugin
    from scan2gene.core.study_cohort import Role
    from scan2gene.preprocess.store import build_store
    from scan2gene.recipes import recipe_text

    steps = [Plugin.model_validate(s) for s in yaml.safe_load(recipe_text("gbm-mutations"))["preprocess"]]
    series: Any = None
    patients = sorted(folder.iterdir())[: count // len(ROLES)]

    def index() -> None:
        nonlocal series
        series = scan2gene.index(patients)

    def build() -> None:
        paths = dict(zip(series["series_id"], series["path"], strict=True))
        folders = {s: Path(p.split("#")[0]) for s, p in paths.items()}
        of = {(f.parent.name, f.name): s for s, f in folders.items()}
        rows = [
            {"patient_id": p.name, "exam_id": p.name} | {f"role:{r}": of[p.name, r] for r in ROLES} for p in patients
        ]
        roles = {r: Role(match={"path": r}) for r in ROLES}
        manifest = build_store(store, pd.DataFrame(rows), paths, roles, steps)
        assert list(manifest["status"]) == ["ok"] * count, manifest["reason"].unique()

    return {"index": once(index), "build": once(build), "memory": peak_mb()}


def read(folder: Path, count: int) -> tuple[float, int]:
    """Seconds to read the bytes of the first `count` series, and how many these are."""
    files = [f for p in sorted(folder.iterdir())[: count // len(ROLES)] for f in sorted(p.rglob("*.dcm"))]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        spent = once(lambda: list(pool.map(lambda f: len(f.read_bytes()), files)))
    return spent, sum(f.stat().st_size for f in files)


def write_bytes(folder: Path, sizes: list[int]) -> float:
    """Seconds to write files of these sizes."""
    folder.mkdir()
    block = os.urandom(max(sizes))
    names = enumerate(sizes)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        spent = once(lambda: list(pool.map(lambda t: (folder / str(t[0])).write_bytes(block[: t[1]]), names)))
    shutil.rmtree(folder)
    return spent


def forget(folder: Path) -> None:
    """Put files out of the system's cache."""
    os.sync()
    for path in folder.rglob("*.*"):
        with path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _child(*arguments: str) -> dict[str, float]:
    import json

    done = subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def lines(count: int = SERIES) -> list[str]:
    """The table for RESULTS.md."""
    table = [
        "| DICOM series of 25 slices of 256 x 256 to the store of `gbm-mutations` | index, s | prepare, s "
        "| disk alone, s | ratio | read, GB | written, GB | peak memory, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as name:
        folder, store = Path(name) / "raw", Path(name) / "store"
        write(folder, count)
        _child(str(folder), str(Path(name) / "warm"), str(len(ROLES)))  # what is compiled once
        for n in (count * FEW // SERIES, count):
            forget(folder)
            reading, amount = read(folder, n)
            forget(folder)
            told = _child(str(folder), str(store), str(n))
            sizes = [f.stat().st_size for f in store.iterdir()]
            shutil.rmtree(store)
            os.sync()
            alone = reading + write_bytes(Path(name) / "again", sizes)
            table.append(
                f"| {n:,} | {told['index']:.1f} | {told['build']:.1f} | {alone:.1f} "
                f"| {(told['index'] + told['build']) / alone:.1f} | {amount / 1e9:.1f} | {sum(sizes) / 1e9:.1f} "
                f"| {told['memory']:.0f} |"
            )
    return [
        *table,
        "",
        "The scans are put out of the system's cache before each. Disk alone: the same bytes read, then written, by "
        "two threads.",
    ]


if __name__ == "__main__":
    import json

    if len(sys.argv) > 3:
        print(json.dumps(prepare(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        print("\n".join(lines(*map(int, sys.argv[1:]))))
