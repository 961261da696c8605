"""Exams that cannot be measured, or hardly: the same names, NaN for what is missing, no exception."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from scan2gene.core.errors import GeometryError, ScanError, StudyError
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.radiomics import radiomics

SHAPE = (20, 18, 9)
QUICK = {"wavelet": False, "log_sigma_mm": (), "ring_mm": 0, "normalise": "none"}


def image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, SHAPE).astype(np.float32)


def box(i: slice, j: slice, k: slice) -> np.ndarray:
    label = np.zeros(SHAPE, np.uint8)
    label[i, j, k] = 1
    return label


USUAL = box(slice(4, 14), slice(5, 13), slice(2, 7))


def exam(array: np.ndarray | None, label: np.ndarray | None) -> Exam:
    return Exam(
        {} if array is None else {"t1": Volume(np.asfortranarray(array), np.eye(4))},
        {} if label is None else {"tumour": Volume(np.asfortranarray(label), np.eye(4), "label")},
    )


def missing(features: dict[str, float]) -> set[str]:
    """First words of the names that are NaN."""
    return {name.split("_")[0] for name, value in features.items() if np.isnan(value)}


@cache
def names() -> list[str]:
    return list(radiomics(exam(image(), USUAL), **QUICK))


@pytest.mark.parametrize(
    "label",
    [
        box(slice(5, 6), slice(5, 6), slice(5, 6)),
        box(slice(0, 0), slice(0), slice(0)),
        box(slice(2, 17), slice(3, 4), slice(3, 4)),
    ],
    ids=["one voxel", "empty", "a line"],
)
def test_too_small_a_mask_gives_nan(label):
    features = radiomics(exam(image(), label), mask="tumour", **QUICK)
    assert list(features) == names()
    assert np.isnan(list(features.values())).all()


def test_no_mask_at_all_gives_the_same_names():
    features = radiomics(exam(image(), None), mask="tumour", **QUICK)
    assert list(features) == names()
    assert np.isnan(list(features.values())).all()


def test_a_missing_role_gives_nan():
    features = radiomics(exam(image(), USUAL), roles=("t1", "flair"), **QUICK)
    alone = radiomics(exam(None, USUAL), roles=("t1", "flair"), **QUICK)
    assert list(features) == list(alone)
    assert missing(features) == {"flair"}
    assert missing(alone) == {"t1", "flair"}
    assert alone["tumour_original_shape_VoxelVolume"] == USUAL.sum()


@pytest.mark.parametrize(
    "label", [box(slice(4, 14), slice(5, 13), slice(3, 4)), np.ones(SHAPE, np.uint8)], ids=["one slice", "whole field"]
)
def test_one_slice_and_the_border_are_measured(label):
    features = radiomics(exam(image(), label), rim_mm=1.5, log_sigma_mm=(1.0,), ring_mm=0, normalise="image")
    assert np.isfinite(list(features.values())).all()
    assert features["tumour_original_shape_VoxelVolume"] == label.sum()


def test_a_mask_at_the_border_is_resampled():
    features = radiomics(exam(image(), box(slice(0, 9), slice(9, 18), slice(0, 1))), resample_mm=0.7, **QUICK)
    assert np.isfinite(features["t1_tumour_original_glcm_Contrast"])


@pytest.mark.parametrize("options", [{"bin_width": 5.0}, {"bin_count": 32}, {"normalise": "mask"}])
def test_a_constant_image_is_flat(options):
    features = radiomics(exam(np.full(SHAPE, 40, np.float32), USUAL), **QUICK | options)
    assert features["t1_tumour_original_glcm_Contrast"] == 0
    assert features["t1_tumour_original_glcm_MCC"] == 1
    assert features["t1_tumour_original_ngtdm_Coarseness"] == 1e6
    assert features["t1_tumour_original_firstorder_Kurtosis"] == 0
    assert np.isfinite(list(features.values())).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("resample_mm", [None, 0.8])
def test_voxels_that_are_not_finite_are_left_out(bad, resample_mm):
    array = image()
    array[5, 6, 3] = array[0, 0, 0] = bad
    options = QUICK | {"wavelet": True, "log_sigma_mm": (1.0,), "normalise": "image", "resample_mm": resample_mm}
    features = radiomics(exam(array, USUAL), **options)
    assert np.isfinite(list(features.values())).all()
    lost = radiomics(exam(np.full(SHAPE, bad, np.float32), USUAL), **options)
    assert list(lost) == list(features)
    assert missing(lost) == {"t1"}


@pytest.mark.parametrize("options", [{"bin_width": 25.0}, {"bin_count": 16}])
def test_eight_bit_images_do_not_overflow(options):
    array = image() + 55  # up to 254: pyradiomics adds the bin width to the maximum within 8 bits
    small = radiomics(exam(array.astype(np.uint8), USUAL), **QUICK | options)
    assert small == pytest.approx(radiomics(exam(array, USUAL), **QUICK | options))


def test_too_narrow_bins_are_refused():
    with pytest.raises(ScanError, match=r"tumour, original: .* more than 2048 grey levels.*bin_width"):
        radiomics(exam(image(), USUAL), **QUICK, bin_width=0.01)
    with pytest.raises(ScanError, match="2048"):
        radiomics(exam(image() * 1e30, USUAL), **QUICK, bin_width=1e-30)


@pytest.mark.parametrize("options", [{"bin_count": 0}, {"bin_width": 0.0}, {"bin_width": -1.0}])
def test_impossible_bins_are_refused(options):
    with pytest.raises(StudyError, match="above 0"):
        radiomics(exam(image(), USUAL), **QUICK | options)


def test_memory_order_does_not_matter():
    rows_first = Exam({"t1": Volume(image(), np.eye(4))}, {"tumour": Volume(USUAL, np.eye(4), "label")})
    assert radiomics(rows_first, **QUICK) == radiomics(exam(image(), USUAL), **QUICK)


def test_another_grid_is_refused():
    with pytest.raises(GeometryError, match="voxels"):
        radiomics(exam(image()[1:], USUAL), **QUICK)
