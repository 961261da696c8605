"""What a fit says of altered copies of its tested exams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import Scan2GeneError, ScanError
from scan2gene.core.geometry import axis_map
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Run
from scan2gene.core.volume import Volume
from scan2gene.data.images import read_stored
from scan2gene.data.samples import Samples
from scan2gene.imaging.nifti import read_nifti
from scan2gene.predict.aggregate import aggregation, load_aggregate
from scan2gene.predict.slice_variants import Beside, forward_altered_slices
from scan2gene.predict.variants import forward_altered
from scan2gene.preprocess.slice_selection import laid_on
from scan2gene.tasks.outputs import output_names
from scan2gene.train.fold import fold_seed
from scan2gene.train.networks import load_network


def predict_altered(
    study: Study, run: Run, data: Samples, rows: Sequence[int], masks: Mapping[int, torch.Tensor],
    fold: Mapping[str, object], folder: Path, left_right: Mapping[int, int] | None = None,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Logits of altered copies of some exams, by the fold's checkpoint.

    Args:
        study: As the run sees it.
        run: A network that sees whole volumes, or slices.
        data: Their tensors.
        rows: Positions in `data.table`; of slices, all of an exam that were tested.
        masks: From `lesion_masks`, or `slice_masks`.
        fold: split, repeat, fold.
        folder: Holds the checkpoint, and what a learned way from slices to exams needs.
        left_right: Of slices, from `left_right_axes`.

    Returns:
        Variant -> (n, T), a row for each exam; see `forward_altered` and `forward_altered_slices`.
    """
    from lightning_fabric import Fabric

    device = Fabric(accelerator=study.train.device, devices=1).device
    model = load_network(study, run, folder).to(device)
    given = study.predict, study.data.batch_size, fold_seed(study, fold), data.placed(device)
    if study.data.slices is None:
        return forward_altered(model, data, rows, masks, *given)
    fuse: Any = load_aggregate(aggregation(study)[0], output_names(study), folder)
    return forward_altered_slices(model, data, rows, Beside(masks, left_right or {}, fuse), *given)


def lesion_masks(
    store: Path, manifest: pd.DataFrame, data: Samples, positions: Sequence[int], role: str | None
) -> dict[int, torch.Tensor]:
    """Position in `data.table` -> (D, H, W) bool, of exams whose stored mask lies on the images' grid.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: The cohort.
        positions: In `data.table`.
        role: Of the mask; None for none.
    """
    rows = manifest[(manifest["status"] == "ok") & (manifest["role"] == role)] if role else manifest[:0]
    files = rows.set_index("exam_id")["file"].to_dict()
    found = {}
    for position in positions:
        exam = data.table["exam_id"].iloc[position]
        if exam in files:
            try:
                mask = read_stored(store / files[exam]) > 0
            except ScanError:  # a damaged mask is no mask
                continue
            if mask.shape == data.grid:
                found[position] = torch.from_numpy(np.ascontiguousarray(mask))
    return found


def slice_masks(
    store: Path, manifest: pd.DataFrame, data: Samples, positions: Sequence[int], role: str | None,
    kept: Callable[[str, str], np.ndarray | None],
) -> dict[int, torch.Tensor]:  # fmt: skip
    """Position in `data.table` -> (H, W) bool, of slices that show the lesion.

    Masks have all their slices, on their own grid; each series has the slices that it kept, in its own plane.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: Slices.
        positions: In `data.table`.
        role: Of the mask; None for none.
        kept: (exam_id, role) -> numbers of kept slices where they may not adjoin; see `kept_numbers`.
    """
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"].to_dict()
    found: dict[int, torch.Tensor] = {}
    for exam, own in data.table.iloc[list(positions)].assign(position=list(positions)).groupby("exam_id", sort=False):
        if (exam, role) not in files:
            continue
        try:
            mask = read_nifti(store / files[exam, role], "label")
            laid = {r: laid_on(mask, _grid(store / files[exam, r]), kept(exam, r)) for r in own["role"].unique()}
        except (Scan2GeneError, OSError, KeyError):  # a damaged mask is no mask, nor is one that cannot be placed
            continue
        for position, of, number in own[["position", "role", "slice"]].itertuples(index=False, name=None):
            if laid[of][:, :, number].any():
                found[position] = torch.from_numpy(np.ascontiguousarray(laid[of][:, :, number].T))
    return found


def left_right_axes(store: Path, manifest: pd.DataFrame, data: Samples, positions: Sequence[int]) -> dict[int, int]:
    """Position in `data.table` -> axis of (B, 1, H, W) that runs from left to right; 0 where none in the plane does.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: Slices.
        positions: In `data.table`.
    """
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"].to_dict()
    found: dict[int, int] = {}
    exams = data.table.iloc[list(positions)].assign(position=list(positions))
    for key, own in exams.groupby(["exam_id", "role"], sort=False):
        axes = [world for world, _ in axis_map(_grid(store / files[key]).affine)]
        found |= dict.fromkeys(own["position"], (3, 2, 0)[axes.index(0)])  # i is W, j is H
    return found


def _grid(path: Path) -> Volume:
    """Shape and affine of a stored volume, its voxels not read."""
    import nibabel as nib

    image: Any = nib.load(path)
    return Volume(np.broadcast_to(np.uint8(0), image.shape), image.affine)
