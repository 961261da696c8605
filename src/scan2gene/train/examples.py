"""One training exam as networks see it in their first epochs, so that augmentation can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scan2gene.core.geometry import reoriented
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.data.augment import Batch, augment, safe_spacing
from scan2gene.data.images import to_input
from scan2gene.data.samples import Samples
from scan2gene.imaging.picture import as_bytes, beside, grey_levels, resized, upright, window, write_png

DRAWS = 5
WIDTH = 160  # pixels of one slice
ROLES = 3  # shown at most
_GAP = 4  # pixels between slices


def seen_in_epochs(data: Samples, row: int, steps: Sequence[Plugin], seed: int, epochs: Sequence[int]) -> Tensor:
    """One exam as training gets it in some epochs.

    Args:
        data: The cohort.
        row: Position of the exam.
        steps: Of `data.augment`.
        seed: Of the fold.
        epochs: 1, 2, ...; 0 is the exam as it was prepared.

    Returns:
        (len(epochs), R, D, H, W) on the CPU, scaled as network input.
    """
    chosen = torch.tensor([row])
    present = data.present[chosen]
    x = to_input(data.images[chosen], present)
    seen = []
    for epoch in epochs:
        batch = Batch(x.clone(), data.targets[chosen], tuple(data.names), data.spacing_mm)
        changed = augment(batch, steps if epoch else [], seed, epoch, [row]).images
        seen.append(changed * present[:, :, None, None, None])
    return torch.cat(seen)


def draw_examples(path: Path, data: Samples, row: int, steps: Sequence[Plugin], seed: int, affine: np.ndarray) -> None:
    """Write a grey PNG: a line per role, the exam as prepared and in its first `DRAWS` epochs, middle axial slices.

    The picture carries no id: it may end up in a report that is passed on.

    Args:
        path: The file.
        data: The cohort.
        row: Position of the exam.
        steps: Of `data.augment`.
        seed: Of the fold.
        affine: 4 x 4 of the prepared exam.
    """
    seen = seen_in_epochs(data, row, steps, seed, range(DRAWS + 1))
    lines = []
    for role in [r for r in range(seen.shape[1]) if data.present[row, r]][:ROLES]:
        limits = window(seen[0, role].numpy())
        slices = [_slice(Volume(x.numpy().T, affine, "intensity"), limits) for x in seen[:, role]]
        lines.append(beside(slices, _GAP, 255))
    write_png(path, np.concatenate(lines))


def _slice(volume: Volume, limits: tuple[float, float]) -> np.ndarray:
    """Middle axial slice, uint8."""
    standing = reoriented(volume, "LPS")
    i, j, _ = safe_spacing(standing.shape, standing.spacing_mm)
    grey = grey_levels(upright(standing, 2, standing.shape[2] // 2), *limits)
    height = max(1, round(WIDTH * grey.shape[0] * j / (grey.shape[1] * i)))
    return as_bytes(resized(grey, height, WIDTH))
