"""NIfTI in and out, nibabel being the judge."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import index, read_volume
from scan2gene.imaging.nifti import read_nifti, write_nifti

AFFINE = np.array([[-0.7, 0.1, 0, 80], [0.1, 0.9, 0.2, -90], [0, -0.2, 3.2, 11], [0, 0, 0, 1]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_what_is_written_nibabel_reads(tmp_path, dtype, name):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    write_nifti(Volume(array, AFFINE), tmp_path / name)
    image = nib.load(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(image.dataobj), array)
    assert image.get_data_dtype() == dtype
    np.testing.assert_allclose(image.affine, AFFINE, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.array([[[-1.5, 0, 40.25]]]), AFFINE)
    image.set_data_dtype(np.int16)  # nibabel then stores a slope
    nib.save(image, tmp_path / "a.nii")
    volume = read_nifti(tmp_path / "a.nii")
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.array.ravel(), [-1.5, 0, 40.25], atol=1e-3)


def test_a_real_mask_keeps_its_classes(shared_data):
    path = sorted((shared_data / "msd_hippocampus").rglob("labels*/*.nii*"))[0]
    expected = np.asarray(nib.load(path).dataobj)
    volume = read_nifti(path, "label")
    assert (volume.kind, volume.array.dtype) == ("label", np.uint8)
    assert set(np.unique(volume.array)) == {0, 1, 2}
    np.testing.assert_array_equal(volume.array, expected)


@pytest.mark.parametrize("value", [256, 1035, -1])
def test_a_mask_value_that_eight_bits_cannot_hold_is_refused(tmp_path, value):
    nib.save(nib.Nifti1Image(np.full((2, 3, 4), value, np.int16), AFFINE), tmp_path / "a.nii")
    with pytest.raises(ScanError, match="0 to 255"):
        read_nifti(tmp_path / "a.nii", "label")
    assert read_nifti(tmp_path / "a.nii").array.max() == value


@pytest.mark.parametrize("kind", ["intensity", "label"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_not_finite_are_refused(tmp_path, bad, kind):
    array = np.ones((2, 3, 4), np.float32)
    array[1, 1, 1] = bad
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii")
    with pytest.raises(ScanError, match="not finite"):
        read_nifti(tmp_path / "a.nii", kind)


def test_colour_becomes_a_last_axis(shared_data):
    path = shared_data / "dicom_dicom2nifti/generic/rgb/001_ground_truth.nii.gz"
    stored = np.asarray(nib.load(path).dataobj)
    volume = read_nifti(path)
    assert volume.shape == stored.shape
    for channel, name in enumerate("RGB"):
        np.testing.assert_array_equal(volume.array[..., channel], stored[name])


def test_a_trailing_axis_of_one_is_dropped(tmp_path):
    nib.save(nib.Nifti1Image(np.ones((2, 3, 4, 1), np.float32), AFFINE), tmp_path / "one.nii")
    assert read_nifti(tmp_path / "one.nii").shape == (2, 3, 4)


@pytest.mark.parametrize("shape", [(2, 3), (4, 4, 4, 2, 3), (0, 3, 4)])
def test_what_is_neither_3d_nor_4d_is_refused(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), AFFINE), tmp_path / "a.nii")
    with pytest.raises(ScanError, match="3D or 4D"):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_every_volume_of_a_4d_file_is_a_row_of_its_own(tmp_path, name):
    array = np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / name)
    table = index(tmp_path)
    assert table["path"].tolist() == [f"{tmp_path / name}#{n}" for n in range(3)]
    for n, path in enumerate(table["path"]):
        np.testing.assert_array_equal(read_volume(path).array, array[..., n])
    with pytest.raises(ScanError, match="4D file of 3 volumes"):
        read_volume(tmp_path / name)
    with pytest.raises(ScanError, match="no volume 3"):
        read_volume(f"{tmp_path / name}#3")


def test_a_real_4d_series_gives_both_time_points(shared_data):
    table = index(shared_data / "dicom_orientations" / "Ref")
    assert set(table["status"]) == {"ok"}
    assert len(table) == 10
    assert set(table["shape"]) == {"64x64x35"}


@pytest.mark.parametrize("shape", [(5, 5, 1), (2, 5, 5)])
def test_a_picture_is_no_volume(tmp_path, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), AFFINE), tmp_path / "a.nii")
    (row,) = index(tmp_path).to_dict("records")
    assert row["status"] == "rejected"
    assert "at least 3 voxels along each axis" in row["reason"]


def test_an_affine_that_places_nothing_is_refused(tmp_path):
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.float32), np.eye(4))
    image.header["srow_x"] = 0
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), tmp_path / "a.nii")
    with pytest.raises(GeometryError, match="singular"):
        read_nifti(tmp_path / "a.nii")


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"this is text" * 40])
def test_a_file_that_is_no_nifti_is_refused(tmp_path, content):
    (tmp_path / "a.nii").write_bytes(content)
    with pytest.raises(ScanError, match="not a readable NIfTI"):
        read_nifti(tmp_path / "a.nii")


def test_a_mask_of_truth_values_is_written_as_zeros_and_ones(tmp_path):
    inside = np.arange(24).reshape(2, 3, 4) % 3 == 0
    write_nifti(Volume(inside, AFFINE, "label"), tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "m.nii.gz", "label").array, inside.astype(np.uint8))


def test_a_volume_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(Exception):  # noqa: B017, nibabel has its own kinds
        write_nifti(Volume(np.array([[["text"]]], dtype=object), np.eye(4)), tmp_path / "a.nii")
    assert list(tmp_path.iterdir()) == []
