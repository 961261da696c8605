"""DICOM to volume against SimpleITK, dicom2nifti's published conversions and marked voxels.

A silent flip swaps left and right breast, so nothing here is tested against ourselves.
"""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from scan2gene.core.volume import Volume
from scan2gene.imaging.index import index, read_volume

GROUND_TRUTH = [
    "siemens/anatomical/001",
    "ge/anatomical/001",
    "philips/anatomical/001",
    "hitachi/anatomical/001",
    "generic/anatomical/001",
    "generic/anatomical/002_non_isotropic",
    "generic/compressed_j2k/001",
    "generic/compressed_rle/001",
    "generic/rgb/001",
    "philips_enhanced/anatomical/001",
    "siemens_multiframe/anatomical/001",
    "hyperfine/anatomical/001",
]
MOSAICS = {
    "ax/axasc35": "ax_asc_35sl_6",
    "ax/axdesc35": "ax_desc_35sl_7",
    "cor/corasc35": "cor_asc_35sl_16",
    "sag/sagasc35": "sag_asc_35sl_22",
    "sag/sagdesc35": "sag_desc_35sl_23",
}
STUDY3 = ["11-T1post-18670", "26401-T1prereg-52906", "36468-FLAIRreg-58706", "37830-T2reg-78532"]
# rows and columns of the image in LPS, as scanners lay them
LAYOUTS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial, feet first": (-1, 0, 0, 0, 1, 0),
    "prone breast": (-1, 0, 0, 0, -1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "sagittal, mirrored": (0, -1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
}


def simpleitk_volume(folder) -> Volume:
    """The folder's only series by SimpleITK's own reader, in RAS+."""
    (uid,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) @ np.diag(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    array = sitk.GetArrayFromImage(image)
    return Volume(array.transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine)


@pytest.mark.parametrize("name", STUDY3)
def test_an_oblique_glioblastoma_exam_is_read_as_simpleitk_reads_it(shared_data, name):
    folder = shared_data / "tcia_brain_tumor_progression_dicom" / "Study3" / name
    (row,) = index(folder).to_dict("records")
    volume, expected = read_volume(row["path"]), simpleitk_volume(folder)
    assert row["status"] == "ok"
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-3)  # headers carry six digits
    # slices are 5 mm thick and 6.5 mm apart; 6.385 mm, the step in z alone, would forget the tilt
    np.testing.assert_allclose(volume.spacing_mm, (0.6875, 0.6875, 6.5), atol=1e-3)
    assert row["shape"] == "280x320x22"
    assert row["plane"] == "axial"


@pytest.mark.parametrize("name", GROUND_TRUTH)
def test_a_vendors_series_is_read_as_dicom2nifti_converted_it(shared_data, name):
    folder = shared_data / "dicom_dicom2nifti" / name
    reference = nib.as_closest_canonical(nib.load(folder.with_name(folder.name + "_ground_truth.nii.gz")))
    expected = np.asarray(reference.dataobj)
    if expected.ndim == 4:
        expected = expected[..., 0]  # one volume, written as a series of one
    if expected.dtype.names:
        expected = np.stack([expected[c] for c in "RGB"], axis=-1)
    volume = read_volume(folder)
    ours = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
    np.testing.assert_allclose(ours.get_fdata(), expected, rtol=1e-6)  # ours is float32
    np.testing.assert_allclose(ours.affine, reference.affine, atol=1e-3)


def canonical(array, affine):
    """Voxels and affine with axes turned to RAS, so that storage order does not matter."""
    image = nib.as_closest_canonical(nib.Nifti1Image(array, affine))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("name", MOSAICS)
def test_both_time_points_of_a_mosaic_equal_dcm2niix(shared_data, name):
    folder = shared_data / "dicom_orientations"
    reference = nib.load(folder / "Ref" / f"{MOSAICS[name]}.nii")
    table = index(folder / "In" / "Orientation" / name)
    assert table["status"].tolist() == ["ok", "ok"]
    for number, row in enumerate(table.itertuples()):
        assert row.series_id.endswith(f"/{number}")
        assert f"AcquisitionNumber={number + 1}" in row.told_apart_by
        volume = read_volume(row.path)
        ours, our_affine = canonical(volume.array, volume.affine)
        expected, affine = canonical(np.asarray(reference.dataobj[..., number], np.float32), reference.affine)
        np.testing.assert_array_equal(ours, expected)
        np.testing.assert_allclose(our_affine, affine, atol=1e-4)


@pytest.mark.parametrize("number", range(1, 10))
def test_a_mosaic_in_every_transfer_syntax_equals_dcm2niix(shared_data, number):
    folder = shared_data / "dicom_transfer_syntaxes"
    volume, reference = read_volume(folder / "In" / f"{number}.dcm"), nib.load(folder / "Ref" / f"{number}.nii")
    ours, our_affine = canonical(volume.array, volume.affine)
    expected, affine = canonical(np.asarray(reference.dataobj, np.float32), reference.affine)
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_allclose(our_affine, affine, atol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_layout_keeps_left_and_right_and_agrees_with_simpleitk(write_series, layout, reverse):
    orientation = np.array(LAYOUTS[layout], float)
    row, column = orientation[:3], orientation[3:]
    origin, normal = np.array([-40.0, 25.0, 7.0]), np.cross(row, column)
    positions = [(origin + 3.5 * k * normal).tolist() for k in range(5)]
    if reverse:  # file names and InstanceNumber run against the slice order
        positions.reverse()

    def mark(k, data):
        pixels = np.zeros((6, 4), "<u2")
        if positions[k] == (origin + 3.5 * 3 * normal).tolist():
            pixels[5, 1] = 900  # row 5, column 1 of slice 3
        data.PixelData = pixels.tobytes()

    folder = write_series(positions=positions, orientation=orientation.tolist(), change=mark)
    volume = read_volume(folder)
    (found,) = np.argwhere(volume.array == 900)
    lps = origin + 1 * 0.75 * row + 5 * 1.5 * column + 3 * 3.5 * normal  # PS3.3 C.7.6.2.1.1
    np.testing.assert_allclose((volume.affine @ [*found, 1])[:3], lps * [-1, -1, 1], atol=1e-4)

    expected = simpleitk_volume(folder)
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_a_doubly_oblique_series_agrees_with_simpleitk(write_series):
    turn = Rotation.from_euler("xyz", [21, -13, 8], degrees=True).as_matrix().round(9)
    positions = [[round(float(v), 6) for v in turn[:, 2] * 4.2 * k] for k in range(5)]
    folder = write_series(positions=positions, orientation=[*turn[:, 0], *turn[:, 1]])
    volume, expected = read_volume(folder), simpleitk_volume(folder)
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, expected.affine, atol=1e-4)


def test_phantom_mask_and_series_lie_on_one_grid(tmp_path):
    from scan2gene.phantom.exams import write_exam
    from scan2gene.phantom.patients import draw_patients
    from scan2gene.phantom.scanners import SCANNERS

    patients = draw_patients(24, 1.0, seed=3)
    by_scanner = {p.scanner: p for p in patients}
    assert set(by_scanner) == set(SCANNERS)
    for name, patient in by_scanner.items():
        write_exam(tmp_path / name, patient, ("t1c",))
        series = simpleitk_volume(tmp_path / name / "s01")
        mask = nib.load(tmp_path / name / "mask.nii.gz")
        volume = read_volume(tmp_path / name / "s01")
        np.testing.assert_array_equal(volume.array, series.array)
        np.testing.assert_allclose(volume.affine, series.affine, atol=1e-3)
        # ours goes up along the normal, the mask along the acquisition; canonical forms must agree
        ours = nib.as_closest_canonical(nib.Nifti1Image(volume.array, volume.affine))
        theirs = nib.as_closest_canonical(mask)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-3)
        place = theirs.affine[:3, :3] @ np.argwhere(np.asarray(theirs.dataobj)).mean(axis=0) + theirs.affine[:3, 3]
        assert np.linalg.norm(place - patient.centre_mm) < max(volume.spacing_mm)
