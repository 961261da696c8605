"""Resampling against scipy's splines and linear interpolation, and against places in mm."""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from scan2gene.core.errors import GeometryError
from scan2gene.core.volume import Volume
from scan2gene.preprocess import STEPS
from scan2gene.preprocess.memory_order import slices_slowest
from scan2gene.preprocess.reorient import reorient
from scan2gene.preprocess.resample import like, resample, resize, slice_axis


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


STORED = ["LAS", "RPI", "PSR", "SAL", "ILP"]  # axial, sagittal and coronal slices, several directions


@pytest.mark.parametrize("axes", STORED)
def test_world_spacing_holds_whatever_the_storage_order(axes):
    volume = Volume(noise(), tilted((0.9, 1.4, 2.2)))
    expected = reorient(resample(reorient(volume, axes="RAS"), spacing_mm=(1.1, 0.8, 3)), axes=axes)
    result = resample(reorient(volume, axes=axes), spacing_mm=(1.1, 0.8, 3), axes="world")
    size = dict(zip("RLAPSI", (1.1, 1.1, 0.8, 0.8, 3, 3), strict=True))
    np.testing.assert_allclose(result.spacing_mm, [size[letter] for letter in axes])
    assert result.orientation == axes
    # the field starts at the first voxel of either order, so edges differ by less than one new voxel
    assert np.abs(result.affine[:3, 3] - expected.affine[:3, 3]).max() < 3
    assert result.shape == expected.shape


@pytest.mark.parametrize("axes", STORED)
@pytest.mark.parametrize("spacing", [(0.7, 0.7, 3.0), (1.2, 1.2, 0.5), (0.9, 0.905, 0.8)])
def test_acquisition_spacing_follows_the_slices_through_any_reorientation(axes, spacing):
    scan = Volume(noise(), tilted(spacing))  # k is the slice axis
    turned = reorient(scan, axes=axes)
    k = next(a for a, letter in enumerate(axes) if letter in "SI")
    assert slice_axis(turned) == k
    result = resample(turned, spacing_mm=(1.1, 1.1, 2.5), axes="acquisition")
    assert result.spacing_mm[k] == pytest.approx(2.5)
    assert sorted(result.spacing_mm) == pytest.approx([1.1, 1.1, 2.5])


def test_where_no_axis_is_unlike_the_others_slices_lie_along_the_last():
    assert slice_axis(Volume(noise(), tilted((1, 1.004, 0.998)))) == 2


def test_unknown_axes_are_refused():
    with pytest.raises(GeometryError, match="'voxel', 'world' or 'acquisition'"):
        resample(Volume(noise(), np.eye(4)), axes="LAS")


def smooth_wave(affine, shape) -> np.ndarray:
    place = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return 100 + 20 * np.sin(place @ (0.11, 0.05, -0.04)) + 15 * np.cos(place @ (-0.03, 0.13, 0.06))


SHEARED = tilted((1.2, 0.9, 1.8)) @ np.array([[1, 0, 0.3, 0], [0, 1, -0.2, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("affine", [tilted((1.2, 0.9, 1.8)), SHEARED], ids=["oblique", "sheared"])
def test_straightening_shows_the_same_place_on_axes_of_the_patient(affine):
    volume = Volume(smooth_wave(affine, (40, 44, 30)).astype(np.float32), affine)
    result = resample(volume, spacing_mm=(1.1, 1.3, 1.5), axes="world", straighten=True)
    direction = result.affine[:3, :3] / result.spacing_mm
    np.testing.assert_allclose(np.abs(direction), np.eye(3), atol=1e-12)
    assert result.orientation == volume.orientation
    np.testing.assert_allclose(result.spacing_mm, (1.1, 1.3, 1.5))
    where = source_index(result, volume)
    deep = np.logical_and.reduce([(w > 8) & (w < n - 9) for w, n in zip(where, volume.shape, strict=True)])
    assert deep.sum() > 1000
    np.testing.assert_allclose(result.array[deep], smooth_wave(result.affine, result.shape)[deep], atol=0.05)
    outside = np.logical_or.reduce([(w < -1) | (w > n) for w, n in zip(where, volume.shape, strict=True)])
    assert (result.array[outside] == volume.array.min()).all()
    # the whole field is on the new grid: every old voxel lies within it
    old = source_index(volume, result)
    assert all((w > -0.5 - 1e-6).all() and (w < n - 0.5 + 1e-6).all() for w, n in zip(old, result.shape, strict=True))


def test_a_field_that_is_straight_but_for_rounding_is_not_interpolated_twice():
    affine = np.diag([-0.9, 0.9, 2.0, 1])
    volume = Volume(noise(), affine + np.pad(np.full((3, 3), 2e-6), (0, 1)))
    straight = resample(volume, spacing_mm=(1.1, 1.1, 3), straighten=True)
    np.testing.assert_array_equal(straight.array, resample(volume, spacing_mm=(1.1, 1.1, 3)).array)


def test_a_straightened_mask_lies_on_its_straightened_image():
    affine = tilted((1.2, 0.9, 1.8))
    array = np.zeros((30, 34, 20), np.uint8)
    array[9:20, 8:22, 5:15] = 200
    image = resample(Volume(array, affine), spacing_mm=(1, 1, 1), straighten=True)
    mask = resample(Volume(array // 200, affine, "label"), spacing_mm=(1, 1, 1), straighten=True)
    np.testing.assert_array_equal(image.affine, mask.affine)
    assert set(np.unique(mask.array)) == {0, 1}
    assert ((image.array > 100) == (mask.array > 0)).mean() > 0.98


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
    np.testing.assert_allclose(result.array, expected, atol=2e-4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_resized_whole_numbers_are_the_rounded_real_ones(dtype):
    array = (noise() * 20 + 100).clip(0, 255).astype(dtype)
    real = resize(Volume(array.astype(np.float32), np.eye(4)), shape=(9, 40, 18)).array
    whole = resize(Volume(array, np.eye(4)), shape=(9, 40, 18)).array
    assert whole.dtype == dtype
    np.testing.assert_allclose(whole, real, atol=0.5 + 1e-4)


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


@pytest.mark.parametrize("kind", ["intensity", "label"])
@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("resample", {"spacing_mm": (0.001, 0.001, 0.001)}),
        ("resample", {"spacing_mm": (1e-200, 1, 1)}),
        ("resample", {"spacing_mm": (0.001, 0.001, 0.001), "straighten": True}),
        ("resize", {"shape": (100_000, 100_000, 100)}),
        ("crop_or_pad", {"shape": (100_000, 100_000, 100)}),
        ("match_grid", {}),
    ],
)
def test_a_result_larger_than_memory_is_refused_before_it_is_made(step, options, kind):
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 20, degrees=True).as_matrix()
    volume = Volume(np.arange(512, dtype=np.uint8).reshape(8, 8, 8), turn, kind)
    if step == "match_grid":
        options = {"reference": Volume(np.broadcast_to(np.uint8(0), (10_000, 10_000, 1_000)), np.eye(4))}
    tracemalloc.start()
    with pytest.raises(GeometryError, match="GB"):
        STEPS[step](volume, **options)
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


ORDERS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "j fastest": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "slices in the middle": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1)).transpose(0, 2, 1),
    "flipped": lambda a: np.ascontiguousarray(np.flip(a, (0, 2)))[::-1, :, ::-1],
    "every second of more": lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    "window": lambda a: np.pad(a, 3)[3:-3, 3:-3, 3:-3],
    "big endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read only": lambda a: np.broadcast_to(a[None], (2, *a.shape))[1],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
def test_memory_order_changes_no_bit(order, dtype):
    array = (noise((37, 19, 21)) % 250).astype(dtype)
    laid = ORDERS[order](array)
    np.testing.assert_array_equal(laid, array)
    np.testing.assert_array_equal(slices_slowest(laid), array)
    for kind in ("intensity", "label") if dtype is np.uint8 else ("intensity",):
        one, other = (Volume(a, np.diag([0.7, 0.7, 1.5, 1]), kind) for a in (array, laid))
        for step in (
            lambda v: resample(v, spacing_mm=(1.1, 0.6, 3)), lambda v: resize(v, shape=(20, 30, 11)),
        ):  # fmt: skip
            np.testing.assert_array_equal(step(one).array, step(other).array)


@pytest.mark.slow
def test_memory_order_costs_little():
    """Seconds of processor, so that a busy machine does not decide; a copy by NumPy took twice the resampling."""
    array = np.random.default_rng(0).random((512, 512, 120), np.float32)

    def seconds(laid):
        volume, times = Volume(laid, np.diag([0.7, 0.7, 1.5, 1])), []
        for _ in range(5):
            start = time.process_time()
            resample(volume, spacing_mm=(1.1, 1.1, 3))
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(np.ascontiguousarray(array)) < 2 * seconds(np.asfortranarray(array))
