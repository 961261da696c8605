"""Where instances show the lesion, and how they lie in the patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.axes import axis_map
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.volume import Volume
from scan2gene.data.augment import TENSOR_AXIS
from scan2gene.data.images import read_stored
from scan2gene.data.samples import Samples
from scan2gene.imaging.nifti import read_nifti
from scan2gene.preprocess.slice_selection import laid_on


def lesion_masks(
    store: Path, manifest: pd.DataFrame, data: Samples, positions: Sequence[int], role: str | None,
    kept: Callable[[str, str], np.ndarray | None],
) -> dict[int, Tensor]:  # fmt: skip
    """Position in `data.table` -> bool (D, H, W), or (H, W) of a slice, of instances that show the lesion.

    The mask of a volume lies on the volume's grid. Masks of slices have all their slices, on their own grid; each
    series has the slices that it kept, in its own plane.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: The samples.
        positions: In `data.table`.
        role: Of the mask; None for none.
        kept: (exam_id, role) -> numbers of kept slices where they may not adjoin; see `kept_numbers`.
    """
    files = _files(store, manifest)
    masks: dict[int, Tensor] = {}
    table = data.table.iloc[list(positions)].assign(position=list(positions))
    for exam, own in table.groupby("exam_id", sort=False):
        if (exam, role) not in files:
            continue
        try:
            if "slice" in table:
                whole = read_nifti(files[exam, role], "label")
                laid = {r: laid_on(whole, _grid(files[exam, r]), kept(exam, r)) for r in own["role"].unique()}
                shown = [laid[r][:, :, k].T for r, k in zip(own["role"], own["slice"], strict=True)]
            else:
                shown = [read_stored(files[exam, role]) > 0]
        except (Scan2GeneError, OSError, KeyError):  # a damaged mask is no mask, nor is one that cannot be placed
            continue
        for position, mask in zip(own["position"], shown, strict=True):
            if mask.any() and mask.shape == data.grid_of(position):
                masks[position] = torch.from_numpy(np.ascontiguousarray(mask))
    return masks


def left_right_axes(
    store: Path, manifest: pd.DataFrame, data: Samples, positions: Sequence[int], axis: str
) -> dict[int, int]:
    """Position in `data.table` -> axis of the network's input that runs from left to right; 0 where none does.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: The samples.
        positions: In `data.table`.
        axis: "i", "j" or "k" of volumes, which all lie alike; the planes of slices differ.
    """
    if "slice" not in data.table:
        return dict.fromkeys(positions, TENSOR_AXIS[axis])
    files, axes = _files(store, manifest), dict[int, int]()
    table = data.table.iloc[list(positions)].assign(position=list(positions))
    for key, own in table.groupby(["exam_id", "role"], sort=False):
        worlds = [world for world, _ in axis_map(_grid(files[key]).affine)]
        axes |= dict.fromkeys(own["position"], (3, 2, 0)[worlds.index(0)])  # i is W, j is H
    return axes


def _files(store: Path, manifest: pd.DataFrame) -> dict[Any, Path]:
    """(exam_id, role) -> prepared volume."""
    ready = manifest[manifest["status"] == "ok"]
    keys = zip(ready["exam_id"], ready["role"], strict=True)
    return {key: store / file for key, file in zip(keys, ready["file"], strict=True)}


def _grid(path: Path) -> Volume:
    """Shape and affine of a stored volume, its voxels not read."""
    import nibabel as nib

    image: Any = nib.load(path)
    return Volume(np.broadcast_to(np.uint8(0), image.shape), image.affine)
