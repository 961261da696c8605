"""Several volumes in one series: each is a row, and each row opens its own voxels."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from pydicom.uid import generate_uid

from scan2gene.imaging.index import index, read_volume

SLICES = 5
POSITIONS = [(10.0, 20.0, 3.0 * k) for k in range(SLICES)]


def volumes(write_series, count: int, mark, numbering=None) -> tuple:
    """A series of `count` volumes on one grid; `mark(v, data)` sets what tells volume v apart."""
    where = [POSITIONS[n % SLICES] for n in range(count * SLICES)]

    def change(n, data):
        mark(n // SLICES, data)
        if numbering:
            data.InstanceNumber = numbering(n // SLICES, n % SLICES)
        else:
            del data.InstanceNumber

    folder = write_series(n=count * SLICES, positions=where, change=change)
    pixels = np.random.default_rng(0).integers(0, 4000, (count * SLICES, 6, 4))  # as the fixture draws them
    expected = {pixels[v * SLICES : (v + 1) * SLICES].transpose(2, 1, 0).tobytes() for v in range(count)}
    return folder, expected


def opened(table) -> set[bytes]:
    return {np.ascontiguousarray(read_volume(p).array.astype(np.int64)).tobytes() for p in table["path"]}


MARKS = {
    "echo": lambda v, d: setattr(d, "EchoTime", [10, 90, 30][v]),
    "magnitude and phase": lambda v, d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "MPR"[v], "ND"]),
    "time point": lambda v, d: setattr(d, "TemporalPositionIdentifier", v + 1),
    "b-value": lambda v, d: setattr(d, "DiffusionBValue", 400.0 * v),
    "direction": lambda v, d: setattr(d, "DiffusionGradientOrientation", [float(v == n) for n in range(3)]),
    "acquisition": lambda v, d: setattr(d, "AcquisitionNumber", v),
    "time": lambda v, d: setattr(d, "AcquisitionTime", f"1200{v}0.5"),
    "trigger": lambda v, d: setattr(d, "TriggerTime", 100 * v),
}


@pytest.mark.parametrize("what", MARKS)
def test_each_mark_tells_volumes_apart_without_any_numbering(write_series, what):
    folder, expected = volumes(write_series, 3, MARKS[what])
    table = index(folder)
    assert table["status"].tolist() == ["ok"] * 3
    assert [s.rpartition("/")[2] for s in table["series_id"]] == ["0", "1", "2"]
    assert set(table["shape"]) == {"4x6x5"}
    assert table["told_apart_by"].nunique() == 3
    assert opened(table) == expected


@pytest.mark.parametrize("order", ["volume by volume", "slice by slice"])
def test_numbering_alone_tells_volumes_apart(write_series, order):
    numbering = (lambda v, k: v * SLICES + k) if order == "volume by volume" else (lambda v, k: k * 3 + v)
    folder, expected = volumes(write_series, 3, lambda v, d: None, numbering)
    table = index(folder)
    assert table["status"].tolist() == ["ok"] * 3
    assert opened(table) == expected


def test_file_names_do_not_matter(write_series, tmp_path):
    folder, _ = volumes(write_series, 3, MARKS["echo"], lambda v, k: v * SLICES + k)
    names = sorted(folder.iterdir())
    random.Random(1).shuffle(names)
    (tmp_path / "renamed").mkdir()
    for n, path in enumerate(names):
        shutil.copy(path, tmp_path / "renamed" / f"IM{n}")
    first, second = index(folder), index(tmp_path / "renamed")
    columns = ["series_id", "told_apart_by", "EchoTime", "shape"]
    assert first[columns].equals(second[columns])
    for a, b in zip(first["path"], second["path"], strict=True):
        np.testing.assert_array_equal(read_volume(a).array, read_volume(b).array)


def test_a_time_that_differs_from_slice_to_slice_divides_nothing(write_series):
    def stamp(k, data):
        data.AcquisitionTime = f"12000{k}"

    (row,) = index(write_series(change=stamp)).to_dict("records")
    assert (row["status"], row["shape"], row["told_apart_by"]) == ("ok", "4x6x5", "")


def test_one_b0_and_many_directions(write_series):
    def mark(v, data):
        data.DiffusionBValue = 0.0 if v == 0 else 800.0
        if v:
            data.DiffusionGradientOrientation = [np.cos(v), np.sin(v), 0.0]

    folder, expected = volumes(write_series, 7, mark)
    table = index(folder)
    assert table["status"].tolist() == ["ok"] * 7
    assert table["told_apart_by"].str.contains("DiffusionBValue=800").sum() == 6
    assert opened(table) == expected


def test_two_marks_at_once(write_series):
    def mark(v, data):
        data.EchoTime, data.TemporalPositionIdentifier = (10, 90)[v % 2], v // 2

    folder, expected = volumes(write_series, 4, mark)
    table = index(folder)
    assert sorted(table["EchoTime"]) == ["10.0", "10.0", "90.0", "90.0"]
    assert opened(table) == expected


def test_a_slice_missing_from_one_phase_rejects_that_phase_only(write_series):
    folder, _ = volumes(write_series, 3, MARKS["time point"], lambda v, k: v * SLICES + k)
    (folder / "007.dcm").unlink()  # slice 2 of the second time point
    table = index(folder)
    assert table["status"].tolist() == ["ok", "rejected", "ok"]
    assert "a slice is missing" in table["reason"][1]


def test_repeats_that_nothing_tells_apart_are_rejected(write_series):
    folder, _ = volumes(write_series, 2, lambda v, d: None)
    (row,) = index(folder).to_dict("records")
    assert "several slices at one position" in row["reason"]


def test_a_localiser_of_three_planes_gives_a_row_per_plane(write_series):
    planes = [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1)]
    normals = [np.cross(p[:3], p[3:]) for p in planes]
    positions = [(4.0 * k * normals[p]).tolist() for p in range(3) for k in range(SLICES)]

    def change(n, data):
        data.ImageOrientationPatient = list(planes[n // SLICES])

    table = index(write_series(n=3 * SLICES, positions=positions, change=change))
    assert table["status"].tolist() == ["ok"] * 3
    assert sorted(table["plane"]) == ["axial", "coronal", "sagittal"]
    assert {read_volume(p).orientation for p in table["path"]} == set(table["orientation"])


def test_two_matrix_sizes_in_one_series_are_two_rows(write_series):
    positions = [(0, 0, 3.0 * (k % SLICES)) for k in range(2 * SLICES)]

    def change(n, data):
        if n >= SLICES:
            data.Rows, data.Columns, data.PixelSpacing = 3, 8, [3.0, 0.4]

    table = index(write_series(n=2 * SLICES, positions=positions, change=change))
    assert table["status"].tolist() == ["ok", "ok"]
    assert set(table["shape"]) == {"4x6x5", "8x3x5"}


def test_a_screenshot_in_the_series_does_not_spoil_the_volume(write_series):
    def change(k, data):
        if k == SLICES:
            del data.ImagePositionPatient
            data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"

    folder = write_series(n=SLICES + 1, positions=[*POSITIONS, (0, 0, 0)], change=change)
    table = index(folder)
    assert sorted(table["status"]) == ["ok", "rejected"]
    assert read_volume(folder).shape == (4, 6, 5)


def test_copies_in_another_folder_count_once(write_series):
    folder = write_series()
    before = read_volume(folder).array
    shutil.copytree(folder, folder / "backup")
    (row,) = index(folder).to_dict("records")
    assert (row["status"], row["n_files"], row["n_copies"]) == ("ok", 5, 5)
    np.testing.assert_array_equal(read_volume(row["path"]).array, before)


def test_images_of_one_identifier_at_different_places_are_all_kept(write_series):
    uid = generate_uid()  # some anonymisers write one identifier everywhere
    (row,) = index(write_series(change=lambda k, d: setattr(d, "SOPInstanceUID", uid))).to_dict("records")
    assert (row["status"], row["shape"]) == ("ok", "4x6x5")


def test_a_slice_beside_the_line_is_refused(write_series):
    positions = [(1.5 if k == 2 else 0, 0, 3.0 * k) for k in range(SLICES)]
    (row,) = index(write_series(positions=positions)).to_dict("records")
    assert "beside the line" in row["reason"]


def test_a_structured_report_is_no_image(write_series):
    def change(k, data):
        for keyword in ("Rows", "Columns", "PixelData", "ImagePositionPatient", "PixelSpacing"):
            delattr(data, keyword)
        data.Modality = "SR"

    (row,) = index(write_series(n=1, change=change)).to_dict("records")
    assert row["reason"] == "not an image (modality SR)"


@pytest.mark.parametrize("late", [2, 5, 8])
def test_a_clock_coarser_than_the_volumes_does_not_mix_them(write_series, late):
    count = 3  # the time changes in the middle of a volume

    def numbered(n, data):
        data.AcquisitionTime = f"1200{(n + late) // 7:02d}"

    where = [POSITIONS[n % SLICES] for n in range(count * SLICES)]
    folder = write_series(n=count * SLICES, positions=where, change=numbered)
    pixels = np.random.default_rng(0).integers(0, 4000, (count * SLICES, 6, 4))
    table = index(folder)
    assert table["status"].tolist() == ["ok"] * count
    assert opened(table) == {pixels[v * SLICES : (v + 1) * SLICES].transpose(2, 1, 0).tobytes() for v in range(count)}


def test_numbers_without_an_order_tell_nothing_apart(write_series):
    numbers = random.Random(3).sample(range(1, 3 * SLICES + 1), 3 * SLICES)
    folder, _ = volumes(write_series, 3, lambda v, d: None, lambda v, k: numbers[v * SLICES + k])
    (row,) = index(folder).to_dict("records")
    assert "neither volume by volume nor slice by slice" in row["reason"]


def test_repeated_b0_volumes_between_the_directions(write_series):
    def mark(v, data):
        data.DiffusionBValue = 0.0 if v % 4 == 0 else 800.0
        if v % 4:
            data.DiffusionGradientOrientation = [np.cos(v), np.sin(v), 0.0]

    folder, expected = volumes(write_series, 9, mark, lambda v, k: v * SLICES + k)
    table = index(folder)
    assert table["status"].tolist() == ["ok"] * 9
    assert table["told_apart_by"].str.contains("BValue=0.0").tolist() == [True, *[False] * 3] * 2 + [True]
    assert opened(table) == expected


@pytest.mark.parametrize("z", [6.0, 7.0, 15.0])  # at a slice, between two, and where the next slice would lie
def test_a_projection_is_no_slice_of_its_volume(write_series, z):
    def change(n, data):
        if n == SLICES:
            data.ImageType = ["DERIVED", "SECONDARY", "PROJECTION IMAGE"]

    folder = write_series(n=SLICES + 1, positions=[*POSITIONS, (10, 20, z)], change=change)
    table = index(folder)
    assert table["status"].tolist() == ["ok", "rejected"]
    assert table["shape"][0] == "4x6x5"
    assert "projected from a volume" in table["reason"][1]


def test_one_identifier_in_every_image_hides_no_volume(write_series):
    folder, _ = volumes(write_series, 2, lambda v, d: setattr(d, "SOPInstanceUID", "1.2.3"), lambda v, k: k)
    (row,) = index(folder).to_dict("records")
    assert "several slices at one position" in row["reason"]  # not a volume with five copies
    assert row["n_copies"] == 0


def test_text_where_a_number_belongs_is_not_shown(write_series):
    folder, expected = volumes(write_series, 2, lambda v, d: d.add_new(0x00181060, "LO", f"Secret^Name{v}"))
    table = index(folder)
    assert opened(table) == expected
    assert not table.astype(str).apply(lambda column: column.str.contains("Secret")).any(axis=None)
