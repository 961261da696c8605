"""Volumes turned, cropped and handed to SimpleITK, without interpolating a voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.axes import LETTERS, axis_map
from scan2gene.core.errors import GeometryError
from scan2gene.core.limits import check_memory
from scan2gene.core.volume import Volume

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
THIN = 0.3  # a field thinner than this share of its widest side is a slab, or its slice spacing is not true


def reoriented(volume: Volume, axes: str) -> Volume:
    """Permute and flip axes so that `volume.orientation == axes`; no voxel is interpolated.

    Args:
        volume: Array (I, J, K).
        axes: Three letters, one of each pair L/R, P/A, I/S, e.g. 'LAS'.

    Raises:
        GeometryError: `axes` does not name three different axes.
    """
    wanted = []
    for letter in axes:
        matches = [(w, 1 if p[1] == letter else -1) for w, p in enumerate(LETTERS) if letter in p]
        wanted += matches
    if len(axes) != 3 or sorted(w for w, _ in wanted) != [0, 1, 2]:
        raise GeometryError(f"axes must hold one letter of each pair L/R, P/A, I/S, such as 'LAS'; got {axes!r}")
    current = axis_map(volume.affine)
    array, affine = volume.array, np.eye(4)
    order = [next(v for v in range(3) if current[v][0] == world) for world, _ in wanted]
    array = array.transpose(*order, *range(3, array.ndim))
    affine[:3, :3] = volume.affine[:3, :3][:, order]
    affine[:3, 3] = volume.affine[:3, 3]
    for axis, (_, sign) in enumerate(wanted):
        if current[order[axis]][1] != sign:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    return Volume(array.copy(order="K"), affine, volume.kind)  # memory order kept: a plain, fast copy


def checked_shape(shape: Sequence[int]) -> np.ndarray:
    """A shape from a study file as (3,) integers.

    Raises:
        GeometryError: Not three positive integers.
    """
    new = np.asarray(shape)
    if new.shape != (3,) or not np.issubdtype(new.dtype, np.integer) or not (new >= 1).all():
        raise GeometryError(f"shape needs three positive integers, got {list(shape)}")
    return new


def cropped(volume: Volume, start: np.ndarray, stop: np.ndarray, fill: float = 0.0) -> Volume:
    """Voxels start..stop-1 along each axis; what lies outside the array is `fill`.

    Args:
        volume: Array (I, J, K).
        start: (3,) first index, may be negative.
        stop: (3,) one past the last index, may exceed the shape.
        fill: Value of voxels that the array does not hold.
    """
    start, stop = np.asarray(start, int), np.asarray(stop, int)
    if (stop <= start).any():
        raise GeometryError(f"the crop is empty: from {start.tolist()} to {stop.tolist()}")
    check_memory(stop - start, volume.array.dtype.itemsize, "crop or pad")
    low, high = np.maximum(start, 0), np.minimum(stop, volume.shape)
    array = np.full(tuple(stop - start), fill, dtype=volume.array.dtype)
    if (high > low).all():
        target = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        source = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        array[target] = volume.array[source]
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Volume(array, affine, volume.kind)


def bounding_box(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index and one past the last index, (3,) each, of the voxels that are not 0.

    Args:
        mask: Array (I, J, K) with at least one voxel that is not 0.
    """
    spans = [np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    return np.array([s[0] for s in spans]), np.array([s[-1] + 1 for s in spans])


def to_sitk(volume: Volume):
    """SimpleITK image (LPS) of a volume; voxels are shared order (k, j, i)."""
    import SimpleITK as sitk

    array = volume.array
    if array.dtype == bool:
        array = array.astype(np.uint8)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    lps = LPS_TO_RAS @ volume.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def from_sitk(image, kind) -> Volume:
    """Volume of a SimpleITK image, LPS turned to RAS+."""
    import SimpleITK as sitk

    lps = np.eye(4)
    lps[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    return Volume(sitk.GetArrayFromImage(image).T, LPS_TO_RAS @ lps, kind)
