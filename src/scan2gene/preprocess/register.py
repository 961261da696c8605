"""Sequences of one exam laid over each other."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import LPS_TO_RAS, to_sitk
from scan2gene.core.volume import Volume
from scan2gene.preprocess.notes import note

VERSION = 1
LEVELS_MM = (6.0, 3.0, 1.5)  # voxels of the reference at each level; its own where they are larger
BINS = 48  # of the joint histogram
SHARE = 0.25  # of the voxels that a level looks at
SEED = 1  # ITK shakes even a regular raster of samples; without a seed, by the clock
ITERATIONS = 400
RELAXATION = 0.8  # of the step where the gradient turns; with ITK's 0.5 turns of thick slices stop degrees short
RADIUS_MM = 80.0  # of a head: how far a turn moves what lies there is what a step of it costs
DIGITS = 6  # of radians and mm that are kept: sums over several threads differ in the fourteenth
SMALLEST = 8  # voxels along every axis that give a level anything to hold on to


def register(
    volume: Volume,
    *,
    reference: Volume,
    start: Literal["header", "centre"] = "header",
    limit_mm: float = 30.0,
    limit_degrees: float = 20.0,
) -> Volume:
    """Move a volume so that it lies over the reference: a rigid movement, found by mutual information.

    No voxel is interpolated: the movement goes into the affine, and `match_grid` after this step brings all onto one
    grid in a single interpolation. Masks stay where they are, so they must be drawn on the reference.

    Args:
        volume: Array (I, J, K), of any sequence.
        reference: The volume that stays; in a study file the name of a role.
        start: "header" begins where the scanner says, right for one session; "centre" with the centres of mass
            over each other, for sessions that share no frame.
        limit_mm: Larger movements of the field's centre are taken for a failure.
        limit_degrees: So are larger turns.

    Returns:
        The same voxels at their new place. The reference itself comes back as it is.

    Raises:
        ScanError: The two do not overlap, hold nothing to align, or the movement is beyond the limits.

    Source: Mattes 2003, "PET-CT image registration in the chest using free-form deformations" (the metric).
    """
    if start not in ("header", "centre"):
        raise ScanError(f"start must be 'header' or 'centre', got {start!r}")
    there = volume.shape == reference.shape and np.array_equal(volume.affine, reference.affine)
    if there and (volume.array is reference.array or np.array_equal(volume.array, reference.array)):
        return volume
    import SimpleITK as sitk

    fixed, moving = _image(reference, "reference"), _image(volume, "volume")
    centre = fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()])
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre)
    begin = np.zeros(3)
    if start == "centre":
        begin = _mass(volume) - _mass(reference)
        transform.SetTranslation(begin.tolist())
    try:
        for level in LEVELS_MM:
            _refine(_at(fixed, level), moving, transform, level)
    except RuntimeError as error:  # ITK's own text names files of its build
        what = "do not overlap" if "outside" in str(error) or "overlap" in str(error) else "hold too little to align"
        raise ScanError(f"register: the volume and its reference {what}") from None
    transform.SetParameters([round(p, DIGITS) for p in transform.GetParameters()])
    turn = np.reshape(transform.GetMatrix(), (3, 3))
    degrees = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))))
    shift = float(np.linalg.norm(np.asarray(transform.GetTranslation()) - begin))
    if shift > limit_mm or degrees > limit_degrees:
        raise ScanError(
            f"register: the volume would have to move by {shift:.0f} mm and {degrees:.0f} degrees, beyond limit_mm "
            f"{limit_mm:g} or limit_degrees {limit_degrees:g}; is it of the same exam?"
        )
    note(f"register: a sequence moved by {shift:.1f} mm and {degrees:.1f} degrees")
    return Volume(volume.array, _moved(volume.affine, turn, np.asarray(centre), transform), volume.kind)


def _refine(fixed: Any, moving: Any, transform: Any, level: float) -> None:
    """One level of the pyramid; `transform` is improved in place."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SHARE, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=level / 2, minStep=level / 1000, numberOfIterations=ITERATIONS, relaxationFactor=RELAXATION
    )
    method.SetOptimizerScales([RADIUS_MM**2] * 3 + [1.0] * 3)
    method.SetInitialTransform(transform, inPlace=True)
    smooth = sitk.SmoothingRecursiveGaussian(moving, level / 2)
    method.Execute(fixed, smooth)


def _at(image: Any, level: float) -> Any:
    """An image smoothed and resampled to voxels of `level` mm, or its own where they are larger."""
    import SimpleITK as sitk

    spacing = np.asarray(image.GetSpacing())
    size = np.asarray(image.GetSize())
    new = np.maximum(spacing, np.minimum(level, spacing * size / SMALLEST))
    smooth = sitk.SmoothingRecursiveGaussian(image, level / 2)
    shape = np.maximum(1, np.floor(size * spacing / new + 1e-6)).astype(int)
    corner = image.TransformContinuousIndexToPhysicalPoint(((new / spacing - 1) / 2).tolist())
    return sitk.Resample(
        smooth, [int(n) for n in shape], sitk.Transform(), sitk.sitkLinear, corner, new.tolist(),
        image.GetDirection(), 0.0, sitk.sitkFloat32,
    )  # fmt: skip


def _image(volume: Volume, which: str) -> Any:
    """Float image on a scale of 0 to 1."""
    array = volume.array.astype(np.float64)
    low, high = np.percentile(array, [0.5, 99.5])
    if not high > low or min(volume.shape) < 4:
        raise ScanError(f"register: the {which} holds nothing to align: it is flat or has fewer than 4 voxels a side")
    return to_sitk(volume.with_array(np.clip((array - low) / (high - low), 0, 1).astype(np.float32)))


def _mass(volume: Volume) -> np.ndarray:
    """Centre of mass (3,) in LPS mm, weighed by the intensity above the minimum."""
    weight = volume.array.astype(np.float64) - float(volume.array.min())
    index = [float((weight.sum(axis=tuple(a for a in range(3) if a != axis)) * np.arange(n)).sum() / weight.sum())
             for axis, n in enumerate(volume.shape)]  # fmt: skip
    return (LPS_TO_RAS @ volume.affine @ [*index, 1.0])[:3]


def _moved(affine: np.ndarray, turn: np.ndarray, centre: np.ndarray, transform: Any) -> np.ndarray:
    """The affine after the movement: ITK's transform leads from the reference into the volume, this is its inverse."""
    into = np.eye(4)
    into[:3, :3] = turn
    into[:3, 3] = centre + np.asarray(transform.GetTranslation()) - turn @ centre
    return LPS_TO_RAS @ np.linalg.inv(into) @ LPS_TO_RAS @ affine
