"""NRRD, MetaImage, MGH and Analyze, judged by headers written by hand; files that are not what their name says."""

from __future__ import annotations

import bz2
import gzip
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import fingerprint, index, read_volume
from scan2gene.imaging.nifti import write_nifti

SHAPE = (12, 10, 8)
ARRAY = np.arange(np.prod(SHAPE), dtype="<i2").reshape(SHAPE) % 251
RAS = np.array([[0, 1.5, 0, -20], [-1.25, 0, 0, 30], [0, 0, 3, 7], [0, 0, 0, 1.0]])
LPS = np.diag([-1, -1, 1, 1]) @ RAS
VOXELS = ARRAY.tobytes(order="F")


def _text(values):
    return " ".join(f"{v:g}" for v in values)


def _nrrd(path, space="right-anterior-superior", affine=RAS, extra="", data=None, detached=""):
    columns = " ".join(f"({','.join(f'{v:g}' for v in affine[:3, k])})" for k in range(3))
    head = (
        f"NRRD0005\ntype: short\ndimension: 3\nspace: {space}\nsizes: {_text(SHAPE)}\nspace directions: {columns}\n"
        f"kinds: domain domain domain\nendian: little\nencoding: {'gzip' if data else 'raw'}\n{extra}"
        f"space origin: ({','.join(f'{v:g}' for v in affine[:3, 3])})\n{detached}\n"
    )
    path.write_bytes(head.encode() + (b"" if detached else data or VOXELS))
    return path


def _meta(path, local=True, extra=""):
    spacing = np.linalg.norm(LPS[:3, :3], axis=0)
    matrix = (LPS[:3, :3] / spacing).T.ravel()  # one row of the file per voxel axis
    path.write_bytes(
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n{extra}"
        f"TransformMatrix = {_text(matrix)}\nOffset = {_text(LPS[:3, 3])}\nElementSpacing = {_text(spacing)}\n"
        f"DimSize = {_text(SHAPE)}\nElementType = MET_SHORT\n"
        f"ElementDataFile = {'LOCAL' if local else path.stem + '.raw'}\n".encode()
        + (VOXELS if local else b"")
    )
    if not local:
        path.with_suffix(".raw").write_bytes(VOXELS)
    return path


def _mgh(path):
    spacing = np.linalg.norm(RAS[:3, :3], axis=0)
    centre = RAS @ [*(np.array(SHAPE) / 2), 1]
    head = np.array([1, *SHAPE, 1, 4, 0], ">i4").tobytes() + np.array([1], ">i2").tobytes()
    head += np.array([*spacing, *(RAS[:3, :3] / spacing).T.ravel(), *centre[:3]], ">f4").tobytes()
    raw = head.ljust(284, b"\0") + ARRAY.astype(">i2").tobytes(order="F")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".mgz" else raw)
    return path


def _pair(path):
    nib.save(nib.Nifti1Pair(ARRAY, RAS), path)
    return path


WRITERS = {
    "a.nrrd": _nrrd,
    "LPS.nrrd": lambda p: _nrrd(p, "left-posterior-superior", LPS),
    "short.NRRD": lambda p: _nrrd(p, "RAS"),
    "packed.seg.nrrd": lambda p: _nrrd(p, data=gzip.compress(VOXELS)),
    "um.nrrd": lambda p: _nrrd(p, affine=np.diag([1000, 1000, 1000, 1]) @ RAS, extra='space units: "um" "um" "um"\n'),
    "apart.nhdr": lambda p: (_nrrd(p, detached="data file: v.bin\n"), p.with_name("v.bin").write_bytes(VOXELS))[0],
    "a.mha": _meta,
    "A.MHA": _meta,
    "a.mhd": lambda p: _meta(p, local=False),
    "a.mgz": _mgh,
    "a.mgh": _mgh,
    "a.img": _pair,
}


@pytest.mark.parametrize("name", WRITERS)
def test_other_formats_are_read_at_their_place_in_the_patient(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, RAS, atol=1e-4)
    assert read_volume(path, "label").array.dtype == np.uint8
    (row,) = index(tmp_path).to_dict("records")
    assert (row["status"], row["path"], row["note"]) == ("ok", str(path), "")
    assert (row["shape"], row["orientation"]) == ("12x10x8", "PRS")
    assert [row[f"spacing_{a}_mm"] for a in "ijk"] == [1.25, 1.5, 3]


def test_the_same_volume_is_alike_in_every_format(shared_data, tmp_path):
    path = sorted((shared_data / "msd_hippocampus").rglob("labels*/*.nii*"))[0]
    expected = read_volume(path, "label")
    image = sitk.ReadImage(str(path))
    for name in ("a.nrrd", "a.mha", "a.seg.nrrd", "a.mhd"):
        sitk.WriteImage(image, str(tmp_path / name), useCompression=True)
        volume = read_volume(tmp_path / name, "label")
        np.testing.assert_array_equal(volume.array, expected.array)
        np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["old.img", "no_axes.nrrd", "no_axes.mha"])
def test_a_format_or_header_without_orientation_is_flagged(tmp_path, name):
    path = tmp_path / name
    if name.endswith(".img"):
        nib.save(nib.AnalyzeImage(ARRAY, np.diag([-1.25, 1.5, 3, 1])), path)
    elif name.endswith(".nrrd"):
        head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: {_text(SHAPE)}\nspacings: 1.25 1.5 3\nendian: little\n"
        path.write_bytes(f"{head}encoding: raw\n\n".encode() + VOXELS)
    else:
        head = "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        head += f"ElementSpacing = 1.25 1.5 3\nDimSize = {_text(SHAPE)}\nElementType = MET_SHORT\n"
        path.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + VOXELS)
    (row,) = index(tmp_path).to_dict("records")
    assert row["status"] == "ok"
    assert "orientation" in row["note"]
    assert [row[f"spacing_{a}_mm"] for a in "ijk"] == [1.25, 1.5, 3]


def test_a_changed_data_file_is_noticed(tmp_path):
    path = _meta(tmp_path / "a.mhd", local=False)
    seen = fingerprint([path])
    (tmp_path / "a.raw").write_bytes(VOXELS + b"0")
    assert fingerprint([path]) != seen


@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mgz", "a.mgh", "a.img", "a.mhd"])
def test_a_file_cut_short_is_rejected(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    held = path.with_suffix(".raw") if name == "a.mhd" else path
    held.write_bytes(held.read_bytes()[:-200])
    rows = index(tmp_path)
    assert rows["status"].tolist() == ["rejected"]
    with pytest.raises(ScanError, match="damaged"):
        read_volume(path)


def test_several_values_per_voxel_are_no_mask(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((8, 10, 12, 2), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    with pytest.raises(ScanError, match="values per voxel"):
        read_volume(tmp_path / "a.seg.nrrd", "label")


@pytest.mark.parametrize(
    "name", ["a.mnc", "b.PAR", "c.mif", "d.nii.bz2", "e.npy", "f.tar.gz", "g.7z", "h.img", "i.hdr", "j.nii.zst"]
)
def test_what_is_not_read_leaves_a_row_with_what_to_do(tmp_path, name):
    (tmp_path / name).write_bytes(bz2.compress(VOXELS))
    (row,) = index(tmp_path).to_dict("records")
    assert row["status"] == "rejected"
    assert any(word in row["reason"] for word in ("convert", "unpack", "beside"))


def test_formats_that_need_files_on_disk_are_named_in_an_archive(tmp_path):
    _nrrd(tmp_path / "a.nrrd")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "a.nrrd", "a.nrrd")
    (tmp_path / "a.nrrd").unlink()
    assert "unpack" in index(tmp_path).loc[0, "reason"]


# -- names and contents -----------------------------------------------------------------


@pytest.fixture
def raw(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY, RAS), tmp_path / "x.nii")
    data = (tmp_path / "x.nii").read_bytes()
    (tmp_path / "x.nii").unlink()
    return data


@pytest.mark.parametrize(
    "name", ["plain.nii.gz", "PLAIN.NII.GZ", "zipped.nii", "Mixed.Nii", "Mixed.Nii.Gz", "M.nii.GZ"]
)
@pytest.mark.parametrize("archived", [False, True])
def test_a_name_that_is_wrong_about_gzip_or_odd_in_case_is_read(tmp_path, raw, name, archived):
    packed = gzip.compress(raw) if name.startswith(("zipped", "M.")) or name == "Mixed.Nii.Gz" else raw
    (tmp_path / name).write_bytes(packed)
    if archived:
        with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
            archive.write(tmp_path / name, name)
        (tmp_path / name).unlink()
    (row,) = index(tmp_path).to_dict("records")
    assert row["status"] == "ok", row["reason"]
    volume = read_volume(row["path"])
    np.testing.assert_array_equal(volume.array, ARRAY)
    np.testing.assert_allclose(volume.affine, RAS)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mgz", "a.dcm"])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", "git lfs pull"),
        (b"/annex/objects/MD5E-s123--0123456789abcdef.nii.gz\n", "git annex get"),
        (b"../../.git/annex/objects/aa/bb/SHA256E-s1--0.nii.gz/SHA256E-s1--0.nii.gz", "git annex get"),
        (b"", "empty"),
        (b"\0" * 5000, "zeros"),
    ],
)
def test_a_file_that_was_never_fetched_says_so(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    (row,) = index(tmp_path).to_dict("records")
    assert row["status"] == "rejected"
    assert word in row["reason"]


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"PK\x03\x04" + b"0" * 400, ".zip"),
        (bz2.compress(b"0" * 400), "bzip2"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "web page"),
        (b"\0" * 128 + b"DICM" + b"0" * 400, "DICOM"),
        (b"NRRD0004\ntype: short\n", ".nrrd"),
    ],
)
def test_a_file_of_another_kind_says_which(tmp_path, content, word):
    (tmp_path / "a.nii.gz").write_bytes(content)
    assert word in index(tmp_path).loc[0, "reason"]
    with pytest.raises(ScanError, match=word):
        read_volume(tmp_path / "a.nii.gz")


def test_a_link_whose_content_was_not_fetched_says_so(tmp_path):
    (tmp_path / "a.nii.gz").symlink_to("../.git/annex/objects/aa/bb/K/K")
    assert "git annex get" in index(tmp_path).loc[0, "reason"]


def test_what_is_written_is_read_whatever_the_case(tmp_path):
    volume = read_volume(_nrrd(tmp_path / "a.nrrd"))
    write_nifti(volume, tmp_path / "b.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "b.nii.gz").affine, volume.affine, atol=1e-5)


def test_a_dicom_segmentation_says_that_it_is_not_read(shared_data):
    rows = index(shared_data / "breast_dce_dicom")
    (reason,) = rows.loc[rows["Modality"] == "SEG", "reason"]
    assert "segmentation" in reason
    assert "NIfTI" in reason
