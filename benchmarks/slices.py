"""`make bench`: batches of 224 x 224 slices, beside a dataset that loads and resizes each slice anew.

The other side is what the GBM study does for every slice of every epoch: `np.load` of a file per
slice, bilinear `interpolate`, z-score; in a DataLoader, the best of 0, 1 and 2 workers. scan2gene
does both steps once, when it prepares the store, and its batches are then read from memory or,
where a cohort does not fit, from the store. What preparing costs is said beside.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from timing import medians

SERIES, SLICES, SIDE, BATCH = 16, 25, 224, 32
STORED = 256  # pixels of a slice as it comes
COUNT = SERIES * SLICES


def write(folder: Path) -> None:
    """The same smooth slices as NIfTI scans and as one .npy per slice."""
    import nibabel as nib

    rng = np.random.default_rng(0)
    for n in range(SERIES):
        coarse = rng.integers(0, 1000, (STORED // 16, STORED // 16, SLICES)).astype(np.float32)
        volume = coarse.repeat(16, 0).repeat(16, 1) + rng.integers(0, 50, (STORED, STORED, SLICES)).astype(np.float32)
        nib.save(nib.Nifti1Image(volume, np.diag([0.9, 0.9, 5, 1])), folder / f"{n}.nii")
        for k in range(SLICES):
            np.save(folder / f"{n}-{k}.npy", volume[:, :, k].T)


def prepared(folder: Path) -> Any:
    """A store and the tables that go with it."""
    import pandas as pd

    from scan2gene.core.section import Plugin
    from scan2gene.core.study_cohort import Role
    from scan2gene.preprocess.store import build_store

    ids = [f"P{n:03d}" for n in range(SERIES)]
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": None, "role:t1": ids})
    paths = {name: str(folder / f"{n}.nii") for n, name in enumerate(ids)}
    steps = [Plugin(name="resize", options={"shape": [SIDE, SIDE, None]}), Plugin(name="zscore_slices")]
    manifest = build_store(folder / "store", cohort, paths, {"t1": Role(match={"path": "t1"})}, steps)
    labels = pd.DataFrame(
        {"patient_id": ids, "side": None, "target": "gene", "value": np.arange(SERIES) % 2, "source": ""}
    )
    return folder / "store", manifest, cohort, labels


def ours(data: Any) -> Any:
    """One epoch of shuffled batches; returns a function that runs it."""
    import torch

    from scan2gene.data.images import taken, to_input

    def epoch() -> None:
        for rows in torch.randperm(len(data.table)).split(BATCH):
            x = to_input(taken(data.images, rows), data.present[rows])
            assert x.shape[1:] == (1, SIDE, SIDE)

    return epoch


def theirs(folder: Path, workers: int) -> Any:
    """The same by np.load and interpolate."""
    import torch

    class Slices(torch.utils.data.Dataset):
        files = sorted(folder.glob("*.npy"))

        def __len__(self) -> int:
            return len(self.files)

        def __getitem__(self, n: int) -> Any:
            x = torch.from_numpy(np.load(self.files[n]))[None, None]
            x = torch.nn.functional.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
            return (x - x.mean()) / x.std()

    loader = torch.utils.data.DataLoader(
        Slices(), batch_size=BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> None:
        for x in loader:
            assert x.shape[1:] == (1, SIDE, SIDE)

    return epoch


def lines() -> list[str]:
    """The table for RESULTS.md."""
    from scan2gene.data.load import load_samples
    from scan2gene.data.samples import Sampling, SliceSampler
    from scan2gene.tasks.outputs import Output

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder)
        store, manifest, cohort, labels = prepared(folder)
        sampling = Sampling(("t1",), (Output("gene"),), SliceSampler())
        held, stored = (load_samples(store, manifest, cohort, labels, sampling, memory=m) for m in (1 << 40, 0))
        works = [ours(held), ours(stored), *(theirs(folder, w) for w in (0, 1, 2))]
        memory, disk, *others = (1000 * s / COUNT for s in medians(*works))
        with tempfile.TemporaryDirectory() as again:
            (Path(again) / "store").mkdir()
            for n in range(SERIES):
                (Path(again) / f"{n}.nii").symlink_to(folder / f"{n}.nii")
            (once,) = (1000 * s / COUNT for s in _first(lambda: prepared(Path(again))))
    best = min(others)
    names = [f"np.load, interpolate, z-score; DataLoader, {w} workers" for w in (0, 1, 2)]
    return [
        f"| batches of {BATCH} slices of {SIDE} x {SIDE} | ms a slice | slices a second | the best below, times |",
        "|---|---|---|---|",
        f"| scan2gene, in memory | {memory:.3f} | {1000 / memory:.0f} | {best / memory:.1f} |",
        f"| scan2gene, from the store | {disk:.3f} | {1000 / disk:.0f} | {best / disk:.1f} |",
        *(f"| {n} | {v:.3f} | {1000 / v:.0f} | {best / v:.1f} |" for n, v in zip(names, others, strict=True)),
        "",
        f"Preparing the store, once and not in every epoch: {once:.1f} ms a slice.",
    ]


def _first(work: Any) -> list[float]:
    from timing import once

    return [once(work)]


if __name__ == "__main__":
    print("\n".join(lines()))
