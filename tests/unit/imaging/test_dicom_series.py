"""What is a regular stack of slices and what is refused, and why."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import index, read_volume


def reason(folder) -> str:
    """Why the only series of a folder is rejected; reading it must say the same."""
    (row,) = index(folder).to_dict("records")
    assert row["status"] == "rejected"
    with pytest.raises(ScanError) as caught:
        read_volume(row["path"])
    assert str(caught.value) == row["reason"]
    return row["reason"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sliceincrement", "a slice is missing: a gap of 10.00 mm among slices 5.00 mm apart"),
        ("sliceorientation", "different"),
        ("slicecount", "only 2 slice"),
        ("gantrytilting", "tilted gantry"),
    ],
)
def test_a_series_that_dicom2nifti_refuses_is_refused(shared_data, name, words):
    assert words in reason(shared_data / "dicom_dicom2nifti" / "failing" / name / "001")


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("dicom_dicom2nifti/ge/anatomical/001_single_slice", "only 1 slice"),
        ("dicom_pydicom/pydicom/dicomdirtests/98892003/MR700", "7 slices of different orientation"),
        ("dicom_pydicom/emri_small.dcm", "does not say where each frame lies"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_reason(shared_data, folder, words):
    assert words in reason(shared_data / folder)


def test_a_regular_series_is_accepted_with_slices_in_spatial_order(write_series):
    shuffled = [(0, 0, z) for z in (6.0, 0.0, 12.0, 3.0, 9.0)]
    folder = write_series(positions=shuffled)
    volume = read_volume(folder)
    pixels = [pydicom.dcmread(folder / f"{k:03d}.dcm").pixel_array for k in (1, 3, 0, 4, 2)]
    np.testing.assert_array_equal(volume.array, np.stack(pixels, axis=-1).transpose(1, 0, 2))
    assert volume.array.dtype == np.float32
    np.testing.assert_allclose(volume.spacing_mm, (0.75, 1.5, 3.0))


@pytest.mark.parametrize(
    ("z", "words"),
    [
        ([0, 3, 6, 12, 15], "a slice is missing"),
        ([0, 3, 6, 6, 9], "several slices at one position"),
        ([0, 3, 6.4, 9, 12], "unequal slice spacing"),
        ([0, 0, 0, 0, 0], "several slices at one position"),
    ],
)
def test_an_irregular_stack_is_refused(write_series, z, words):
    assert words in reason(write_series(positions=[(0, 0, v) for v in z]))


def test_rounding_in_the_positions_is_forgiven(write_series):
    z = [0, 3.02, 5.99, 9.01, 12]
    (row,) = index(write_series(positions=[(0, 0, v) for v in z])).to_dict("records")
    assert row["status"] == "ok"
    assert row["spacing_k_mm"] == 3.0


@pytest.mark.parametrize("spacing", [10 / 3, 0.35, 1.27, 5.04])
@pytest.mark.parametrize("normal", [(0, 0, 1), (0.6, 0, 0.8), (2 / 7, 3 / 7, 6 / 7)])
def test_positions_rounded_to_a_tenth_of_a_millimetre_are_a_volume(write_series, spacing, normal):
    z = np.array(normal)
    x = np.cross([0, 1, 0], z) / np.linalg.norm(np.cross([0, 1, 0], z))
    positions = np.round(np.array([-12.34, 7.77, 3.21]) + np.outer(np.arange(15) * spacing, z), 1)
    folder = write_series(n=15, positions=positions.tolist(), orientation=[*x, *np.cross(z, x)])
    (row,) = index(folder).to_dict("records")
    assert row["status"] == "ok", row["reason"]
    assert row["spacing_k_mm"] == pytest.approx(spacing, abs=0.1 / 14)
    affine = read_volume(folder).affine
    last = (affine @ [0, 0, 14, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(last, positions[-1], atol=0.11)


@pytest.mark.parametrize("off", [0.25, -0.4])
def test_a_slice_off_its_place_by_more_than_rounding_is_refused(write_series, off):
    z = 10 / 3 * np.arange(12)
    z[5] += off
    assert "spacing" in reason(write_series(n=12, positions=[(0, 0, round(v, 1)) for v in z]))


def test_sheared_slices_are_refused(write_series):
    assert "tilted gantry" in reason(write_series(positions=[(0, 0.4 * k, 3 * k) for k in range(5)]))


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("Rows", 4, "1 slice of different size or pixel spacing"),
        ("PixelSpacing", [1.5, 1.5], "1 slice of different size or pixel spacing"),
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, -1], "share a grid"),
        ("ImagePositionPatient", None, "no ImagePositionPatient"),
        ("PixelSpacing", None, "no PixelSpacing"),
        ("NumberOfFrames", 2, "cut short"),
    ],
)
def test_one_odd_slice_is_set_aside_and_leaves_a_gap(write_series, keyword, value, words):
    def spoil(k, data):
        if k == 2:
            if value is None:
                delattr(data, keyword)
            else:
                setattr(data, keyword, value)

    table = index(write_series(change=spoil))
    assert set(table["status"]) == {"rejected"}
    reasons = sorted(table["reason"])
    assert len(reasons) == 2
    assert any(words in why for why in reasons)
    assert any("a slice is missing: a gap of 6.00 mm" in why for why in reasons)


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0.3, 0.9539, 0), (1.1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0.8, 0)])
def test_directions_that_are_not_perpendicular_unit_vectors_are_refused(write_series, orientation):
    assert "perpendicular unit vectors" in reason(write_series(orientation=orientation))


def test_another_modality_is_rejected_by_the_index(write_series):
    (row,) = index(write_series(Modality="CT")).to_dict("records")
    assert (row["status"], row["reason"]) == ("rejected", "modality CT is not MR")


@pytest.mark.parametrize(
    ("keyword", "tag"), [("PixelSpacing", 0x00280030), ("ImagePositionPatient", 0x00200032),
                         ("ImageOrientationPatient", 0x00200037)]
)  # fmt: skip
@pytest.mark.parametrize("text", ["0,75\\0,75", "0.75,0.75"])
def test_decimal_commas_are_named(write_series, keyword, tag, text):
    table = index(write_series(change=lambda k, data: data.add_new(tag, "LO", text)))
    assert set(table["status"]) == {"rejected"}
    assert table["reason"].str.contains(f"{keyword}.*comma").all()


def test_a_bad_neighbour_neither_stops_nor_leaks(write_series):
    folder = write_series()
    data = pydicom.dcmread(folder / "000.dcm")
    data.SeriesInstanceUID = generate_uid()
    data.add_new(0x00200032, "LO", "Secret^Name\\1\\2")
    data.save_as(folder / "bad.dcm")
    table = index(folder)
    assert sorted(table["status"]) == ["ok", "rejected"]
    assert not table["reason"].str.contains("Secret").any()
    assert read_volume(folder).shape == (4, 6, 5)


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_an_image_without_pixels_is_rejected(write_series, keyword):
    folder = write_series(change=lambda k, data: setattr(data, keyword, 0))
    assert "not an image" in reason(folder)


def test_slices_with_an_identifier_each_are_named_as_such(write_series):
    folder = write_series(change=lambda k, data: setattr(data, "SeriesInstanceUID", generate_uid()))
    table = index(folder)
    assert len(table) == 5
    assert set(table["status"]) == {"rejected"}
    assert table["reason"].str.contains("5 slices.*SeriesInstanceUID").all()


def test_single_slices_of_different_series_are_not_one(write_series):
    def change(k, data):
        data.SeriesInstanceUID, data.SeriesNumber = generate_uid(), k

    assert index(write_series(change=change))["reason"].eq("only 1 slice; a volume needs at least 3").all()
