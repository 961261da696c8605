"""Geometry against nibabel and SimpleITK, and against the place of one marked voxel."""

from __future__ import annotations

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy.spatial.transform import Rotation

from scan2gene.core.axes import axis_codes, plane
from scan2gene.core.errors import GeometryError
from scan2gene.core.geometry import cropped, from_sitk, reoriented, to_sitk
from scan2gene.core.volume import Volume

CODES = ["".join(c) for order in permutations(("LR", "PA", "IS")) for c in product(*order)]


@st.composite
def affines(draw, most_degrees=25.0):
    """A signed permutation, tilted by at most `most_degrees`, with any spacing and origin."""
    code = draw(st.sampled_from(CODES))
    base = inv_ornt_aff(axcodes2ornt(code), (1, 1, 1))[:3, :3].T
    axis = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)))
    angle = np.radians(draw(st.floats(0, most_degrees)))
    turn = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn @ base * draw(st.tuples(*[st.floats(0.3, 8)] * 3))
    affine[:3, 3] = draw(st.tuples(*[st.floats(-300, 300)] * 3))
    return affine


@st.composite
def marked_volumes(draw):
    """A volume that is zero but for one voxel, and where that voxel lies in mm."""
    shape = draw(st.tuples(*[st.integers(1, 6)] * 3))
    index = tuple(draw(st.integers(0, n - 1)) for n in shape)
    array = np.zeros(shape, np.float32)
    array[index] = 5
    volume = Volume(array, draw(affines()))
    return volume, volume.affine @ [*index, 1]


def place_of_mark(volume: Volume) -> np.ndarray:
    (index,) = np.argwhere(volume.array == 5)
    return volume.affine @ [*index, 1]


def test_there_are_48_axis_codes():
    assert len(set(CODES)) == 48


@given(affines())
def test_axis_codes_are_nibabels(affine):
    assert axis_codes(affine) == "".join(nib.aff2axcodes(affine))


@given(affines(most_degrees=180))
def test_axis_codes_name_each_world_axis_once_however_oblique(affine):
    assert axis_codes(affine) in CODES


@pytest.mark.parametrize("target", CODES)
@pytest.mark.parametrize("source", ["RAS", "LPS", "PIR", "SLA"])
def test_reorient_gives_nibabels_voxels_and_affine(source, target):
    array = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)
    tilt = np.eye(4)
    tilt[:3, :3] = Rotation.from_euler("xyz", [10, -7, 4], degrees=True).as_matrix() * [0.7, 1.1, 3.0]
    tilt[:3, 3] = -80, 12, 33
    start = nib.Nifti1Image(array, tilt)
    start = start.as_reoriented(ornt_transform(io_orientation(tilt), axcodes2ornt(source)))
    volume = Volume(np.asarray(start.dataobj), start.affine)
    assert volume.orientation == source

    change = ornt_transform(io_orientation(start.affine), axcodes2ornt(target))
    result = reoriented(volume, target)
    np.testing.assert_array_equal(result.array, apply_orientation(volume.array, change))
    np.testing.assert_allclose(result.affine, start.affine @ inv_ornt_aff(change, volume.shape), atol=1e-12)
    assert result.orientation == target


@given(affines())
def test_ras_is_nibabels_closest_canonical(affine):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    expected = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    result = reoriented(Volume(array, affine), "RAS")
    np.testing.assert_array_equal(result.array, np.asarray(expected.dataobj))
    np.testing.assert_allclose(result.affine, expected.affine, atol=1e-3)  # nibabel keeps float32


@given(affines(), st.sampled_from(CODES))
def test_reorienting_there_and_back_changes_nothing(affine, axes):
    volume = Volume(np.arange(24).reshape(2, 3, 4), affine)
    back = reoriented(reoriented(volume, axes), volume.orientation)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)


@given(marked_volumes(), st.sampled_from(CODES))
def test_reorient_leaves_a_marked_voxel_where_it_is_in_the_patient(marked, axes):
    volume, place = marked
    np.testing.assert_allclose(place_of_mark(reoriented(volume, axes)), place, atol=1e-9)


def test_reorient_takes_colour_along():
    array = np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    result = reoriented(Volume(array, np.eye(4)), "LAS")
    np.testing.assert_array_equal(result.array, array[::-1])


@pytest.mark.parametrize("axes", ["LA", "LAL", "LRS", "LASX", "las", ""])
def test_axes_that_name_no_orientation_are_refused(axes):
    with pytest.raises(GeometryError, match="one letter of each pair"):
        reoriented(Volume(np.ones((2, 2, 2)), np.eye(4)), axes)


@given(marked_volumes(), st.data())
def test_crop_and_pad_leave_a_marked_voxel_where_it_is_in_the_patient(marked, data):
    volume, place = marked
    index = np.argwhere(volume.array == 5)[0]
    start = np.array([data.draw(st.integers(-4, int(i))) for i in index])
    stop = np.array([data.draw(st.integers(int(i) + 1, int(i) + 9)) for i in index])
    result = cropped(volume, start, stop)
    assert result.shape == tuple(stop - start)
    np.testing.assert_allclose(place_of_mark(result), place, atol=1e-9)


def test_crop_is_numpys_slice_and_pad_takes_the_fill():
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    volume = Volume(array, np.eye(4))
    inside = cropped(volume, np.array([1, 0, 2]), np.array([3, 4, 4]))
    np.testing.assert_array_equal(inside.array, array[1:3, :, 2:4])
    wide = cropped(volume, np.array([-1, -2, 0]), np.array([5, 4, 6]), fill=-7)
    np.testing.assert_array_equal(wide.array, np.pad(array, [(1, 2), (2, 0), (0, 1)], constant_values=-7))
    assert wide.array.dtype == np.int16


def test_a_crop_beside_the_volume_holds_only_the_fill():
    result = cropped(Volume(np.ones((2, 2, 2)), np.eye(4)), np.array([5, 0, 0]), np.array([7, 2, 2]), fill=3)
    assert (result.array == 3).all()


def test_an_empty_crop_is_refused():
    with pytest.raises(GeometryError, match="empty"):
        cropped(Volume(np.ones((2, 2, 2)), np.eye(4)), np.array([1, 0, 0]), np.array([1, 2, 2]))


@given(affines())
def test_plane_is_the_world_axis_that_slices_step_along(affine):
    names = {"L": "sagittal", "R": "sagittal", "P": "coronal", "A": "coronal", "I": "axial", "S": "axial"}
    assert plane(affine) == names[nib.aff2axcodes(affine)[2]]


@pytest.mark.parametrize(
    ("degrees", "name"), [(29.9, "axial"), (30.1, "oblique"), (45.0, "oblique"), (60.1, "coronal")]
)
def test_a_tilt_beyond_30_degrees_is_oblique(degrees, name):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("x", degrees, degrees=True).as_matrix()
    assert plane(affine) == name


@given(affines(most_degrees=180), st.tuples(*[st.integers(0, 5)] * 3))
def test_simpleitk_sees_each_voxel_at_the_same_place(affine, index):
    volume = Volume(np.arange(210, dtype=np.float32).reshape(5, 6, 7), affine)
    image = to_sitk(volume)
    right, anterior, superior, _ = affine @ [*index, 1]
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint(index), (-right, -anterior, superior), atol=1e-6
    )  # ITK's own LPS
    if all(i < n for i, n in zip(index, volume.shape, strict=True)):
        assert image[index] == volume.array[index]
    back = from_sitk(image, "intensity")
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.affine, affine, atol=1e-9)


@pytest.mark.parametrize("code", ["RAS", "LPS", "PIR", "AIL"])
def test_nibabel_reads_what_simpleitk_writes_at_the_same_place(tmp_path, code):
    affine = np.eye(4)
    affine[:3, :3] = inv_ornt_aff(axcodes2ornt(code), (1, 1, 1))[:3, :3].T * [0.7, 1.2, 3.5]
    affine[:3, 3] = 10, -20, 30
    volume = Volume(np.arange(24, dtype=np.float32).reshape(2, 3, 4), affine)
    sitk.WriteImage(to_sitk(volume), str(tmp_path / "a.nii"))
    image = nib.load(tmp_path / "a.nii")
    np.testing.assert_array_equal(np.asarray(image.dataobj), volume.array)
    np.testing.assert_allclose(image.affine, affine, atol=1e-5)
