"""What a series and a prepared volume look like, in a few numbers and words: its geometry and its grey values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from scan2gene.core.volume import Volume

BLOCKS = 16  # voxels along an axis of a reduced volume, at most
_AXES = {"R-L": "RL", "A-P": "AP", "S-I": "SI"}
_FINEST = 1e-9


def geometry_measures(row: Mapping[str, Any]) -> dict[str, float | str]:
    """Spacing, field of view, number of slices, plane, orientation and sequence of a series.

    Args:
        row: Of the series index, numbers as text or numbers; a readable volume.

    Returns:
        Numbers in mm (`slices` counts) and words. The slice axis is k. The field of view is
        along the patient's axes, so that an axial and a sagittal scan can be compared.
    """
    spacing = np.array([float(row[f"spacing_{axis}_mm"]) for axis in "ijk"])
    shape = np.array([int(n) for n in str(row["shape"]).split("x")[:3]])
    codes = str(row["orientation"])
    field = {
        f"field_{name}_mm": float(n * mm)
        for name, letters in _AXES.items()
        for code, n, mm in zip(codes, shape, spacing, strict=True)
        if code in letters
    }
    return {
        "spacing_fine_mm": float(spacing[:2].min()),
        "spacing_coarse_mm": float(spacing[:2].max()),
        "spacing_slice_mm": float(spacing[2]),
        "slices": float(shape[2]),
        **field,
        "plane": str(row["plane"]),
        "orientation": codes,
        "sequence": str(row["sequence"]),
    }


def grey_measures(volume: Volume) -> dict[str, float]:
    """Robust statistics of a prepared volume.

    Args:
        volume: (I, J, K); of a mask, only the marked volume is measured.

    Returns:
        Mean, standard deviation and percentiles in grey values; `at_minimum`, the share of voxels
        with the smallest value; `roughness`, the mean step between neighbouring voxels in
        standard deviations: noise raises it, blur lowers it.
    """
    if volume.kind == "label":
        voxel = abs(float(np.linalg.det(volume.affine[:3, :3])))
        return {"marked_mm3": float(np.count_nonzero(volume.array)) * voxel}
    grey = volume.array.astype(np.float32)
    levels = np.percentile(grey, (1, 25, 50, 75, 99))
    deviation = float(grey.std(dtype=np.float64))
    steps = [np.abs(np.diff(grey, axis=axis)).mean(dtype=np.float64) for axis in range(3) if grey.shape[axis] > 1]
    return {
        "mean": float(grey.mean(dtype=np.float64)),
        "sd": deviation,
        **{f"p{q}": float(v) for q, v in zip((1, 25, 50, 75, 99), levels, strict=True)},
        "at_minimum": float((grey == grey.min()).mean()),
        "roughness": float(np.mean(steps)) / max(deviation, _FINEST) if steps else 0.0,
    }


def reduced(array: np.ndarray) -> np.ndarray:
    """Means over blocks, at most `BLOCKS` along an axis, as float64: (I, J, K) -> (I', J', K')."""
    small = array.astype(np.float64)
    for axis, length in enumerate(array.shape):
        starts = np.unique(np.linspace(0, length, min(length, BLOCKS), endpoint=False).astype(int))
        counts = np.diff([*starts, length]).reshape([-1 if a == axis else 1 for a in range(3)])
        small = np.add.reduceat(small, starts, axis=axis) / counts
    return small
