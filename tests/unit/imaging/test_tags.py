"""The header scanner against pydicom, on every real file and on invented ones."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from scan2gene.core.errors import ScanError
from scan2gene.imaging.sources import find
from scan2gene.imaging.tags import numbers, of_dataset, scan

FOLDERS = [
    "dicom_dicom2nifti",
    "dicom_orientations",
    "dicom_pydicom",
    "dicom_transfer_syntaxes",
    "tcia_brain_tumor_progression_dicom",
]


def by_pydicom(data: bytes) -> dict[str, str]:
    return of_dataset(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_real_header_is_scanned_as_pydicom_reads_it(shared_data, folder):
    compared = left = 0
    for source in find([shared_data / folder]):
        data = source.read()
        if data[128:132] != b"DICM":
            continue
        header = scan(data, complete=True)
        if header is None:
            left += 1
            syntax = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True).file_meta.TransferSyntaxUID
            assert syntax == ExplicitVRBigEndian, source.path
            continue
        header.pop("HeaderBytes", None)  # a DICOMDIR ends before its header does
        assert header == by_pydicom(data), source.path
        compared += 1
    assert compared >= 8
    assert left <= 3


def test_the_pixels_lie_where_the_scanner_says(shared_data):
    for path in sorted((shared_data / "dicom_pydicom").glob("*.dcm")):
        data = path.read_bytes()
        header = scan(data, complete=True, pixels=True)
        if header is None or header["TransferSyntaxUID"] != ExplicitVRLittleEndian:
            continue
        offset, length = map(int, header["PixelData"].split())
        assert data[offset : offset + length] == pydicom.dcmread(path).PixelData


text = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=20)


def encoded(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


@given(
    syntax=st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    description=text,
    times=st.lists(st.floats(0, 1e6), min_size=1, max_size=3),
    b_value=st.floats(allow_nan=False),
    nested=st.integers(0, 3),
    undefined=st.booleans(),
    private=st.binary(max_size=300),
)
def test_any_header_is_scanned_as_pydicom_reads_it(syntax, description, times, b_value, nested, undefined, private):
    data = Dataset()
    data.SeriesDescription, data.Rows, data.DiffusionBValue = description, 17, b_value
    data.EchoTime = [f"{t:.6g}" for t in times]
    inner = Dataset()
    inner.CodeMeaning = "x"
    for _ in range(nested):
        outer = Dataset()
        outer.ReferencedImageSequence = [inner, Dataset()]
        outer["ReferencedImageSequence"].is_undefined_length = undefined
        inner = outer
    data.ReferencedStudySequence = [inner]
    data["ReferencedStudySequence"].is_undefined_length = undefined
    block = data.private_block(0x0009, "SOMEONE", create=True)
    block.add_new(0x01, "OB", private + b"\0" * (len(private) % 2))
    whole = encoded(data, syntax)
    header = scan(whole, complete=True)
    assert header is not None
    assert header == by_pydicom(whole)
    for end in (len(whole) // 2, len(whole) - 3):  # a part is never taken for the whole
        assert scan(whole[:end], complete=False) is None


def test_letters_outside_ascii_are_left_to_pydicom():
    data = Dataset()
    data.SpecificCharacterSet, data.SeriesDescription = "ISO_IR 100", "Schädel T1"
    whole = encoded(data, ExplicitVRLittleEndian)
    assert scan(whole, complete=True) is None
    assert by_pydicom(whole)["SeriesDescription"] == "Schädel T1"


def test_letters_behind_an_escape_are_left_to_pydicom():
    data = Dataset()
    data.SpecificCharacterSet, data.SeriesDescription = ["", "ISO 2022 IR 87"], "T1 \u982d\u90e8"
    whole = encoded(data, ExplicitVRLittleEndian)
    assert scan(whole, complete=True) is None
    assert by_pydicom(whole)["SeriesDescription"] == "T1 \u982d\u90e8"


def test_fragments_where_plain_pixels_should_be_are_left_to_pydicom():
    data = Dataset()
    data.Rows = 5
    whole = encoded(data, ExplicitVRLittleEndian)
    pixels = b"\xe0\x7f\x10\x00OB\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\0" * 4 + b"\xfe\xff\xdd\xe0" + b"\0" * 4
    assert scan(whole, complete=True, pixels=True) is not None
    assert scan(whole + pixels, complete=True, pixels=True) is None


def test_elements_out_of_order_are_left_to_pydicom():
    data = Dataset()
    data.Rows = 5
    whole = encoded(data, ExplicitVRLittleEndian)
    assert scan(whole, complete=True) is not None
    assert scan(whole + whole[-10:], complete=True) is None


def test_numbers_are_finite_or_refused_by_their_caller():
    assert numbers("1\\-2.5") == (1.0, -2.5)
    assert numbers("") == ()
    with pytest.raises(ValueError):
        numbers("1\\two")
    assert np.isnan(numbers("nan")[0])


def test_bytes_where_text_is_expected_are_refused():
    data = Dataset()
    data.add_new(0x0008103E, "UN", b"\xff\xfe")
    with pytest.raises(ScanError):
        of_dataset(data)
