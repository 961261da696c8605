"""Common voxel spacing and fixed grids."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Literal

import numpy as np

from scan2gene.core.axes import axis_map
from scan2gene.core.errors import GeometryError
from scan2gene.core.geometry import checked_shape, to_sitk
from scan2gene.core.limits import check_memory
from scan2gene.core.text import dimensions
from scan2gene.core.volume import Volume
from scan2gene.preprocess.linear import resample_linear
from scan2gene.preprocess.memory_order import slices_slowest
from scan2gene.preprocess.spline import resample_spline

VERSION = 1
BYTES_PER_VOXEL = 12  # of a result: float32 with the copies on the way to it
ROUNDING = 1e-4  # of a direction cosine; over a field of 300 mm it is 0.03 mm


def resample(
    volume: Volume,
    *,
    spacing_mm: Sequence[float] = (1.1, 1.1, 3.0),
    axes: Literal["voxel", "world", "acquisition"] = "voxel",
    straighten: bool = False,
) -> Volume:
    """Resample to a new voxel spacing, keeping the near edges of the field.

    Args:
        volume: Array (I, J, K), affine RAS+ in mm.
        spacing_mm: Three target sizes, each > 0. Default of the BRCA study.
        axes: What the three are for. "voxel": i, j, k as they lie at this point of the recipe.
            "world": right-left, anterior-posterior, superior-inferior, whatever the storage
            order. "acquisition": the third is for the slice axis, whatever the plane: the
            axis whose spacing is unlike the other two, and k where all are alike.
        straighten: Turn an oblique field onto a grid parallel to the patient's axes. Voxels
            that the field does not reach take the volume's minimum, in a mask 0.

    Returns:
        Volume (I', J', K'), I' = I * old / new rounded, halves up, at least 1. Cubic B-spline for
        "intensity", held to the input's range; nearest for "label". The dtype is kept.

    Raises:
        GeometryError: A spacing is not positive, or `axes` is not known.

    Source: Unser 1999, "Splines: a perfect fit for signal and image processing".
    """
    new = _per_axis(volume, spacing_mm, axes)
    if straighten and _is_oblique(volume.affine):
        return onto(volume, *_straight_grid(volume, new))
    old = np.asarray(volume.spacing_mm)
    # halves go up, and rounding noise in the affine must not decide about a slice
    size = np.maximum(1, np.floor(np.asarray(volume.shape) * old / new + 0.5 + 1e-6))
    check_memory(size, BYTES_PER_VOXEL, f"resample from {dimensions(old)} to {dimensions(new)} mm")
    shape = size.astype(int)
    if volume.kind == "label":
        return _nearest(volume, shape, new / old)
    source = slices_slowest(volume.array)
    dtype = source.dtype if np.issubdtype(source.dtype, np.integer) else np.float32
    array = resample_spline(source, shape, new / old, (float(source.min()), float(source.max())), dtype)
    return Volume(array.astype(volume.array.dtype, copy=False), _widened(volume.affine, new / old), volume.kind)


def _per_axis(volume: Volume, spacing_mm: Sequence[float], axes: str) -> np.ndarray:
    """The new spacing (3,) along i, j, k."""
    given = np.asarray(spacing_mm, dtype=float)
    if given.shape != (3,) or not (given > 0).all():
        raise GeometryError(f"spacing_mm needs three positive numbers, got {list(spacing_mm)}")
    if axes == "voxel":
        return given
    if axes == "world":
        return given[[world for world, _ in axis_map(volume.affine)]]
    if axes == "acquisition":
        return np.insert(given[:2], slice_axis(volume), given[2])
    raise GeometryError(f"axes must be 'voxel', 'world' or 'acquisition', got {axes!r}")


def slice_axis(volume: Volume) -> int:
    """The axis along which slices were stacked: pixels are square, so the other two are alike.

    Where no pair is nearer to square than another, within a hundredth, the last axis.
    """
    spacing = volume.spacing_mm

    def unlike(axis: int) -> float:
        a, b = (spacing[other] for other in range(3) if other != axis)
        return max(abs(np.log(a / b)), 0.01)

    return min((2, 1, 0), key=unlike)


def _is_oblique(affine: np.ndarray) -> bool:
    """True where an axis leaves every axis of the patient by more than rounding."""
    direction = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    return bool(np.abs(direction - np.rint(direction)).max() > ROUNDING)


def _straight_grid(volume: Volume, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shape (3,) and affine of the grid over a field's bounding box; axis codes are kept."""
    corners = np.array(list(product(*[(-0.5, n - 0.5) for n in volume.shape])))  # (8, 3)
    places = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(axis_map(volume.affine)):
        affine[world, axis] = sign * spacing[axis]
    extent = np.abs(affine[:3, :3].T / spacing[:, None]) @ np.ptp(places, axis=0)
    size = np.maximum(1, np.ceil(extent / spacing - 1e-6))
    check_memory(size, BYTES_PER_VOXEL, f"straighten to {dimensions(spacing)} mm")
    shape = size.astype(int)
    middle = (places.min(axis=0) + places.max(axis=0)) / 2
    affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
    return shape, affine


def resize(volume: Volume, *, shape: Sequence[int | None]) -> Volume:
    """Stretch to a fixed number of voxels; for scans whose spacing cannot be trusted.

    Args:
        volume: Array (I, J, K).
        shape: Voxels along i, j, k of the result; null leaves an axis as it is: [224, 224, null]
            brings slices to one size and keeps their number.

    Returns:
        Volume of that shape over the same field. "intensity": linear, smoothed first by
        a Gaussian of sigma = (factor - 1) / 2 voxels where it shrinks, so that fine
        detail does not alias. "label": nearest.

    Raises:
        GeometryError: The shape is not three positive integers.
    """
    free = [n if size is None else size for size, n in zip(shape, volume.shape, strict=False)]
    new = checked_shape(free if len(shape) == 3 else list(shape))  # type: ignore[arg-type]  # which it refuses
    check_memory(new, BYTES_PER_VOXEL, "resize")
    factor = np.asarray(volume.shape) / new
    if volume.kind == "label":
        return _nearest(volume, new, factor)
    array = resample_linear(volume.array, new.tolist(), factor.tolist())
    return Volume(array.astype(volume.array.dtype, copy=False), _widened(volume.affine, factor), volume.kind)


def like(volume: Volume, reference: Volume) -> Volume:
    """A volume on another volume's grid; where it does not reach, its minimum, in a mask 0."""
    if volume.shape == reference.shape and np.allclose(volume.affine, reference.affine, atol=1e-3):
        return volume
    return onto(volume, np.asarray(reference.shape), reference.affine)


def onto(volume: Volume, shape: np.ndarray, affine: np.ndarray) -> Volume:
    """Resample onto any grid, turned or sheared: cubic B-spline, nearest for labels.

    Args:
        volume: Array (I, J, K).
        shape: (3,) voxels of the grid.
        affine: (4, 4) of the grid.

    Returns:
        Volume on that grid, dtype and range kept; the minimum, in a mask 0, outside the field.
    """
    import SimpleITK as sitk

    check_memory(shape, BYTES_PER_VOXEL, "resample onto another grid")
    labels = volume.kind == "label"
    grid = to_sitk(Volume(np.zeros(tuple(int(n) for n in shape), np.uint8), affine))
    low, high = (0.0, 255.0) if labels else (float(volume.array.min()), float(volume.array.max()))
    source = volume if labels else volume.with_array(volume.array.astype(np.float32))
    how = sitk.sitkNearestNeighbor if labels else sitk.sitkBSpline
    array = sitk.GetArrayFromImage(sitk.Resample(to_sitk(_laid(source)), grid, sitk.Transform(), how, low)).T
    return Volume(_as(array.clip(low, high), volume.array.dtype), affine, volume.kind)


def _nearest(volume: Volume, shape: np.ndarray, factor: np.ndarray) -> Volume:
    """A mask on `shape` voxels, each `factor` old voxels wide."""
    import SimpleITK as sitk

    affine = _widened(volume.affine, factor)
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_sitk(Volume(np.zeros(tuple(int(n) for n in shape), np.uint8), affine)))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    resampler.SetUseNearestNeighborExtrapolator(True)  # border half-voxels take the edge value, not 0
    resampler.SetOutputPixelType(sitk.sitkUInt8)
    array = sitk.GetArrayFromImage(resampler.Execute(to_sitk(_laid(volume)))).T
    return Volume(_as(array, volume.array.dtype), affine, volume.kind)


def _laid(volume: Volume) -> Volume:
    """The volume in the memory order that ITK takes without a slow copy."""
    return volume.with_array(slices_slowest(volume.array))


def _widened(affine: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Affine of voxels `factor` times as wide, the outer corner of voxel 0 fixed."""
    wide = affine.copy()
    wide[:3, :3] = affine[:3, :3] * factor
    wide[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
    return wide


def _as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(array) if np.issubdtype(dtype, np.integer) else array).astype(dtype)
