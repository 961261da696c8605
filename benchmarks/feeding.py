"""`make bench`: training batches of 96 x 96 x 32 x 3, beside MONAI's cached pipeline.

Both flip, turn, scale and move, add noise and change intensity; both have the prepared cohort in
memory. MONAI is given CacheDataset and DataLoader, the best of 0, 1 and 2 workers.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

EXAMS, BATCH = 48, 8
GRID = (96, 96, 32)
STEPS = [
    {"name": "flip", "options": {"axes": ["i"]}},
    {"name": "affine", "options": {"rotation_degrees": 15, "scale": 0.1, "translation_mm": 4}},
    {"name": "noise", "options": {"std": 0.02}},
    {"name": "intensity", "options": {"scale": 0.1, "shift": 0.1}},
]
ROUNDS = 5


def cohort() -> np.ndarray:
    """(N, 3, I, J, K) uint8 of smooth structure."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (EXAMS, 3, GRID[0] // 8, GRID[1] // 8, GRID[2] // 8)).astype(np.uint8)
    return coarse.repeat(8, 2).repeat(8, 3).repeat(8, 4)


def ours(images: np.ndarray) -> Any:
    """One epoch of augmented batches; returns a function that runs it."""
    import torch

    from scan2gene.core.section import Plugin
    from scan2gene.data.augment import Batch, augment
    from scan2gene.data.images import to_input

    held = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 1, 4, 3, 2)))
    present, targets = torch.ones(EXAMS, 3), torch.zeros(EXAMS, 1)
    steps = [Plugin(**s) for s in STEPS]
    epochs = iter(range(1_000))

    def epoch() -> None:
        number = next(epochs)
        for chosen in torch.randperm(EXAMS).split(BATCH):
            batch = Batch(to_input(held[chosen], present[chosen]), targets[chosen])
            images = augment(batch, steps, 1, number, chosen.tolist()).images
            assert images.shape == (BATCH, 3, *GRID[::-1])

    return epoch


def monai(images: np.ndarray, workers: int) -> Any:
    """The same with MONAI."""
    loader = monai_loader(images, workers, BATCH)

    def epoch() -> None:
        for batch in loader:
            assert batch["image"].shape == (BATCH, 3, *GRID)

    return epoch


def monai_loader(images: np.ndarray, workers: int, batch: int) -> Any:
    """MONAI's cached pipeline over (N, C, I, J, K) uint8: batches {"image": (B, C, I, J, K)}."""
    import torch
    from monai import transforms as mt
    from monai.data import CacheDataset, DataLoader

    angle = float(np.deg2rad(15))
    chain = mt.Compose(
        [
            mt.ScaleIntensityRanged("image", 0, 255, -1, 1),
            mt.EnsureTyped("image", track_meta=False),
            mt.RandFlipd("image", prob=0.5, spatial_axis=0),
            mt.RandAffined(
                "image",
                prob=1.0,
                rotate_range=(angle,) * 3,
                scale_range=(0.1,) * 3,
                translate_range=(4,) * 3,
                padding_mode="border",
                cache_grid=True,
                spatial_size=images.shape[2:],
            ),
            mt.RandGaussianNoised("image", prob=1.0, std=0.04),
            mt.RandScaleIntensityd("image", factors=0.1, prob=1.0),
            mt.RandShiftIntensityd("image", offsets=0.2, prob=1.0),
        ]
    )
    data = CacheDataset([{"image": i} for i in images], chain, progress=False)
    return DataLoader(
        data, batch_size=batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def per_volume(*works: Any) -> list[float]:
    """Median milliseconds a volume, in turns."""
    for work in works:
        work()
    seconds = []
    for _ in range(ROUNDS):
        row = []
        for work in works:
            started = time.perf_counter()
            work()
            row.append(time.perf_counter() - started)
        seconds.append(row)
    return (np.median(seconds, axis=0) * 1000 / EXAMS).tolist()


def lines() -> list[str]:
    """The tables for RESULTS.md."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)
    images = cohort()
    names = [f"MONAI CacheDataset + DataLoader, {w} workers" for w in (0, 1, 2)]
    mine, *theirs = per_volume(ours(images), *(monai(images, w) for w in (0, 1, 2)))
    return [
        f"| batches of {BATCH} x 3 x {' x '.join(map(str, GRID))}: flip, affine, noise, intensity "
        "| ms a volume | ratio |",
        "|---|---|---|",
        f"| scan2gene | {mine:.1f} | 1.0 |",
        *(f"| {name} | {value:.1f} | {value / mine:.1f} |" for name, value in zip(names, theirs, strict=True)),
    ]


if __name__ == "__main__":
    print("\n".join(lines()))
