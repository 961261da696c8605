"""Common voxel spacing and fixed grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import GeometryError
from scan2gene.core.geometry import checked_shape, from_sitk, to_sitk
from scan2gene.core.volume import Volume
from scan2gene.preprocess.spline import resample_spline


def resample(volume: Volume, *, spacing_mm: Sequence[float] = (1.1, 1.1, 3.0)) -> Volume:
    """Resample to a new voxel spacing, keeping the near edges of the field.

    Args:
        volume: Array (I, J, K), affine RAS+ in mm.
        spacing_mm: Target size along i, j, k; each > 0. Default of the BRCA study.

    Returns:
        Volume (I', J', K'), I' = I * old / new rounded, halves up, at least 1. Cubic B-spline for
        "intensity", held to the input's range; nearest for "label". The dtype is kept.

    Raises:
        GeometryError: A spacing is not positive.

    Source: Unser 1999, "Splines: a perfect fit for signal and image processing".
    """
    new = np.asarray(spacing_mm, dtype=float)
    if new.shape != (3,) or not (new > 0).all():
        raise GeometryError(f"spacing_mm needs three positive numbers, got {list(spacing_mm)}")
    old = np.asarray(volume.spacing_mm)
    # halves go up, and rounding noise in the affine must not decide about a slice
    shape = np.maximum(1, np.floor(np.asarray(volume.shape) * old / new + 0.5 + 1e-6)).astype(int)
    if volume.kind == "label":
        return _on_grid(volume, shape, new / old)
    dtype = volume.array.dtype if np.issubdtype(volume.array.dtype, np.integer) else np.float32
    bounds = float(volume.array.min()), float(volume.array.max())
    array = resample_spline(volume.array, shape, new / old, bounds, dtype)
    return Volume(array.astype(volume.array.dtype, copy=False), _widened(volume.affine, new / old), volume.kind)


def resize(volume: Volume, *, shape: Sequence[int]) -> Volume:
    """Stretch to a fixed number of voxels; for scans whose spacing cannot be trusted.

    Args:
        volume: Array (I, J, K).
        shape: Voxels along i, j, k of the result.

    Returns:
        Volume of that shape over the same field. "intensity": linear, smoothed first by
        a Gaussian of sigma = (factor - 1) / 2 voxels where it shrinks, so that fine
        detail does not alias. "label": nearest.

    Raises:
        GeometryError: The shape is not three positive integers.
    """
    new = checked_shape(shape)
    factor = np.asarray(volume.shape) / new
    if volume.kind == "intensity" and (factor > 1).any():
        from scipy.ndimage import gaussian_filter

        smooth = gaussian_filter(volume.array.astype(np.float32), np.maximum(0, (factor - 1) / 2), mode="nearest")
        volume = volume.with_array(_as(smooth, volume.array.dtype))
    return _on_grid(volume, new, factor)


def like(volume: Volume, reference: Volume) -> Volume:
    """Nearest-neighbour copy of a label volume on another volume's grid; 0 outside."""
    import SimpleITK as sitk

    if volume.shape == reference.shape and np.allclose(volume.affine, reference.affine, atol=1e-3):
        return volume
    grid = to_sitk(Volume(np.zeros(reference.shape, np.uint8), reference.affine))
    return from_sitk(sitk.Resample(to_sitk(volume), grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0), volume.kind)


def _on_grid(volume: Volume, shape: np.ndarray, factor: np.ndarray) -> Volume:
    """`shape` voxels, each `factor` old voxels wide: nearest for labels, linear for intensities."""
    import SimpleITK as sitk

    affine = _widened(volume.affine, factor)
    labels = volume.kind == "label"
    source = volume if labels else volume.with_array(volume.array.astype(np.float32))
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_sitk(Volume(np.zeros(tuple(int(n) for n in shape), np.uint8), affine)))
    resampler.SetInterpolator(sitk.sitkNearestNeighbor if labels else sitk.sitkLinear)
    resampler.SetUseNearestNeighborExtrapolator(True)  # border half-voxels take the edge value, not 0
    resampler.SetOutputPixelType(sitk.sitkUInt8 if labels else sitk.sitkFloat32)
    array = sitk.GetArrayFromImage(resampler.Execute(to_sitk(source))).T
    return Volume(_as(array, volume.array.dtype), affine, volume.kind)


def _widened(affine: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Affine of voxels `factor` times as wide, the outer corner of voxel 0 fixed."""
    wide = affine.copy()
    wide[:3, :3] = affine[:3, :3] * factor
    wide[:3, 3] += affine[:3, :3] @ ((factor - 1) / 2)
    return wide


def _as(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return (np.rint(array) if np.issubdtype(dtype, np.integer) else array).astype(dtype)
