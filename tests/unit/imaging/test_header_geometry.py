"""Units, places and values that NIfTI headers state oddly; SimpleITK judges units, the format's definition the rest."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import index, read_volume

AFFINE = np.array([[-1.5, 0, 0, 80], [0, 2.0, 0, -90], [0, 0, 3.0, 11], [0, 0, 0, 1]])
SHAPE = (12, 10, 8)


def _image(affine=AFFINE, array=None, unit="mm", shape=SHAPE):
    array = np.random.default_rng(0).random(shape).astype(np.float32) if array is None else array
    image = nib.Nifti1Image(array, affine)
    image.header.set_xyzt_units(unit)
    return image


def _row(folder):
    (row,) = index(folder).to_dict("records")
    return row


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1), ("micron", 1000), ("meter", 0.001), ("unknown", 1)])
def test_the_unit_in_the_header_is_obeyed_as_simpleitk_does(tmp_path, unit, scale):
    affine = AFFINE.copy()
    affine[:3] *= scale
    path = tmp_path / "a.nii.gz"
    nib.save(_image(affine, unit=unit), path)
    judge = sitk.ReadImage(str(path))
    volume, row = read_volume(path), _row(path)
    np.testing.assert_allclose(volume.spacing_mm, judge.GetSpacing(), rtol=1e-5)
    np.testing.assert_allclose(volume.affine[:3, 3] * [-1, -1, 1], judge.GetOrigin(), rtol=1e-5)
    np.testing.assert_allclose(volume.affine, AFFINE, rtol=1e-5)
    assert row["status"] == "ok"
    np.testing.assert_allclose([row[f"spacing_{a}_mm"] for a in "ijk"], [1.5, 2, 3], rtol=1e-4)


@pytest.mark.parametrize("kind", ["intensity", "label"])
def test_a_unit_code_that_does_not_exist_is_taken_for_mm(tmp_path, kind):
    image = _image(array=np.ones(SHAPE, np.uint8))
    image.header["xyzt_units"] = 7
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii", kind).affine, AFFINE, rtol=1e-6)


@pytest.mark.parametrize(
    ("sides", "unit", "shape"),
    [
        ((30, 30, 60), "mm", (64, 64, 32)),  # a slip of a factor of 20
        ((15, 15, 30), "mm", (64, 64, 32)),  # centimetres
        ((1.5, 1.5, 3), "meter", (64, 64, 32)),
        ((1.5, 1.5, 3), "micron", (64, 64, 32)),
        ((1500, 1500, 3000), "mm", (64, 64, 32)),  # microns
        ((0.0015, 0.0015, 0.003), "mm", (64, 64, 32)),  # metres
        ((1, 1, 300), "mm", (64, 64, 8)),
        ((5, 5, 5), "mm", (4, 4, 600)),
        ((10, 10, 10), "mm", (100, 100, 4)),
        ((0.02, 0.02, 0.02), "mm", (12, 12, 12)),
    ],
)
def test_a_size_that_no_body_has_is_rejected_with_the_size(tmp_path, sides, unit, shape):
    nib.save(_image(np.diag([*sides, 1]), np.ones(shape, np.uint8), unit), tmp_path / "a.nii")
    row = _row(tmp_path)
    assert row["status"] == "rejected"
    assert "no scan of a body" in row["reason"]
    assert "header" in row["reason"]


@pytest.mark.parametrize(
    ("sides", "shape"),
    [
        ((0.02, 0.02, 0.02), (200, 200, 100)),  # microscopy of a tissue sample
        ((0.1, 0.1, 0.5), (128, 128, 20)),  # a mouse
        ((5, 5, 5), (100, 80, 380)),  # a whole body
        ((4, 4, 120), (128, 128, 3)),  # a localiser
        ((7.5, 7.5, 7.5), (32, 32, 24)),  # a map of coil sensitivities
    ],
)
def test_sizes_that_scans_have_are_kept(tmp_path, sides, shape):
    image = nib.Nifti1Image(np.broadcast_to(np.uint8(1), shape), np.diag([*sides, 1]))
    nib.save(image, tmp_path / "a.nii.gz")
    assert _row(tmp_path)["status"] == "ok"


def test_a_header_without_orientation_is_flagged(tmp_path):
    image = _image()
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    row = _row(tmp_path)
    assert row["status"] == "ok"
    assert "no orientation" in row["note"]
    assert "left and right" in row["note"]


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (1, 4)])
def test_a_header_with_an_orientation_has_no_note(tmp_path, codes):
    image = _image()
    image.set_qform(AFFINE, codes[0])
    image.set_sform(AFFINE, codes[1])
    nib.save(image, tmp_path / "a.nii")
    assert _row(tmp_path)["note"] == ""


@pytest.mark.parametrize("other", [np.diag([-1.0, 1, 1, 1]), np.diag([1.0, 1, 1, 1]) + np.eye(4, k=3) * 20])
def test_two_affines_that_disagree_are_flagged_and_sform_is_taken(tmp_path, other):
    image = _image()
    image.set_qform(other @ AFFINE, 1)
    image.set_sform(AFFINE, 1, update_affine=False)
    nib.save(image, tmp_path / "a.nii")
    assert "qform and sform" in _row(tmp_path)["note"]
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii").affine, AFFINE, rtol=1e-6)


def test_voxel_sizes_that_disagree_are_flagged(tmp_path):
    image = _image()
    image.set_sform(np.diag([1.0, 1, 1, 1]), 2, update_affine=False)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    assert "1.5 x 2 x 3" in _row(tmp_path)["note"]


def test_a_sheared_sform_is_flagged(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 0.5
    image = _image()
    image.set_sform(affine, 1)
    image.set_qform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    assert "right angles" in _row(tmp_path)["note"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_affine_that_is_not_finite_is_rejected(tmp_path, bad):
    image = _image()
    image.header["srow_x"] = [bad, 0, 0, 0]
    image.header["sform_code"] = 1
    image.header["qform_code"] = 0
    with (tmp_path / "a.nii").open("wb") as stream:
        stream.write(image.header.binaryblock + b"\0" * 4 + image.get_fdata().astype("<f4").tobytes(order="F"))
    row = _row(tmp_path)
    assert row["status"] == "rejected"
    assert "finite" in row["reason"]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("shape", [SHAPE, (*SHAPE, 3)])
def test_complex_values_are_refused(tmp_path, dtype, shape):
    nib.save(nib.Nifti1Image(np.ones(shape, dtype) * (1 + 2j), AFFINE), tmp_path / "a.nii.gz")
    assert "complex" in set(index(tmp_path)["reason"]).pop()
    with pytest.raises(ScanError, match="complex"):
        read_volume(f"{tmp_path / 'a.nii.gz'}#0" if len(shape) == 4 else tmp_path / "a.nii.gz")


@pytest.mark.parametrize("value", [1e200, -1e39])
def test_values_beyond_float32_are_refused(tmp_path, value):
    array = np.zeros(SHAPE)
    array[1, 1, 1] = value
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "a.nii")
    assert "32-bit" in _row(tmp_path)["reason"]
    with pytest.raises(ScanError, match="32-bit"):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float64])
def test_every_real_type_is_read_alike(tmp_path, dtype):
    array = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 100
    nib.save(nib.Nifti1Image(array.astype(dtype), AFFINE, dtype=dtype), tmp_path / "a.nii")
    assert _row(tmp_path)["status"] == "ok"
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").array, array)


# -- masks ------------------------------------------------------------------------------


def _mask(tmp_path, array, slope=None):
    image = nib.Nifti1Image(array, AFFINE)
    if slope:
        image.header.set_data_dtype(np.uint8)
        image = nib.Nifti1Image((array / slope).round().astype(np.uint8), AFFINE)
        image.header.set_slope_inter(slope, 0)
    nib.save(image, tmp_path / "m.nii.gz")
    if slope:  # nibabel resets the slope when it writes; put it into the bytes
        import gzip

        raw = bytearray(gzip.decompress((tmp_path / "m.nii.gz").read_bytes()))
        raw[112:116] = np.float32(slope).tobytes()
        (tmp_path / "m.nii.gz").write_bytes(gzip.compress(bytes(raw)))
    return tmp_path / "m.nii.gz"


def _box(value, dtype=np.float32):
    array = np.zeros(SHAPE, dtype)
    array[3:6, 3:6, 3:6] = value
    return array


@pytest.mark.parametrize("value", [1 / 255, 0.45, 0.5, 0.999 - 0.01, 1.5, 254.5])
def test_a_mask_that_is_not_whole_is_refused_or_cut_at_a_stated_threshold(tmp_path, value):
    path = _mask(tmp_path, _box(value))
    with pytest.raises(ScanError, match="whole"):
        read_volume(path, "label")
    marked = read_volume(path, "label", threshold=value / 2).array
    assert marked.dtype == np.uint8
    np.testing.assert_array_equal(marked, _box(1, np.uint8))


def test_soft_edges_are_cut_where_the_threshold_says(tmp_path):
    array = _box(1.0)
    array[2], array[6] = array[3] * 0.3, array[3] * 0.7
    path = _mask(tmp_path, array)
    with pytest.raises(ScanError, match="threshold"):
        read_volume(path, "label")
    np.testing.assert_array_equal(read_volume(path, "label", threshold=0.5).array, array > 0.5)


def test_a_slope_may_make_a_mask_whole_or_not(tmp_path):
    assert read_volume(_mask(tmp_path, _box(1.0), slope=1 / 255), "label").array.sum() == 27
    with pytest.raises(ScanError, match="whole"):
        read_volume(_mask(tmp_path, _box(200 / 255), slope=1 / 255), "label")


@pytest.mark.parametrize("value", [0, 1])
def test_a_volume_of_one_value_is_flagged_in_the_index(tmp_path, value):
    nib.save(nib.Nifti1Image(np.full(SHAPE, value, np.uint8), AFFINE), tmp_path / "m.nii.gz")
    assert f"every voxel is {value}" in _row(tmp_path)["note"]


def test_a_colour_image_is_no_mask(tmp_path):
    array = np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "m.nii")
    with pytest.raises(ScanError, match="colour"):
        read_volume(tmp_path / "m.nii", "label")
