"""The index: one row per scan, a reason for every reject, and a path that opens exactly that row."""

from __future__ import annotations

import gzip
import shutil
from itertools import pairwise

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from scan2gene.core.errors import ScanError
from scan2gene.core.tables import read_csv, write_csv
from scan2gene.imaging.index import SERIES_COLUMNS, fingerprint, index, read_volume


@pytest.fixture
def nifti(tmp_path):
    path = tmp_path / "P1" / "t1.nii.gz"
    path.parent.mkdir()
    array = np.random.default_rng(0).normal(size=(12, 13, 14)).astype(np.float32)
    nib.save(nib.Nifti1Image(array, np.diag([-1, 1, 2, 1])), path)
    return path


@pytest.mark.parametrize(
    "folder",
    ["dicom_dicom2nifti", "tcia_brain_tumor_progression_dicom", "dicom_transfer_syntaxes", "msd_hippocampus"],
)
def test_every_ok_row_opens_with_the_indexed_shape_and_spacing(shared_data, folder):
    table = index(shared_data / folder)
    good = table[table["status"] == "ok"]
    assert len(good) >= 4
    assert table["series_id"].is_unique
    assert (table["reason"] == "").eq(table["status"] == "ok").all()
    for row in good.itertuples():
        volume = read_volume(row.path)
        assert row.shape == "x".join(map(str, volume.shape))
        np.testing.assert_allclose((row.spacing_i_mm, row.spacing_j_mm, row.spacing_k_mm), volume.spacing_mm, atol=1e-4)
        assert row.orientation == volume.orientation


def test_a_dicomdir_is_passed_over_and_its_series_are_found(shared_data):
    table = index(shared_data / "dicom_pydicom" / "pydicom" / "dicomdirtests")
    assert not table["path"].str.endswith("DICOMDIR").any()
    assert table["n_files"].sum() == 17
    assert table["path"].str.contains("/MR700#").sum() == 1


def test_a_text_file_named_dcm_is_rejected_and_the_series_beside_it_is_read(write_series):
    folder = write_series()
    (folder / "notes.dcm").write_text("please check\n")
    table = index(folder)
    assert table["status"].value_counts().to_dict() == {"ok": 1, "rejected": 1}
    bad = table[table["status"] == "rejected"].iloc[0]
    assert bad["path"].endswith("notes.dcm")
    assert "not a readable DICOM file" in bad["reason"]
    assert read_volume(table[table["status"] == "ok"].iloc[0]["path"]).shape == (4, 6, 5)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_nifti_cut_in_half_is_rejected(nifti, suffix):
    whole = nifti.read_bytes() if suffix == ".nii.gz" else gzip.decompress(nifti.read_bytes())
    half = nifti.with_name("half" + suffix)
    half.write_bytes(whole[: len(whole) // 2])
    table = index(nifti.parent).set_index("path")
    assert table.loc[str(nifti), "status"] == "ok"
    assert table.loc[str(half), "status"] == "rejected"
    assert "cut short" in table.loc[str(half), "reason"]
    with pytest.raises(ScanError, match="cut short"):
        read_volume(half)


def test_no_name_reaches_the_table(write_series):
    folder = write_series(PatientBirthDate="19570101", InstitutionName="Secret Hospital")
    assert set(index(folder).columns) == set(SERIES_COLUMNS)
    text = index(folder).to_csv()
    assert "Secret" not in text
    assert "19570101" not in text


def test_a_foreign_errors_text_does_not_reach_the_reason(write_series):
    def spoil(k, data):
        data.add_new(0x00280030, "LO", "Secret^Name\\1")  # PixelSpacing that is no number

    table = index(write_series(change=spoil))
    assert set(table["status"]) == {"rejected"}
    assert not table.astype(str).apply(lambda column: column.str.contains("Secret")).any(axis=None)


def test_two_series_in_one_folder_are_two_rows_that_open_apart(write_series, tmp_path):
    write_series(3)
    (tmp_path / "scan").rename(tmp_path / "first")
    write_series(4)
    for path in (tmp_path / "first").iterdir():
        shutil.copy(path, tmp_path / "scan" / f"a{path.name}")
    table = index(tmp_path / "scan")
    assert sorted(table["shape"]) == ["4x6x3", "4x6x4"]
    assert {"x".join(map(str, read_volume(p).shape)) for p in table["path"]} == set(table["shape"])
    with pytest.raises(ScanError, match="holds 2 series"):
        read_volume(tmp_path / "scan")


def test_a_series_spread_over_folders_is_one_row(write_series):
    folder = write_series()
    (folder / "a").mkdir()
    for name in ("000.dcm", "003.dcm"):
        (folder / name).rename(folder / "a" / name)
    (row,) = index(folder).to_dict("records")
    assert (row["shape"], row["status"]) == ("4x6x5", "ok")
    assert read_volume(row["path"]).shape == (4, 6, 5)


def test_folders_that_overlap_do_not_double_a_series(write_series, nifti):
    folder = write_series()
    table = index([folder.parent, folder, nifti])
    assert table["status"].tolist() == ["ok", "ok"]
    assert sorted(table["n_files"]) == [1, 5]


def test_hidden_files_and_other_formats_are_passed_over(write_series):
    folder = write_series()
    for name in (".DS_Store", "report.pdf", ".hidden.dcm"):
        (folder / name).write_text("x")
    (folder / ".cache").mkdir()
    (folder / "000.dcm").rename(folder / "no_suffix")  # found by its DICM mark
    shutil.copy(folder / "001.dcm", folder / ".cache" / "001.dcm")
    table = index(folder)
    assert len(table) == 1
    assert table.loc[0, "n_files"] == 5


@pytest.mark.parametrize("name", ["exam #1", "a#b/c"])
def test_a_hash_sign_in_a_folders_name_is_no_obstacle(write_series, nifti, tmp_path, name):
    target = tmp_path / name
    target.parent.mkdir(exist_ok=True)
    write_series().rename(target)
    shutil.copy(nifti, target / "t1 #2.nii.gz")
    table = index(target)
    assert table["status"].tolist() == ["ok", "ok"]
    shapes = {"x".join(map(str, read_volume(p).shape)) for p in table["path"]}
    assert shapes == {"4x6x5", "12x13x14"}
    assert read_volume(target).shape == (4, 6, 5)


def test_the_table_survives_being_written(write_series, nifti, tmp_path):
    (write_series() / "notes.dcm").write_text("x")
    table = index(tmp_path)
    write_csv(tmp_path / "series.csv", table)
    again = read_csv(tmp_path / "series.csv", SERIES_COLUMNS).fillna("")
    pd.testing.assert_frame_equal(again, table.astype(str), check_dtype=False)


def test_an_empty_folder_gives_an_empty_table(tmp_path):
    table = index(tmp_path)
    assert len(table) == 0
    assert tuple(table.columns) == SERIES_COLUMNS


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ScanError, match="there is no folder or file"):
        index([tmp_path / "nowhere"])
    with pytest.raises(ScanError, match="there is no scan"):
        read_volume(tmp_path / "nowhere")
    with pytest.raises(ScanError, match="holds 0 series"):
        read_volume(tmp_path)


def test_header_values_are_kept_as_text_for_filters(write_series):
    (row,) = index(
        write_series(SeriesDescription="T1 FS POST", MagneticFieldStrength="1.5", ContrastBolusAgent=None)
    ).to_dict("records")
    assert row["SeriesDescription"] == "T1 FS POST"
    assert row["MagneticFieldStrength"] == "1.5"
    assert row["ContrastBolusAgent"] == ""
    assert row["patient_id"] == "P1"
    assert row["ImageOrientationPatient"].count("\\") == 5


def test_the_fingerprint_sees_a_changed_an_added_and_a_removed_file(write_series):
    folder = write_series()
    seen = [fingerprint([folder])]
    (folder / "000.dcm").write_bytes((folder / "000.dcm").read_bytes() + b"\0")
    seen.append(fingerprint([folder]))
    shutil.copy(folder / "001.dcm", folder / "new.dcm")
    seen.append(fingerprint([folder]))
    (folder / "002.dcm").unlink()
    seen.append(fingerprint([folder]))
    assert all(a != b for a, b in pairwise(seen))
    assert fingerprint([folder]) == seen[-1]


def test_a_dicom_mask_is_whole_numbers(write_series):
    volume = read_volume(write_series(), "label", threshold=1000)
    assert volume.kind == "label"
    assert volume.array.dtype == np.uint8
    assert set(np.unique(volume.array)) == {0, 1}
    with pytest.raises(ScanError, match="whole"):
        read_volume(write_series(RescaleSlope="0.001"), "label")


def test_folders_of_one_name_are_not_one_series(write_series, tmp_path):
    def nameless(k, data):
        del data.SeriesInstanceUID

    folder = write_series(change=nameless)
    for patient in ("P1", "P2"):
        shutil.copytree(folder, tmp_path / "all" / patient / "T1")
    table = index(tmp_path / "all")
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["series_id"].is_unique
    assert {read_volume(path).shape for path in table["path"]} == {(4, 6, 5)}


@pytest.mark.parametrize("keyword", ["PatientID", "StudyInstanceUID"])
def test_a_series_of_two_patients_is_rejected(write_series, tmp_path, keyword):
    def marked(k, data):
        setattr(data, keyword, f"1.{k // 5}")
        data.AcquisitionTime = f"12000{k // 5}"  # by which the volumes would come apart

    folder = write_series(n=10, positions=[(0, 0, 3.0 * (k % 5)) for k in range(10)], change=marked)
    (row,) = index(folder).to_dict("records")
    assert "several patients or studies" in row["reason"]
    with pytest.raises(ScanError, match="several patients or studies"):
        read_volume(row["path"])


def test_a_series_is_named_by_the_folder_of_its_files_not_of_its_copies(write_series, tmp_path):
    folder = write_series()
    shutil.copytree(folder, tmp_path / "far" / "away")
    (row,) = index([folder, tmp_path / "far"]).to_dict("records")
    assert row["path"].startswith(f"{folder}#")
    assert (row["n_files"], row["n_copies"]) == (5, 5)


def test_relative_and_absolute_paths_to_one_folder_are_one(write_series, nifti, tmp_path, monkeypatch):
    write_series()
    monkeypatch.chdir(tmp_path)
    table = index([tmp_path, "scan", "P1"])
    assert table["status"].tolist() == ["ok", "ok"]
    assert sorted(table["n_copies"]) == [0, 0]
    (tmp_path / "other").mkdir()
    (tmp_path / "scan" / "000.dcm").rename(tmp_path / "other" / "000.dcm")
    (row,) = index(["scan", tmp_path / "other"]).to_dict("records")
    assert read_volume(row["path"]).shape == (4, 6, 5)


def test_birth_dates_can_be_compared_and_are_not_told(write_series, tmp_path):
    dates = ("19570102", "19570102", "19811231", "", "1957")
    for n, date in enumerate(dates):
        write_series(PatientBirthDate=date, PatientID=f"P{n}").rename(tmp_path / f"scan{n}")
    table = index(tmp_path, tmp_path / "unfinished").set_index("patient_id")["birth_date_number"]
    assert table["P0"] == table["P1"] != table["P2"]
    assert {*table} == {1, 2, ""}  # a year alone is no birth date
