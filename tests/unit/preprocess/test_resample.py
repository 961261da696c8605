"""Resampling against scipy's splines and linear interpolation, and against places in mm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from scan2gene.core.errors import GeometryError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import like, resample, resize


def tilted(spacing, origin=(10.0, -20, 30)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix() * spacing
    affine[:3, 3] = origin
    return affine


def noise(shape=(14, 15, 9)) -> np.ndarray:
    return np.random.default_rng(1).normal(100, 30, shape).astype(np.float32)


def source_index(new: Volume, old: Volume) -> np.ndarray:
    """(3, ...) index in `old` of each voxel of `new`, by the affines alone."""
    index = np.indices(new.shape).reshape(3, -1)
    moved = np.linalg.inv(old.affine) @ new.affine @ np.vstack([index, np.ones(index.shape[1])])
    return moved[:3].reshape(3, *new.shape)


def within(where: np.ndarray, shape) -> np.ndarray:
    return np.logical_and.reduce([(w >= 0) & (w <= n - 1) for w, n in zip(where, shape, strict=True)])


@pytest.mark.parametrize("spacing", [(1.1, 1.1, 3.0), (0.7, 2.0, 1.3), (3.0, 3.0, 3.0)])
def test_intensities_are_scipys_cubic_spline(spacing):
    volume = Volume(noise(), tilted((0.9, 1.4, 2.2)))
    result = resample(volume, spacing_mm=spacing)
    where = source_index(result, volume)
    expected = map_coordinates(volume.array.astype(float), where, order=3, mode="mirror")
    expected = np.clip(expected, volume.array.min(), volume.array.max())
    inside = within(where, volume.shape)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(result.array[inside], expected[inside], atol=1e-3)
    np.testing.assert_allclose(result.spacing_mm, spacing)


@given(st.tuples(*[st.integers(1, 12)] * 3), st.tuples(*[st.floats(0.4, 4)] * 3), st.tuples(*[st.floats(0.4, 4)] * 3))
def test_the_outer_corner_of_the_first_voxel_stays_and_the_field_is_kept(shape, old, new):
    volume = Volume(np.ones(shape, np.float32), tilted(old))
    result = resample(volume, spacing_mm=new)
    corner = [-0.5, -0.5, -0.5, 1]
    np.testing.assert_allclose(result.affine @ corner, volume.affine @ corner, atol=1e-9)
    np.testing.assert_allclose(result.spacing_mm, new)
    for n_new, n_old, a, b in zip(result.shape, shape, new, old, strict=True):
        assert n_new == 1 or abs(n_new * a - n_old * b) <= a * (0.5 + 1e-5)  # nearest whole number of voxels
    assert (result.array == 1).all()  # a border of zeros would show


def test_half_a_voxel_counts_as_one_whatever_the_affine_rounds_to():
    for n in range(1, 40, 2):
        volume = Volume(np.ones((n, 2, 2), np.float32), tilted((0.4, 1.0, 1.0)))
        assert resample(volume, spacing_mm=(0.8, 1.0, 1.0)).shape[0] == (n + 1) // 2


@given(st.tuples(*[st.floats(0.5, 3)] * 3))
def test_a_ramp_in_mm_is_the_same_ramp_after_resampling(new):
    shape, slope = (24, 26, 25), np.array([0.7, -1.1, 0.4])
    affine = tilted((1.3, 0.8, 2.0))

    def ramp(n, where):
        return (np.moveaxis(np.indices(n), 0, -1) @ where[:3, :3].T + where[:3, 3]) @ slope

    volume = Volume(ramp(shape, affine).astype(np.float32), affine)
    result = resample(volume, spacing_mm=new)
    # mirrored borders bend the spline; that dies out by a factor 0.27 a voxel, so eight voxels in it is gone
    deep = np.logical_and.reduce(
        [(w > 8) & (w < n - 9) for w, n in zip(source_index(result, volume), shape, strict=True)]
    )
    assert deep.any()
    np.testing.assert_allclose(result.array[deep], ramp(result.shape, result.affine)[deep], atol=1e-3)


def test_resampling_to_its_own_spacing_changes_nothing():
    volume = Volume(noise(), tilted((0.9, 1.4, 2.2)))
    result = resample(volume, spacing_mm=volume.spacing_mm)
    np.testing.assert_allclose(result.array, volume.array, atol=1e-3)
    np.testing.assert_allclose(result.affine, volume.affine, atol=1e-12)


@pytest.mark.parametrize("spacing", [(0.5, 0.7, 1.1), (2.7, 1.9, 3.3)])
def test_labels_are_the_nearest_voxel(spacing):
    labels = Volume(np.random.default_rng(0).integers(0, 200, (9, 8, 7)).astype(np.uint8), tilted((1, 1, 1)), "label")
    result = resample(labels, spacing_mm=spacing)
    where = source_index(result, labels)
    halfway = np.abs(where % 1 - 0.5).min(axis=0) < 1e-6  # either neighbour is nearest
    nearest = tuple(np.clip(np.rint(w).astype(int), 0, n - 1) for w, n in zip(where, labels.shape, strict=True))
    np.testing.assert_array_equal(result.array[~halfway], labels.array[nearest][~halfway])
    assert (~halfway).mean() > 0.5


def test_the_spline_does_not_leave_the_range_of_the_input():
    step = np.zeros((12, 12, 12), np.uint8)
    step[6:] = 255  # a cubic spline overshoots here, and uint8 would wrap
    result = resample(Volume(step, np.eye(4)), spacing_mm=(0.6, 1, 1))
    assert result.array.dtype == np.uint8
    assert (np.diff(result.array.astype(int), axis=0) >= -25).all()
    assert (result.array[0] < 25).all()
    assert (result.array[-1] > 230).all()


@pytest.mark.parametrize("kind", ["intensity", "label"])
def test_a_voxel_thicker_than_twice_the_field_takes_the_nearest_value(kind):
    flat = Volume(np.random.default_rng(0).integers(50, 99, (7, 8, 1)).astype(np.uint8), np.eye(4), kind)
    result = resample(flat, spacing_mm=(1, 1, 4))
    assert result.spacing_mm == (1, 1, 4)
    np.testing.assert_array_equal(result.array, flat.array)


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -2), (1, 1, float("nan"))])
def test_a_spacing_that_is_not_positive_is_refused(spacing):
    with pytest.raises(GeometryError, match="three positive numbers"):
        resample(Volume(noise(), np.eye(4)), spacing_mm=spacing)


@pytest.mark.parametrize("shape", [(20, 30, 18), (7, 5, 3), (7, 30, 9)])
def test_resize_is_scipys_gaussian_and_linear_interpolation(shape):
    volume = Volume(noise(), tilted((1.1, 0.6, 3)))
    result = resize(volume, shape=shape)
    factor = np.array(volume.shape) / shape
    sigma = np.maximum(0, (factor - 1) / 2)
    smooth = gaussian_filter(volume.array.astype(float), sigma, mode="nearest")
    where = [(np.arange(n) + 0.5) * f - 0.5 for n, f in zip(shape, factor, strict=True)]
    expected = map_coordinates(smooth, np.meshgrid(*where, indexing="ij"), order=1, mode="nearest")
    assert result.shape == shape
    np.testing.assert_allclose(source_index(result, volume), np.meshgrid(*where, indexing="ij"), atol=1e-9)
    np.testing.assert_allclose(result.array, expected, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 0), (4, 4, 2.5), (4, 4, -1)])
def test_a_shape_that_is_not_three_positive_integers_is_refused(shape):
    with pytest.raises(GeometryError, match="three positive integers"):
        resize(Volume(noise(), np.eye(4)), shape=shape)


def test_like_brings_a_mask_to_another_grid_and_is_zero_outside():
    inside = np.zeros((10, 10, 10), np.uint8)
    inside[2:8, 3:7, 4:6] = 3
    labels = Volume(inside, tilted((1, 1, 1)), "label")
    affine = labels.affine @ np.array([[0.4, 0, 0, -3.1], [0, 0, 0.7, 0.2], [0, 0.9, 0, -2.3], [0, 0, 0, 1]])
    result = like(labels, Volume(np.zeros((41, 14, 12), np.float32), affine))
    np.testing.assert_allclose(result.affine, affine, atol=1e-9)
    where = np.rint(source_index(result, labels)).astype(int)
    expected = np.zeros(result.shape, np.uint8)
    known = within(where, labels.shape)
    expected[known] = inside[tuple(where[:, known])]
    assert 0 < (expected > 0).sum() < known.sum() < expected.size
    np.testing.assert_array_equal(result.array, expected)
