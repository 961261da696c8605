"""The body, the lesion and what lies around it, as sets of voxels that features are measured in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scan2gene.core.geometry import bounding_box, reoriented
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.preprocess.foreground import foreground
from scan2gene.preprocess.resample import slice_axis

AXES = "LAS"  # i grows to the patient's left, j to the front, k upwards
SAMPLE = 160  # voxels per axis that the body is looked for in; longer axes are thinned out
LEVELS = 1000  # grey values from the darkest voxel to the BRIGHT-th
BRIGHT = 0.99


@dataclass(frozen=True)
class Body:
    """The head or body of an exam.

    Args:
        inside: (I, J, K) bool.
        low: (3,) first index of its box.
        high: (3,) one past the last.
    """

    inside: np.ndarray
    low: np.ndarray
    high: np.ndarray


def oriented(volumes: Iterable[Volume]) -> list[Volume]:
    """The volumes with axes that grow to the left, to the front and upwards."""
    return [v if v.orientation == AXES else reoriented(v, AXES) for v in volumes]


def body_of(images: Iterable[np.ndarray]) -> Body:
    """The body in the mean of an exam's images, each scaled by its own range; the whole field where none shows air.

    Args:
        images: (I, J, K) each, at least one; voxels that are not finite count as the darkest.
    """
    arrays = list(images)
    step = tuple(-(-length // SAMPLE) for length in arrays[0].shape)
    thinned = tuple(slice(None, None, s) for s in step)
    total = np.zeros(arrays[0][thinned].shape)
    for array in arrays:
        sample = array[thinned]
        finite = sample[np.isfinite(sample)]
        if finite.size:
            low, high = float(finite.min()), float(np.quantile(finite[::8], BRIGHT))
            if high > low:
                total += np.nan_to_num(sample - low, nan=0.0, posinf=0.0, neginf=0.0) / (high - low)
    # whole numbers, so that scaling an image by any factor leaves the same histogram
    inside = foreground(np.rint(LEVELS * total / len(arrays)).astype(np.float32))
    if not inside.any():
        inside = np.ones_like(inside)
    for axis, s in enumerate(step):
        inside = inside.repeat(s, axis) if s > 1 else inside
    inside = inside[tuple(slice(0, length) for length in arrays[0].shape)]
    return Body(inside, *bounding_box(inside))


def standardised(array: np.ndarray, body: Body) -> np.ndarray:
    """An image minus its mean in the body, over its standard deviation there; NaN where constant or not finite."""
    step = tuple(slice(None, None, -(-length // SAMPLE)) for length in array.shape)
    values = array[step][body.inside[step]]
    values = values[np.isfinite(values)].astype(np.float64)
    if values.size < 2 or values.max() == values.min():
        return np.full(array.shape, np.nan, np.float32)
    out = (array - float(values.mean())) / float(values.std())  # plain numbers keep float32
    return np.where(np.isfinite(out), out, np.float32(np.nan)).astype(np.float32, copy=False)


@dataclass(frozen=True)
class Region:
    """A lesion, or another set of voxels, in the part of the grid around it.

    Args:
        inside: (i, j, k) bool, with at least one voxel inside; of a lesion, none at the border.
        body: (i, j, k) bool, the body there; False outside the grid.
        start: (3,) index in the whole grid of the first voxel of this part, may be negative.
        spacing_mm: (3,) voxel size.
        slice_axis: Along which slices were stacked.
        low: (3,) first index of the body's box in the whole grid.
        high: (3,) one past the last.
        body_voxels: Of the whole body.
        ring_mm: Width of the surroundings.
    """

    inside: np.ndarray
    body: np.ndarray
    start: np.ndarray
    spacing_mm: np.ndarray
    slice_axis: int
    low: np.ndarray
    high: np.ndarray
    body_voxels: int
    ring_mm: float

    @property
    def stop(self) -> np.ndarray:
        """(3,) one past the last index in the whole grid."""
        return self.start + self.inside.shape

    @cached_property
    def voxels(self) -> np.ndarray:
        """(N, 3) indices of the lesion's voxels in this part of the grid."""
        return np.argwhere(self.inside)

    @cached_property
    def depth_mm(self) -> np.ndarray:
        """(i, j, k) distance to the nearest voxel outside the lesion, 0 outside."""
        from scipy.ndimage import distance_transform_edt

        return distance_transform_edt(self.inside, sampling=self.spacing_mm)

    @cached_property
    def core(self) -> np.ndarray:
        """(i, j, k) bool, the deeper half of the lesion's voxels (fewer where many are equally deep)."""
        depth = self.depth_mm[self.inside]
        return self.depth_mm > min(np.median(depth), depth.max() * (1 - 1e-6))

    @cached_property
    def rim(self) -> np.ndarray:
        """(i, j, k) bool, the lesion without its core."""
        return self.inside & ~self.core

    @cached_property
    def surroundings(self) -> np.ndarray:
        """(i, j, k) bool, the body within `ring_mm` of the lesion."""
        from scipy.ndimage import distance_transform_edt

        return (
            self.body & ~self.inside & (distance_transform_edt(~self.inside, sampling=self.spacing_mm) <= self.ring_mm)
        )

    @cached_property
    def edge(self) -> np.ndarray:
        """(i, j, k) bool, voxels of the lesion that share a face with one outside."""
        from scipy.ndimage import binary_erosion

        return self.inside & ~binary_erosion(self.inside)

    @cached_property
    def just_outside(self) -> np.ndarray:
        """(i, j, k) bool, voxels of the body that share a face with one of the lesion."""
        from scipy.ndimage import binary_dilation

        return binary_dilation(self.inside) & ~self.inside & self.body

    @cached_property
    def mirrored(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Indices in the whole grid of the voxels opposite to the lesion's, at the middle of the body's box."""
        i, j, k = (self.voxels + self.start).T
        return np.rint(self.low[0] + self.high[0] - 1 - i).astype(int), j, k


def lesion_of(mask: np.ndarray, body: Body, volume: Volume, ring_mm: float) -> Region | None:
    """The lesion of a mask (I, J, K), above 0 is inside; None where nothing is.

    Args:
        mask: (I, J, K).
        body: On the same grid.
        volume: Any volume of the grid, for its spacing.
        ring_mm: Width of the surroundings.
    """
    inside = np.nan_to_num(mask) > 0
    if not inside.any():
        return None
    spacing = np.asarray(volume.spacing_mm)
    margin = np.ceil(ring_mm / spacing).astype(int) + 1
    low, high = bounding_box(inside)
    start, stop = low - margin, high + margin
    return Region(
        window(inside, start, stop),
        window(body.inside, start, stop),
        start,
        spacing,
        slice_axis(volume),
        body.low,
        body.high,
        int(body.inside.sum()),
        ring_mm,
    )


def window(array: np.ndarray, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """Voxels start..stop-1; what the grid does not hold is False, or NaN."""
    low, high = np.maximum(start, 0), np.minimum(stop, array.shape)
    out = np.full(tuple(stop - start), False if array.dtype == bool else np.nan, array.dtype)
    target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
    out[target] = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out


def mask_of(exam: Exam, mask: str) -> Volume | None:
    """The label volume of that name, or the exam's first for ""; None where it has none."""
    return exam.masks.get(mask or next(iter(exam.masks), ""))
