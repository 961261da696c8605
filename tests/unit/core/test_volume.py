"""A volume that exists is a volume with a usable place in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from scan2gene.core.errors import GeometryError
from scan2gene.core.volume import Volume

ONES = np.ones((2, 3, 4), np.float32)


@pytest.mark.parametrize("shape", [(2, 3), (2, 0, 4), (2, 2, 2, 2, 2)])
def test_an_array_that_is_no_volume_is_refused(shape):
    with pytest.raises(GeometryError, match="no empty axis"):
        Volume(np.ones(shape), np.eye(4))


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), "4 x 4"),
        (np.diag([1, 1, np.nan, 1]), "finite"),
        (np.diag([1, 1, 0, 1]), "singular"),
        (np.ones((4, 4)), "singular"),
    ],
)
def test_an_affine_that_places_nothing_is_refused(affine, message):
    with pytest.raises(GeometryError, match=message):
        Volume(ONES, affine)


def test_an_unknown_kind_is_refused():
    with pytest.raises(GeometryError, match="'mask'"):
        Volume(ONES, np.eye(4), "mask")


def test_the_affine_cannot_be_changed_behind_the_volumes_back():
    given = np.eye(4)
    volume = Volume(ONES, given)
    given[0, 3] = 99
    assert volume.affine[0, 3] == 0
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 3] = 99


def test_spacing_is_the_length_of_the_affines_columns():
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [0.5, 2.0, 6.385]
    np.testing.assert_allclose(Volume(ONES, affine).spacing_mm, (0.5, 2.0, 6.385))


def test_shape_leaves_colour_channels_out():
    assert Volume(np.zeros((2, 3, 4, 3)), np.eye(4)).shape == (2, 3, 4)


def test_other_voxels_keep_place_and_kind():
    volume = Volume(ONES.astype(np.uint8), np.diag([2, 2, 3, 1]), "label")
    other = volume.with_array(ONES * 7)
    assert other.kind == "label"
    assert (other.affine == volume.affine).all()
    assert volume.array.max() == 1
