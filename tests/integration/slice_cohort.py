"""A small cohort of series with few slices, in two planes, with a sign that only some slices show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import yaml

SIDE = 24


def series(rng: np.random.Generator, slices: int, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    """A head between two empty ends, with a bright spot in two slices where positive; and the spot's mask.

    Both (SIDE, SIDE, slices) uint8.
    """
    grid = np.linspace(-1, 1, SIDE)
    inside = (grid[:, None] ** 2 + grid**2 < 0.8)[:, :, None]
    shown = np.zeros(slices, bool)
    shown[1:-1] = True
    array = np.where(inside & shown, 90 + 12 * rng.standard_normal((SIDE, SIDE, slices)), 3)
    spot = np.zeros(array.shape, bool)
    if positive:
        i, j = rng.integers(7, 13, 2)
        first = int(rng.integers(1, slices - 3))
        spot[i : i + 5, j : j + 5, first : first + 2] = True
        array[spot] = 230
    return np.clip(array, 0, 255).astype(np.uint8), spot.astype(np.uint8)


def write_slice_study(
    folder: Path, patients: int = 30, signal: bool = True, masks: bool = False, **changes: Any
) -> Path:
    """Patients with an axial and, but for every fifth, a coronal series; returns the study file.

    Args:
        folder: Where to.
        patients: How many.
        signal: The spot is there where the label is 1.
        masks: Write a mask of the axial series' spot, as the role `lesion`.
        changes: Top-level keys of the study.
    """
    rng = np.random.default_rng(7)
    coronal = np.array([[-1.0, 0, 0, 0], [0, 0, -5, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # LIP
    rows = []
    for n in range(patients):
        label = int(rng.random() < 0.5) if n > 3 else n % 2
        place = folder / "scans" / f"P{n:03d}"
        place.mkdir(parents=True)
        for role, affine in (("axial", np.diag([-1.0, -1, 5, 1])), ("coronal", coronal)):
            if role == "axial" or n % 5:
                image, spot = series(rng, int(rng.integers(7, 11)), bool(label) and signal)
                nib.save(nib.Nifti1Image(image, affine), place / f"{role}.nii")
                if masks and role == "axial" and spot.any():
                    nib.save(nib.Nifti1Image(spot, affine), place / "spot.nii")
        rows.append({"patient_id": f"P{n:03d}", "gene": label, "age": 40 + 7 * n % 31})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    study = {
        "name": "slices",
        "cohort": {
            "scans": ["scans"],
            "labels": "labels.csv",
            "patient_pattern": r"(P\d+)",
            "clinical": ["age"],
            "roles": {r: {"match": {"path": r}, "optional": True} for r in ("axial", "coronal")}
            | ({"lesion": {"match": {"path": "spot"}, "kind": "label", "optional": True}} if masks else {}),
        },
        "targets": {"gene": {}},
        "preprocess": [
            {"name": "reorient", "options": {"axes": "acquisition"}},
            {"name": "edge_slices"},
            {"name": "resize", "options": {"shape": [SIDE, SIDE, None]}},
            {"name": "zscore_slices"},
        ],
        "splits": [{"name": "holdout", "kind": "holdout", "test_fraction": 0.3}],
        "data": {"batch_size": 32, "augment": [], "slices": {}},
        "train": {"epochs": 25, "learning_rate": 0.003},
        "evaluate": {"bootstrap": 100},
        "runs": [{"name": "flat", "model": {"name": "light_cnn2d", "options": {"dropout": 0.0}}}],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path
