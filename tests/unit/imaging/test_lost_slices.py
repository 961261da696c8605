"""Slices whose files cannot be read: a volume that may lack slices at its ends is set aside, with their number."""

from __future__ import annotations

import shutil

import pydicom
import pytest
from pydicom.uid import generate_uid

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import index, read_volume

SPOILED = {
    "pixels cut": lambda data: data[:-20],
    "two bytes cut": lambda data: data[:-2],
    "cut in the header": lambda data: data[: data.index(b"\x28\x00\x10\x00US")],
    "cut before its identifiers": lambda data: data[:300],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "no place": lambda data: data.replace(b"\x20\x00\x32\x00DS", b"\x20\x00\x33\x00DS"),
}


def spoil(folder, names, how):
    for name in names:
        path = folder / name
        path.write_bytes(SPOILED[how](path.read_bytes()))


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("slices", [(7,), (0, 1, 6, 7)])
def test_a_volume_that_lacks_slices_at_its_ends_is_set_aside(write_series, how, slices, suffix):
    # between what is read of a header and the pixels lies more, such as a window
    folder = write_series(n=8, PatientID="P7", WindowCenter="600", WindowWidth="1600", RescaleType="normalised")
    for path in folder.iterdir():
        path.rename(path.with_name(f"IM{path.stem}{suffix}"))
    spoil(folder, [f"IM{k:03d}{suffix}" for k in slices], how)
    table = index(folder)
    assert not (table["status"] == "ok").any()
    (row,) = table[table["n_unreadable"].replace("", 0) > 0].to_dict("records")
    assert row["n_unreadable"] == len(slices)
    assert row["reason"].startswith(str(len(slices)))
    assert set(table["patient_id"]) == {"P7"}  # the rejected files name their patient too
    for path in (row["path"], folder):
        with pytest.raises(ScanError):
            read_volume(path)


def test_every_second_slice_cut_is_no_volume_of_twice_the_spacing(write_series):
    folder = write_series(n=9)
    spoil(folder, [f"{k:03d}.dcm" for k in (1, 3, 5, 7)], "pixels cut")
    assert not (index(folder)["status"] == "ok").any()


def test_a_cut_file_counts_against_its_own_volume_only(write_series):
    def change(n, data):
        data.EchoTime = (10, 90)[n // 5]

    folder = write_series(n=10, positions=[(0, 0, 3.0 * (n % 5)) for n in range(10)], change=change)
    spoil(folder, ["009.dcm"], "pixels cut")
    table = index(folder)
    volumes = table[table["n_files"] > 1].set_index("EchoTime")
    assert volumes["status"].to_dict() == {"10.0": "ok", "90.0": "rejected"}


def test_an_intact_copy_stands_for_a_cut_file(write_series, tmp_path):
    folder = write_series()
    shutil.copytree(folder, tmp_path / "copy")
    spoil(folder, ["000.dcm", "004.dcm"], "pixels cut")
    (row,) = [r for r in index(tmp_path).to_dict("records") if r["status"] == "ok"]
    assert (row["shape"], row["n_unreadable"]) == ("4x6x5", 0)


def test_a_file_without_header_is_held_against_the_series_that_it_is_named_like(write_series, tmp_path):
    first = write_series()
    first.rename(tmp_path / "first")
    second = write_series()
    for path in sorted((tmp_path / "first").iterdir()):
        path.rename(second / f"a{path.name}")
    spoil(second, ["a004.dcm"], "empty")
    table = index(second)
    assert table[table["n_files"] > 1]["status"].tolist().count("ok") == 1
    (second / "a004.dcm").rename(second / "notes.dcm")  # named like no slice
    assert (index(second)["status"] == "ok").sum() == 2


def test_an_unfinished_download_is_a_lost_slice(write_series):
    folder = write_series()
    (folder / "004.dcm").rename(folder / "004.dcm.part")
    assert not (index(folder)["status"] == "ok").any()


def test_a_readable_file_of_another_series_is_no_lost_slice(write_series):
    folder = write_series()
    data = pydicom.dcmread(folder / "000.dcm")
    data.SeriesInstanceUID, data.SOPInstanceUID = generate_uid(), generate_uid()
    data.PixelData = data.PixelData[:-20]
    data.save_as(folder / "005.dcm")
    table = index(folder)
    assert sorted(table["status"]) == ["ok", "rejected"]
