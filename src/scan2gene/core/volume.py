"""The one image type of the project."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from scan2gene.core.axes import axis_codes
from scan2gene.core.errors import GeometryError

Kind = Literal["intensity", "label"]


@dataclass(frozen=True, repr=False)
class Volume:
    """A 3D image with its place in the patient.

    Args:
        array: (I, J, K), or (I, J, K, C) for colour, which `first_channel` reduces.
        affine: (4, 4) float64, voxel index (i, j, k, 1) -> RAS+ millimetres.
        kind: "intensity" (interpolated smoothly) or "label" (nearest neighbour).

    Raises:
        GeometryError: The shapes do not fit, or the affine is singular or not finite.
    """

    array: np.ndarray
    affine: np.ndarray
    kind: Kind = "intensity"

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=np.float64)
        if self.array.ndim not in (3, 4) or 0 in self.array.shape:
            raise GeometryError(
                f"a volume is (I, J, K) or (I, J, K, C) with no empty axis, got shape {self.array.shape}"
            )
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError(f"the affine must be 4 x 4 and finite, got {affine.tolist()}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GeometryError(f"the affine is singular: {affine[:3, :3].tolist()}")
        if self.kind not in ("intensity", "label"):
            raise GeometryError(f"kind must be 'intensity' or 'label', got {self.kind!r}")
        affine.setflags(write=False)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        i, j, k = self.array.shape[:3]
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along i, j, k: the column lengths of the affine."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def orientation(self) -> str:
        """Axis codes such as 'LAS': where each of i, j, k points to, nearest axis."""
        return axis_codes(self.affine)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.array.shape))
        spacing = "x".join(f"{v:.4g}" for v in self.spacing_mm)
        return f"Volume({shape} {self.array.dtype}, {self.orientation}, {spacing} mm, {self.kind})"

    def with_array(self, array: np.ndarray) -> Volume:
        """The same place, other voxels."""
        return replace(self, array=array)
