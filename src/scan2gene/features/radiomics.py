"""Radiomics: shape, intensity and texture of a mask, with pyradiomics' names and values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from scan2gene.core.errors import GeometryError, StudyError
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.radiomics_measure import Settings, measure
from scan2gene.features.radiomics_regions import Regions, bounds, enough, regions_of
from scan2gene.features.radiomics_shape import NAMES, shape_features
from scan2gene.features.regions import body_of
from scan2gene.preprocess.resample import onto, resample

VERSION = 1
DESCRIPTION = "shape, first-order and texture features of a mask, with LoG and wavelet filters, as pyradiomics has them"
CITATIONS = ("Griethuysen2017", "Zwanenburg2020")


def radiomics(
    exam: Exam,
    *,
    mask: str = "",
    roles: Sequence[str] = (),
    bin_count: int = 32,
    bin_width: float | None = None,
    resample_mm: float | None = None,
    normalise: Literal["none", "image", "body", "mask"] = "body",
    normalise_scale: float = 100.0,
    outlier_sd: float | None = None,
    log_sigma_mm: Sequence[float] = (1.0, 3.0),
    wavelet: bool = True,
    rim_mm: float = 3.0,
    ring_mm: float = 6.0,
    min_voxels: int = 10,
    in_plane: bool = False,
    pool_directions: bool = False,
) -> dict[str, float]:
    """Radiomics features of each image in a mask, in its rim and in the ring around it.

    Args:
        exam: Images and masks.
        mask: Role of the mask; default: the first.
        roles: Images that are measured, with NaN where the exam lacks one; default: those of the exam.
        bin_count: Grey levels of texture and entropy, from the smallest value of a region to its largest.
        bin_width: Width of a grey level in units of the image instead, as pyradiomics' `binWidth`.
        resample_mm: Edge of the voxels to which images and mask are resampled; null leaves the grid. An axis on which
            the mask has one slice stays.
        normalise: "none", or mean 0 and standard deviation `normalise_scale` over the "image" (as pyradiomics'
            `normalize`), over the "body" in it (what is brighter than air) or over the "mask".
        normalise_scale: See there.
        outlier_sd: Leave out voxels further from the region's mean than so many standard deviations.
        log_sigma_mm: Sigmas of the Laplacian of Gaussian in mm, one filtered image each.
        wavelet: Eight filtered images by the wavelet coif1.
        rim_mm: Thickness of the shell inside the mask, between centres of voxels; 0 for no rim.
        ring_mm: Thickness of the shell outside it, within the body; 0 for no ring.
        min_voxels: A region with fewer has NaN, as has one that is a line.
        in_plane: Texture between voxels of a slice only, for slices far apart.
        pool_directions: GLCM and GLRLM features of one matrix of all directions, not their means over directions.

    Returns:
        `<role>_<region>_<filter>_<class>_<Name>` and `<mask>_original_shape_<Name>`; NaN for what cannot be measured.
        The rim's and the ring's region is called `rim` and `ring`.

    Raises:
        GeometryError: The images and the mask are not on one grid.
        ScanError: `bin_width` makes more grey levels than can be counted.

    Source: van Griethuysen 2017, "Computational radiomics system to decode the radiographic phenotype"; Zwanenburg
        2020, "The image biomarker standardization initiative". docs/features.md lists where they differ.
    """
    if bin_count < 1 or (bin_width is not None and not bin_width > 0):
        raise StudyError(f"radiomics: bin_count {bin_count} and bin_width {bin_width} must be above 0")
    settings = Settings(
        bin_count, bin_width, normalise, normalise_scale, outlier_sd, tuple(log_sigma_mm), wavelet, min_voxels,
        in_plane, pool_directions,
    )  # fmt: skip
    name = mask or next(iter(exam.masks), "mask")
    inside = exam.masks.get(name)
    spacing = None
    if inside is not None:
        inside = Volume((inside.array > 0).astype(np.uint8), inside.affine, "label")
        spacing = _spacing(inside, resample_mm)
    images = {role: exam.images.get(role) for role in roles or exam.images}
    for role, image in images.items():
        if inside is not None and image is not None and image.shape != inside.shape:
            raise GeometryError(f"{role} has {image.shape} voxels, and the mask {name} has {inside.shape}")
    if spacing and inside is not None:
        inside = resample(inside, spacing_mm=spacing)
        images = {role: image and _resampled(image, inside, spacing) for role, image in images.items()}
    regions = regions_of(inside, name, rim_mm, ring_mm)
    features = {f"{name}_original_shape_{key}": value for key, value in _shape(regions, name, min_voxels).items()}
    present = [image.array for image in images.values() if image is not None]
    needed = present and regions.inside.any() and (ring_mm > 0 or normalise == "body")
    body = body_of(present).inside.T if needed else None
    for role, image in images.items():
        features |= {f"{role}_{key}": value for key, value in measure(image, regions, settings, body).items()}
    return features


def _spacing(mask: Volume, size_mm: float | None) -> tuple[float, ...] | None:
    """Voxel size to resample to, along i, j, k; None for the grid as it is, or an empty mask."""
    if size_mm is None or not mask.array.any():
        return None
    spans = [s.stop - s.start for s in bounds(mask.array)]
    return tuple(size_mm if n > 1 else own for n, own in zip(spans, mask.spacing_mm, strict=True))


def _resampled(image: Volume, mask: Volume, spacing: tuple[float, ...]) -> Volume:
    """An image on the resampled mask's grid; whole numbers lose their fractions, as pyradiomics resamples them."""
    if np.issubdtype(image.array.dtype, np.integer):  # a value just below a whole number must stay below it
        fine = onto(image.with_array(image.array.astype(np.float32)), np.array(mask.shape), mask.affine)
        return fine.with_array(np.trunc(fine.array))
    lost = ~np.isfinite(image.array)
    if not lost.any():
        return resample(image, spacing_mm=spacing)
    level = np.nanmean(np.where(lost, np.nan, image.array)) if not lost.all() else 0.0  # else they would spread
    fine = resample(image.with_array(np.where(lost, level, image.array).astype(np.float32)), spacing_mm=spacing)
    lost = resample(Volume(lost.astype(np.uint8), image.affine, "label"), spacing_mm=spacing).array > 0
    return fine.with_array(np.where(lost, np.nan, fine.array))


def _shape(regions: Regions, name: str, min_voxels: int) -> dict[str, float]:
    mask = regions.masks[name]
    if not enough(mask, min_voxels):
        return dict.fromkeys(NAMES, np.nan)
    return shape_features(mask[bounds(mask)], regions.spacing)
