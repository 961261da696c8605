"""Guess a voxel size and number of voxels at which everything seen by a role fits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

MAX_VOXELS = (96, 96, 48)  # what a laptop trains on
_STEP = 8  # networks halve the field three times


@dataclass(frozen=True)
class Grid:
    """All along left-right, front-back, head-foot.

    Args:
        field_mm: Median field of view.
        spacing_mm: Size of a voxel, rounded up to 0.1 mm.
        shape: Voxels.
    """

    field_mm: tuple[float, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]


def guess_grid(series: pd.DataFrame) -> Grid:
    """The median voxel size where nine in ten fields of view fit into `MAX_VOXELS`, else a coarser one.

    Args:
        series: Rows of the index: shape, spacing_i_mm to spacing_k_mm, orientation.
    """
    shapes = np.array([[int(n) for n in shape.split("x")[:3]] for shape in series["shape"]], float)
    spacings = series[[f"spacing_{axis}_mm" for axis in "ijk"]].to_numpy(float)
    order = [[next(n for n, code in enumerate(codes) if code in pair) for pair in ("LR", "AP", "SI")]
             for codes in series["orientation"]]  # fmt: skip
    spacing = np.take_along_axis(spacings, np.array(order), axis=1)  # (N, 3) along L, A, S
    field = np.take_along_axis(shapes * spacings, np.array(order), axis=1)
    wide = np.quantile(field, 0.9, axis=0)
    fine = np.maximum(np.median(spacing, axis=0), wide / MAX_VOXELS)
    target = tuple(math.ceil(v * 10 - 1e-6) / 10 for v in fine)
    shape = tuple(
        min(most, max(2 * _STEP, _STEP * math.ceil(w / t / _STEP - 1e-6)))
        for w, t, most in zip(wide, target, MAX_VOXELS, strict=True)
    )
    return Grid(tuple(float(f) for f in np.median(field, axis=0)), target, shape)
