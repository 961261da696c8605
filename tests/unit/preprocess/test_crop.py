"""Cropping and padding: nothing is stretched, nothing moves in the patient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.crop_or_pad import crop_or_pad
from scan2gene.preprocess.crop_to_mask import crop_to_mask
from scan2gene.preprocess.reorient import reorient
from scan2gene.preprocess.resample import resample

AFFINE = np.array([[-1.5, 0.1, 0, 80], [0.1, 1.2, 0.3, -90], [0, -0.2, 3.2, 11], [0, 0, 0, 1]])


def numbered(shape) -> Volume:
    """Every voxel holds another number, so that each can be found again."""
    return Volume(np.arange(1, 1 + np.prod(shape)).reshape(shape), AFFINE)


def box(shape, start, stop, value=1) -> Volume:
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = value
    return Volume(array, AFFINE, "label")


@given(st.tuples(*[st.integers(1, 7)] * 3), st.tuples(*[st.integers(1, 9)] * 3))
def test_every_kept_voxel_stays_where_it_is_in_the_patient(old, new):
    before = numbered(old)
    after = crop_or_pad(before, shape=new)
    assert after.shape == new
    kept = 0
    for index in np.ndindex(new):
        place = np.linalg.inv(AFFINE) @ after.affine @ [*index, 1]
        i, j, k = np.rint(place[:3]).astype(int)
        np.testing.assert_allclose(place[:3], (i, j, k), atol=1e-9)
        inside = all(0 <= v < n for v, n in zip((i, j, k), old, strict=True))
        kept += inside
        assert after.array[index] == (before.array[i, j, k] if inside else 1)  # 1: the volume's minimum
    assert kept == np.minimum(old, new).prod()


@pytest.mark.parametrize(("n", "m"), [(10, 4), (4, 10), (9, 5), (5, 9)])
def test_crop_and_pad_are_centred(n, m):
    result = crop_or_pad(Volume(np.ones((n, 3, 3)), np.eye(4)), shape=(m, 3, 3))
    assert result.affine[0, 3] == (n - m) / 2


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 0), (4, 4, 2.5), (4, 4, -1)])
def test_a_shape_that_is_not_three_positive_integers_is_refused(shape):
    with pytest.raises(GeometryError, match="three positive integers"):
        crop_or_pad(numbered((3, 3, 3)), shape=shape)
    with pytest.raises(GeometryError, match="three positive integers"):
        crop_to_mask(numbered((3, 3, 3)), mask=box((3, 3, 3), (1, 1, 1), (2, 2, 2)), shape=shape)


def test_a_mask_is_padded_with_background_even_where_it_has_none():
    full = Volume(np.full((3, 3, 3), 2, np.uint8), AFFINE, "label")
    for result in (crop_or_pad(full, shape=(5, 3, 3)), crop_to_mask(full, mask=full, shape=(5, 3, 3))):
        assert (result.array[[0, -1]] == 0).all()
        assert (result.array[1:4] == 2).all()


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_the_box_is_the_masks_extent_and_its_margin(margin):
    volume = numbered((12, 13, 14))
    result = crop_to_mask(volume, mask=box(volume.shape, (3, 4, 5), (6, 9, 7)), margin_voxels=margin)
    low, high = np.array([3, 4, 5]) - margin, np.array([6, 9, 7]) + margin
    np.testing.assert_array_equal(result.array, volume.array[tuple(map(slice, low, high))])
    np.testing.assert_allclose(result.affine @ [0, 0, 0, 1], AFFINE @ [*low, 1])


def test_the_margin_ends_at_the_field():
    volume = numbered((6, 6, 6))
    result = crop_to_mask(volume, mask=box(volume.shape, (0, 2, 4), (2, 4, 6)), margin_voxels=3)
    np.testing.assert_array_equal(result.array, volume.array[:5, :, 1:])


def test_a_fixed_shape_is_centred_on_the_mask_and_padded_with_the_minimum():
    volume = numbered((10, 10, 10))
    result = crop_to_mask(volume, mask=box(volume.shape, (0, 4, 4), (2, 6, 6)), shape=(6, 4, 2))
    np.testing.assert_array_equal(result.array[2:], volume.array[:4, 3:7, 4:6])
    assert (result.array[:2] == 1).all()
    np.testing.assert_allclose(result.affine @ [2, 0, 0, 1], AFFINE @ [0, 3, 4, 1])


def test_every_class_of_the_mask_counts_and_scattered_parts_too():
    labels = box((10, 10, 10), (2, 2, 2), (3, 3, 3), 4)
    labels.array[7, 5, 8] = 1
    result = crop_to_mask(numbered((10, 10, 10)), mask=labels, margin_voxels=0)
    assert result.shape == (6, 4, 7)


@pytest.mark.parametrize("axes", ["RAS", "SPL"])
def test_a_mask_on_another_grid_cuts_the_same_place(axes):
    volume = Volume(np.random.default_rng(0).random((20, 22, 24)).astype(np.float32), np.diag([1, 1, 2, 1]))
    labels = Volume(box(volume.shape, (5, 6, 7), (11, 12, 13)).array, volume.affine, "label")
    elsewhere = reorient(resample(labels, spacing_mm=(0.5, 0.5, 1.0)), axes=axes)
    expected = crop_to_mask(volume, mask=labels)
    result = crop_to_mask(volume, mask=elsewhere)
    np.testing.assert_array_equal(result.array, expected.array)
    np.testing.assert_allclose(result.affine, expected.affine)


def test_an_empty_mask_and_one_outside_the_field_are_refused():
    shape = (6, 6, 6)
    far = AFFINE.copy()
    far[0, 3] += 500
    for mask in (np.zeros(shape, np.uint8), AFFINE), (np.ones(shape, np.uint8), far):
        with pytest.raises(ScanError, match="mask is empty"):
            crop_to_mask(numbered(shape), mask=Volume(*mask, "label"))
