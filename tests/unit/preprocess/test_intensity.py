"""Intensity steps against closed forms, brute force and other people's functions."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage, stats

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.preprocess.equalise import equalise
from scan2gene.preprocess.first_channel import first_channel
from scan2gene.preprocess.min_max_uint8 import min_max_uint8
from scan2gene.preprocess.remove_background import remove_background
from scan2gene.preprocess.zscore import zscore


def volume(array) -> Volume:
    return Volume(np.asarray(array), np.eye(4))


def line(values, dtype=np.float32) -> Volume:
    return volume(np.array(values, dtype).reshape(-1, 1, 1))


@pytest.fixture(scope="module")
def flair(shared_data) -> Volume:
    return read_volume(shared_data / "tcia_brain_tumor_progression_dicom" / "Study3" / "36468-FLAIRreg-58706")


def test_first_channel_is_red_and_a_grey_volume_passes():
    colour = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(first_channel(volume(colour)).array, colour[..., 0])
    np.testing.assert_array_equal(first_channel(volume(colour[..., 1])).array, colour[..., 1])


def test_min_max_maps_ends_to_ends_and_the_middle_linearly():
    assert min_max_uint8(line([-100, -50, 0, 50, 100])).array.ravel().tolist() == [0, 64, 128, 191, 255]
    assert min_max_uint8(line([5, 5, 5])).array.ravel().tolist() == [0, 0, 0]


@given(st.lists(st.integers(-32768, 65535), min_size=2, max_size=40).filter(lambda v: min(v) < max(v)))
def test_min_max_is_rounded_to_the_nearest_level(values):
    exact = 255 * (np.array(values) - min(values)) / (max(values) - min(values))
    result = min_max_uint8(line(values)).array.ravel()
    assert result.dtype == np.uint8
    assert (result.min(), result.max()) == (0, 255)
    assert np.abs(result - exact).max() <= 0.5 + 1e-4


def test_min_max_of_a_real_scan_is_simpleitks(flair):
    expected = sitk.GetArrayFromImage(sitk.RescaleIntensity(sitk.GetImageFromArray(flair.array), 0, 255))
    assert np.abs(min_max_uint8(flair).array - expected).max() <= 0.5 + 1e-3


def test_equalise_is_the_rank_for_as_many_levels_as_bins():
    values = np.repeat(np.arange(256), np.random.default_rng(0).integers(1, 9, 256))
    below = stats.rankdata(values, method="max")
    lowest = (values == 0).sum()
    expected = np.rint(255 * (below - lowest) / (len(values) - lowest))
    np.testing.assert_array_equal(equalise(line(values)).array.ravel(), expected)


def test_a_flat_histogram_stays_as_it_is():
    values = np.tile(np.arange(256), 7)
    np.testing.assert_array_equal(equalise(line(values)).array.ravel(), values)


@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=60), st.integers(2, 256))
def test_equalise_keeps_the_order_of_grey_values(values, bins):
    result = equalise(line(sorted(values)), bins=bins).array.ravel().astype(int)
    assert (np.diff(result) >= 0).all()
    assert result[0] == 0
    if min(values) < max(values):
        assert result[-1] == 255


def test_equalise_ignores_a_change_of_scale_and_offset():
    array = np.random.default_rng(3).integers(0, 256, (8, 8, 8))
    expected = equalise(volume(array.astype(np.float32))).array
    np.testing.assert_array_equal(equalise(volume(array.astype(np.float32) * 4 + 1024)).array, expected)
    np.testing.assert_array_equal(equalise(volume(array.astype(np.uint8))).array, expected)


def test_equalise_flattens_a_real_scan(flair):
    bright = flair.array > flair.array.mean()  # most of the rest is one level, air

    def steepest(levels):
        counts = np.histogram(levels, bins=8)[0]
        return counts.max() / counts.mean()

    assert steepest(flair.array[bright]) > 2.5
    assert steepest(equalise(flair).array[bright]) < 1.5


def test_equalise_of_one_value_is_black():
    assert (equalise(line([4, 4, 4])).array == 0).all()


def test_zscore_is_scipys(flair):
    result = zscore(flair)
    assert result.array.dtype == np.float32
    np.testing.assert_allclose(result.array, stats.zscore(flair.array.astype(float), axis=None), atol=1e-4)


def test_zscore_over_nonzero_voxels_leaves_zeros_and_ignores_how_many(flair):
    result = zscore(flair, nonzero=True).array
    where = flair.array != 0
    np.testing.assert_allclose(result[where], stats.zscore(flair.array[where].astype(float)), atol=1e-4)
    assert (result[~where] == 0).all()
    padded = volume(np.pad(flair.array, 5))
    np.testing.assert_allclose(zscore(padded, nonzero=True).array[5:-5, 5:-5, 5:-5], result, atol=1e-4)


@pytest.mark.parametrize("value", [0, 1, 0.1, 1e-3, 123.456, 1e6, -7.7])
@pytest.mark.parametrize("nonzero", [False, True])
def test_zscore_of_one_value_is_refused(value, nonzero):
    array = np.full((20, 20, 20), value, np.float32)
    if nonzero:
        array[:5] = 0
    with pytest.raises(ScanError, match="one value"):
        zscore(volume(array), nonzero=nonzero)


def two_blobs(background=10.0) -> np.ndarray:
    array = np.random.default_rng(0).normal(background, 1, (30, 30, 30))
    array[3:15, 3:15, 3:15] += 100  # 1728 voxels
    array[20:28, 20:28, 20:28] += 100  # 512
    array[28, 3, 3] += 100  # a hot pixel
    return array.astype(np.float32)


def test_only_the_largest_part_is_kept_and_the_rest_takes_the_minimum():
    array = two_blobs()
    result = remove_background(volume(array)).array
    np.testing.assert_array_equal(result[3:15, 3:15, 3:15], array[3:15, 3:15, 3:15])
    outside = np.ones(array.shape, bool)
    outside[3:15, 3:15, 3:15] = False
    assert (result[outside] == array.min()).all()


def test_large_keeps_every_part_of_at_least_so_many_voxels():
    array = two_blobs()
    kept = remove_background(volume(array), keep="large", min_voxels=512).array > 50
    assert kept.sum() == 1728 + 512
    assert (remove_background(volume(array), keep="large", min_voxels=516).array > 50).sum() == 1728


def test_voxels_that_touch_at_a_corner_are_one_part():
    array = np.zeros((9, 9, 9), np.float32)
    array[1:3, 1:3, 1:3] = array[3:5, 3:5, 3:5] = 9
    array[6:8, 6:8, 6:8] = 9
    assert (remove_background(volume(array), threshold=0.5).array > 0).sum() == 16


def test_the_threshold_is_a_share_of_the_range():
    ramp = volume(np.linspace(-50, 150, 201, dtype=np.float32).reshape(-1, 1, 1))
    result = remove_background(ramp, threshold=0.25).array.ravel()
    np.testing.assert_array_equal(np.flatnonzero(result > -50), np.arange(51, 201))


def test_otsu_parts_a_real_scan_as_simpleitk_does(flair):
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetNumberOfHistogramBins(256)
    otsu.SetInsideValue(0)
    otsu.SetOutsideValue(1)
    theirs = sitk.GetArrayFromImage(otsu.Execute(sitk.GetImageFromArray(flair.array))) > 0
    parts, _ = ndimage.label(theirs, np.ones((3, 3, 3)))
    expected = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    ours = remove_background(flair, threshold="otsu").array > flair.array.min()
    assert expected.mean() > 0.1
    assert (ours & expected).sum() * 2 / (ours.sum() + expected.sum()) > 0.995  # they differ by one bin of 256


def test_otsu_is_the_best_of_all_thresholds():
    array = np.random.default_rng(5).choice([1, 2, 3, 40, 42, 70], (12, 12, 12), p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.1])

    def between(cut):
        low, high = array[array <= cut], array[array > cut]
        return len(low) * len(high) * (low.mean() - high.mean()) ** 2

    best = max([1, 2, 3, 40, 42], key=between)
    assert best == 3
    kept = remove_background(volume(array.astype(np.float32)), threshold="otsu", keep="large", min_voxels=1).array
    np.testing.assert_array_equal(kept, np.where(array > best, array, 1))


@pytest.mark.parametrize(
    ("array", "options"),
    [
        (np.full((5, 5, 5), 3.0), {}),
        (np.full((5, 5, 5), 3.0), {"threshold": 0.5}),
        (two_blobs(), {"threshold": 1.0}),
        (two_blobs(), {"keep": "large", "min_voxels": 2000}),
    ],
)
def test_nothing_left_is_an_error_in_words(array, options):
    with pytest.raises(ScanError, match="left nothing"):
        remove_background(volume(array), **options)


def test_an_unknown_way_to_keep_is_refused():
    with pytest.raises(ScanError, match="'largest' or 'large'"):
        remove_background(volume(two_blobs()), keep="all")


def test_unsigned_bytes_stay_unsigned_bytes():
    array = np.clip(two_blobs(), 0, 255).astype(np.uint8)
    result = remove_background(volume(array)).array
    assert result.dtype == np.uint8
    assert (result > array.min()).sum() == 1728
