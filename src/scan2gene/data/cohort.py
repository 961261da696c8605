"""The prepared cohort in one tensor. Here, and only here, (I, J, K) becomes (D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.errors import CohortError
from scan2gene.imaging.nifti import read_nifti


@dataclass(frozen=True)
class CohortTensors:
    """Exams that could be prepared, in the order of `exams`.

    Args:
        exams: Rows of cohort.csv.
        images: (N, R, D, H, W) uint8 or float32, R roles, D = K the slice axis; an
            absent role is all 0.
        present: (N, R) float32, 1 where the exam has the role.
        targets: (N, T) float32, NaN where unknown.
        failed: exam_id -> reason, of exams that are not in `exams`.
    """

    exams: pd.DataFrame
    images: Tensor
    present: Tensor
    targets: Tensor
    failed: dict[str, str]


def load_cohort(
    store: Path,
    manifest: pd.DataFrame,
    cohort: pd.DataFrame,
    labels: pd.DataFrame,
    roles: Sequence[str],
    targets: Sequence[str],
) -> CohortTensors:
    """Read the store's volumes of these roles.

    Raises:
        CohortError: Nothing was prepared, or volumes differ in shape.
    """
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"]
    reasons = manifest[manifest["status"] != "ok"].groupby("exam_id")["reason"].first()
    failed: dict[str, str] = {}
    kept: list[int] = []
    volumes: list[np.ndarray] = []
    present: list[list[float]] = []
    for position, exam in enumerate(cohort["exam_id"]):
        have = {r: files.get((exam, r)) for r in roles}
        found = {r: store / f for r, f in have.items() if isinstance(f, str)}
        if not found:
            failed[exam] = str(reasons.get(exam, "no volume was prepared"))
            continue
        arrays = {r: read_nifti_stored(path) for r, path in found.items()}
        any_array = next(iter(arrays.values()))
        shapes = {a.shape for a in arrays.values()}
        if len(shapes) > 1 or (volumes and volumes[0].shape[1:] != any_array.shape):
            raise CohortError(
                f"prepared volumes differ in shape, e.g. {sorted(shapes)}; end the preprocess list with "
                "crop_or_pad or resize so that all fit one grid"
            )
        volumes.append(np.stack([arrays.get(r, np.zeros_like(any_array)) for r in roles]))
        present.append([float(r in arrays) for r in roles])
        kept.append(position)
    if not volumes:
        why = "; ".join(sorted(set(failed.values()))[:3])
        raise CohortError(f"not one exam could be prepared: {why}")
    exams = cohort.iloc[kept].reset_index(drop=True)
    wide = labels.pivot(index="patient_id", columns="target", values="value")
    wanted = wide.reindex(index=exams["patient_id"], columns=list(targets)).to_numpy(np.float32, copy=True)
    return CohortTensors(
        exams,
        torch.from_numpy(np.stack(volumes)),
        torch.tensor(present, dtype=torch.float32),
        torch.from_numpy(wanted),
        failed,
    )


def read_nifti_stored(path: Path) -> np.ndarray:
    """One stored volume as (D, H, W), its dtype kept when it is uint8."""
    import nibabel as nib

    image = nib.load(path)
    if image.get_data_dtype() == np.uint8:
        return np.asarray(image.dataobj).T
    return read_nifti(path).array.T


def to_input(images: Tensor, present: Tensor) -> Tensor:
    """Network input: uint8 0..255 becomes float -1..1, float passes; absent roles are 0.

    Args:
        images: (B, R, D, H, W) uint8 or float32.
        present: (B, R).
    """
    x = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
    return x * present[:, :, None, None, None]
