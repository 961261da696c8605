"""`make bench`: embedding a cohort that stays on disk, beside MONAI's loaders; does it wait, does memory grow?

The stored volumes are uncompressed uint8 NIfTI of the BRCA grid. The network is a ResNet-10 of the standard
geometry on one thread; memory is that of a process which embeds with the light CNN.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from timing import medians, peak_mb

EXAMS, BATCH, GRID = 12, 4, (128, 128, 48)
MANY = 96  # exams of the process whose memory is compared


def write(folder: Path, exams: int) -> list[Path]:
    """Volumes as a store holds them."""
    rng = np.random.default_rng(0)
    paths = [folder / f"{n:04d}.nii" for n in range(exams)]
    for path in paths:
        nib.save(nib.Nifti1Image(rng.integers(0, 256, GRID).astype(np.uint8), np.eye(4)), path)
    return paths


def stored(paths: list[Path], in_memory: bool) -> Any:
    """The cohort as embedding gets it."""
    import torch

    from scan2gene.data.images import WHOLE, StoredImages, StoredVolume
    from scan2gene.data.samples import Samples

    n = len(paths)
    index = np.array([[[row, WHOLE]] for row in range(n)])
    images: Any = StoredImages([StoredVolume.of(p) for p in paths], index, (n, 1, *GRID[::-1]), torch.uint8)
    if in_memory:
        images = images.in_memory()
    return Samples(pd.DataFrame({"exam_id": range(n)}), images, torch.ones(n, 1), torch.zeros(n, 1), {})


def monai(network: Any, paths: list[Path], workers: int) -> None:
    """The same with MONAI's Dataset and DataLoader."""
    import torch
    from monai.data import DataLoader, Dataset
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, ScaleIntensityRange

    steps = Compose([LoadImage(image_only=True), EnsureChannelFirst(), ScaleIntensityRange(0, 255, -1, 1)])
    with torch.inference_mode():
        for x in DataLoader(Dataset([str(p) for p in paths], steps), batch_size=BATCH, num_workers=workers):
            network.pool(network.forward_features(x.as_tensor()))


def lines() -> Iterator[str]:
    """The table for RESULTS.md."""
    import torch

    from scan2gene.forward.embed import embed
    from scan2gene.models import MODELS

    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = MODELS["resnet10"](1, 1).eval()
    with tempfile.TemporaryDirectory() as name:
        paths = write(Path(name), EXAMS)
        held, on_disk = stored(paths, True), stored(paths, False)
        works: dict[str, Callable[[], Any]] = {
            "scan2gene, cohort in memory: nothing to wait for": lambda: embed(network, held, BATCH),
            "scan2gene, cohort on disk": lambda: embed(network, on_disk, BATCH),
            **{f"MONAI Dataset + DataLoader, {w} workers": partial(monai, network, paths, w) for w in (0, 1, 2)},
        }
        seconds = medians(*works.values())
    yield f"| {EXAMS} exams of {' x '.join(map(str, GRID))}, ResNet-10, one thread | seconds | exams a second | ratio |"
    yield "|---|---|---|---|"
    for row, s in zip(works, seconds, strict=True):
        yield f"| {row} | {s:.2f} | {EXAMS / s:.1f} | {s / seconds[1]:.2f} |"
    few, many = (
        float(subprocess.run([sys.executable, __file__, str(n)], check=True, capture_output=True, text=True).stdout)
        for n in (EXAMS, MANY)
    )
    yield ""
    yield f"Largest memory of a process that embeds {EXAMS} exams: {few:.0f} MB; {MANY} exams: {many:.0f} MB."


def memory(exams: int) -> float:
    """MB at most while so many exams are embedded from disk."""
    import torch

    from scan2gene.forward.embed import embed
    from scan2gene.models import MODELS

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        embed(MODELS["light_cnn"](1, 1), stored(write(Path(name), exams), False), BATCH)
    return peak_mb()


if __name__ == "__main__":
    print(memory(int(sys.argv[1])) if len(sys.argv) > 1 else "\n".join(lines()))
