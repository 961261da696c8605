"""What a fit says of altered copies of its tested exams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import ScanError
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Run
from scan2gene.data.cohort import CohortTensors, read_nifti_stored
from scan2gene.predict.variants import forward_altered
from scan2gene.train.fold import fold_seed
from scan2gene.train.networks import load_network


def predict_altered(
    study: Study, run: Run, data: CohortTensors, rows: Sequence[int], masks: Mapping[int, torch.Tensor],
    fold: Mapping[str, object], folder: Path,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Logits of altered copies of some exams, by the fold's checkpoint.

    Args:
        study: As the run sees it.
        run: A network that sees whole volumes.
        data: Their tensors.
        rows: n positions in `data.exams`.
        masks: From `lesion_masks`.
        fold: split, repeat, fold.
        folder: Holds the checkpoint.

    Returns:
        Variant -> (n, T); see `forward_altered`.
    """
    from lightning_fabric import Fabric

    device = Fabric(accelerator=study.train.device, devices=1).device
    model = load_network(study, run, folder).to(device)
    return forward_altered(
        model, data, rows, masks, study.predict, study.data.batch_size, fold_seed(study, fold), data.placed(device)
    )


def lesion_masks(
    store: Path, manifest: pd.DataFrame, data: CohortTensors, positions: Sequence[int], role: str | None
) -> dict[int, torch.Tensor]:
    """Position in `data.exams` -> (D, H, W) bool, of exams whose stored mask lies on the images' grid.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        data: The cohort.
        positions: In `data.exams`.
        role: Of the mask; None for none.
    """
    rows = manifest[(manifest["status"] == "ok") & (manifest["role"] == role)] if role else manifest[:0]
    files = rows.set_index("exam_id")["file"].to_dict()
    found = {}
    for position in positions:
        exam = data.exams["exam_id"].iloc[position]
        if exam in files:
            try:
                mask = read_nifti_stored(store / files[exam]) > 0
            except ScanError:  # a damaged mask is no mask
                continue
            if mask.shape == tuple(data.images.shape[2:]):
                found[position] = torch.from_numpy(np.ascontiguousarray(mask))
    return found
