"""The pixels of DICOM slices: encodings, stored bits, rescaling, colours, and what is refused."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.uid import generate_uid

from scan2gene.core.errors import ScanError
from scan2gene.imaging.index import index, read_volume

ENCODINGS = ["", "_bigendian", "_expb", "_implicit", "_padded", "_RLE", "_jp2klossless", "_jpeg_ls_lossless"]


def stacked(source, folder, n=3):
    """Copies of one slice, 5 mm apart along z, as one series; the encoding of its pixels stays."""
    folder.mkdir()
    for k in range(n):
        data = pydicom.dcmread(source)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        data.ImageOrientationPatient, data.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 5 * k]
        data.save_as(folder / f"{k}.dcm")
    return folder


def test_each_slices_own_rescale_is_applied(write_series):
    def scale(k, data):
        data.RescaleSlope, data.RescaleIntercept = 0.5 * (k + 1), -10 * k

    folder = write_series(change=scale)
    stored = [pydicom.dcmread(folder / f"{k:03d}.dcm").pixel_array for k in range(5)]
    expected = np.stack([s.T * 0.5 * (k + 1) - 10 * k for k, s in enumerate(stored)], axis=-1)
    np.testing.assert_allclose(read_volume(folder).array, expected, rtol=1e-6)


def test_signed_pixels_stay_negative(write_series):
    def signed(k, data):
        data.PixelRepresentation = 1
        data.PixelData = np.full((6, 4), -5, "<i2").tobytes()

    assert (read_volume(write_series(change=signed)).array == -5).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_one_slice_gives_the_same_voxels(shared_data, tmp_path, encoding):
    folder = shared_data / "dicom_pydicom" / "pydicom"
    raw = pydicom.dcmread(folder / "MR_small.dcm").PixelData
    plain = np.frombuffer(raw, "<i2").reshape(64, 64)  # explicit little endian, uncompressed
    volume = read_volume(stacked(folder / f"MR_small{encoding}.dcm", tmp_path / "series"))
    for k in range(3):
        np.testing.assert_array_equal(volume.array[:, :, k].T, plain)


def test_a_truncated_slice_is_refused_when_it_is_decoded(shared_data, tmp_path):
    folder = stacked(shared_data / "dicom_pydicom" / "pydicom" / "MR_truncated.dcm", tmp_path / "series")
    with pytest.raises(ScanError, match="cut short: the image needs 8192 bytes"):
        read_volume(folder)


def test_a_file_cut_short_on_the_way_is_refused(write_series):
    folder = write_series()
    whole = (folder / "002.dcm").read_bytes()
    (folder / "002.dcm").write_bytes(whole[:-9])
    with pytest.raises(ScanError):
        read_volume(folder)


def test_colour_keeps_its_channels(write_series):
    rgb = np.random.default_rng(1).integers(0, 255, (5, 6, 4, 3), dtype=np.uint8)

    def colour(k, data):
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = rgb[k].tobytes()

    np.testing.assert_array_equal(read_volume(write_series(change=colour)).array, rgb.transpose(2, 1, 0, 3))


@pytest.mark.parametrize("by_plane", [False, True])
def test_argb_comes_as_rgba(write_series, by_plane):
    argb = np.random.default_rng(1).integers(0, 255, (5, 6, 4, 4), dtype=np.uint8)

    def colour(k, data):
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 4, "ARGB", int(by_plane)
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        data.PixelData = (argb[k].transpose(2, 0, 1) if by_plane else argb[k]).tobytes()

    folder = write_series(change=colour)
    expected = argb[..., [1, 2, 3, 0]].transpose(2, 1, 0, 3)
    np.testing.assert_array_equal(read_volume(folder).array, expected)
    assert set(index(folder)["burned_in"]) == {"possible"}


@pytest.mark.parametrize("signed", [False, True])
def test_overlay_bits_above_the_stored_ones_do_not_reach_the_voxels(write_series, signed):
    values = np.arange(24).reshape(6, 4) - (12 if signed else 0)

    def twelve(k, data):
        data.BitsStored, data.HighBit, data.PixelRepresentation = 12, 11, int(signed)
        stored = (values & 0x0FFF) | (0 if signed else 0x4000)  # bit 14 as of an embedded overlay
        data.PixelData = (stored | np.where(values < 0, 0xF000, 0)).astype("<u2").tobytes()

    array = read_volume(write_series(change=twelve)).array
    np.testing.assert_array_equal(array[..., 0], values.T)


def test_real_overlays_decode_as_gdcm_decodes_them(shared_data, tmp_path):
    source = shared_data / "dicom_pydicom" / "MR-SIEMENS-DICOM-WithOverlays.dcm"
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(source)))[0]
    volume = read_volume(stacked(source, tmp_path / "series"))
    np.testing.assert_array_equal(volume.array[..., 0], expected.T)


def test_a_modality_table_of_undefined_length_is_applied(write_series):
    def table(k, data):
        item = pydicom.Dataset()
        item.add_new(0x00283002, "US", [4096, 0, 16])
        item.ModalityLUTType = "US"
        item.add_new(0x00283006, "OW", (np.arange(4096) * 2).astype("<u2").tobytes())
        data.ModalityLUTSequence = [item]
        data["ModalityLUTSequence"].is_undefined_length = True

    folder = write_series(change=table)
    stored = pydicom.dcmread(folder / "000.dcm").pixel_array
    np.testing.assert_array_equal(read_volume(folder).array[..., 0], stored.T * 2.0)


@pytest.mark.parametrize("text", ["Secret^Name", "nan", "1e999", "1\\2"])
def test_a_rescale_that_is_no_number_is_refused_and_not_repeated(write_series, text):
    folder = write_series(change=lambda k, data: data.add_new(0x00281053, "LO", text))
    with pytest.raises(ScanError, match="RescaleSlope") as caught:
        read_volume(folder)
    assert text not in str(caught.value)


@pytest.mark.parametrize("enhanced", [False, True])
@pytest.mark.parametrize(
    ("slope", "intercept"), [("1", "1e308"), ("1e30", "0"), ("1e-40", "0"), ("1", "1e12"), ("1", "-1e38")]
)
def test_a_rescale_that_float32_cannot_hold_is_refused(write_series, slope, intercept, enhanced):
    def change(k, data):
        data.add_new(0x00281052, "DS", intercept)
        data.add_new(0x00281053, "DS", slope)
        if enhanced:
            data.compress(pydicom.uid.RLELossless)  # read by another way

    with pytest.raises(ScanError, match="RescaleSlope or RescaleIntercept"):
        read_volume(write_series(change=change))


@pytest.mark.parametrize(
    "spoiled",
    [
        {"BitsAllocated": 8, "BitsStored": 12, "HighBit": 11},
        {"BitsAllocated": 8, "BitsStored": 12, "HighBit": 7},
        {"BitsAllocated": 16, "BitsStored": 17, "HighBit": 16},
        {"BitsStored": 0, "HighBit": 0},
        {"BitsStored": [12, 12], "HighBit": [11, 11]},
        {"SamplesPerPixel": 2},
        {"PixelRepresentation": 7},
        {"PhotometricInterpretation": "RGB"},
    ],
    ids=str,
)
def test_a_header_that_contradicts_itself_is_a_reason_not_a_crash(write_series, spoiled):
    def change(k, data):
        for keyword, value in spoiled.items():
            setattr(data, keyword, value)

    folder = write_series(change=change)
    try:
        array = read_volume(folder).array
    except ScanError as error:
        assert "codecs" not in str(error)
    else:  # what does not matter for these pixels may be passed over
        assert np.isfinite(array).all()
        assert len(np.unique(array)) > 20


def test_a_damaged_uncompressed_slice_asks_for_no_decoder(write_series):
    def change(k, data):  # pydicom's way, and its pixels do not fit its header
        data.PhotometricInterpretation, data.HighBit, data.BitsStored = "YBR_FULL", 11, 12
        data.SamplesPerPixel = 3

    with pytest.raises(ScanError) as caught:
        read_volume(write_series(change=change))
    assert "pip install" not in str(caught.value)


def test_a_missing_decoder_is_named(write_series):
    def change(k, data):
        data.compress(pydicom.uid.RLELossless)
        data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"  # MPEG2, which pydicom never decodes

    with pytest.raises(ScanError, match="MPEG"):
        read_volume(write_series(change=change))


@pytest.mark.parametrize("encapsulated", [False, True])
def test_a_rescale_slope_of_zero_is_none(write_series, encapsulated):
    def change(k, data):
        data.RescaleSlope, data.RescaleIntercept = 0, 7
        if encapsulated:
            data.compress(pydicom.uid.RLELossless)

    folder = write_series(change=change)
    stored = pydicom.dcmread(folder / "000.dcm").pixel_array
    np.testing.assert_array_equal(read_volume(folder).array[..., 0], stored.T + 7.0)


def test_a_palette_is_read_in_its_colours(write_series):
    colours = np.random.default_rng(3).integers(0, 65535, (3, 256)).astype("<u2")

    def palette(k, data):
        data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "PALETTE COLOR", 8, 8, 7
        data.PixelData = np.arange(24, dtype=np.uint8).tobytes()
        for n, name in enumerate(("Red", "Green", "Blue")):
            setattr(data, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(data, f"{name}PaletteColorLookupTableData", colours[n].tobytes())

    expected = colours[:, :24].reshape(3, 6, 4).transpose(2, 1, 0)
    np.testing.assert_array_equal(read_volume(write_series(change=palette)).array[:, :, 2], expected)


def test_uncompressed_ycbcr_with_shared_colour_is_not_cut_short(write_series):
    def grey(k, data):  # Cb = Cr = 128 is grey: R = G = B = Y, whatever the matrix
        data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "YBR_FULL_422", 0
        data.Rows = data.Columns = 64
        data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
        y = (np.arange(64 * 64) % 251).astype(np.uint8).reshape(-1, 2)
        data.PixelData = np.concatenate([y, np.full_like(y, 128)], axis=1).tobytes()

    array = read_volume(write_series(change=grey)).array
    assert (array[:, :, 0] == (np.arange(64 * 64) % 251).reshape(64, 64).T[..., None]).all()


def test_float_pixels_must_be_finite(write_series):
    def floats(value):
        def change(k, data):
            for keyword in ("PixelData", "PixelRepresentation", "BitsStored", "HighBit"):
                delattr(data, keyword)
            data.BitsAllocated, data.FloatPixelData = 32, np.full(24, value, "<f4").tobytes()

        return change

    assert (read_volume(write_series(change=floats(1.25))).array == 1.25).all()
    with pytest.raises(ScanError, match="not finite"):
        read_volume(write_series(change=floats(np.inf)))


def test_inverted_greys_are_read_as_stored(write_series):
    folder = write_series(PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_volume(folder).array[..., 0], pydicom.dcmread(folder / "000.dcm").pixel_array.T)


def test_the_dicm_mark_without_a_meta_header_is_enough(write_series):
    folder = write_series()
    before = read_volume(folder).array
    for path in folder.iterdir():
        data = path.read_bytes()
        meta = 132 + 12 + int.from_bytes(data[140:144], "little")  # behind (0002,0000) and what it counts
        path.write_bytes(data[:132] + data[meta:])
    np.testing.assert_array_equal(read_volume(folder).array, before)
