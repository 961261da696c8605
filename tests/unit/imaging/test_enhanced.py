"""Enhanced multi-frame files: which frame belongs to which volume, and how it is scaled."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from scan2gene.imaging.index import index, read_volume


def enhanced(frames: int, change=lambda n, group, data: None) -> tuple[pydicom.Dataset, np.ndarray]:
    """An enhanced MR file of 16-bit frames, each with its own place and group items."""
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality, data.PatientID = "1.2", "1.3", "MR", "P1"
    data.NumberOfFrames, data.Rows, data.Columns, data.SamplesPerPixel = frames, 6, 4, 1
    data.PhotometricInterpretation, data.BitsAllocated, data.BitsStored, data.HighBit = "MONOCHROME2", 16, 16, 15
    data.PixelRepresentation = 0
    pixels = np.random.default_rng(2).integers(0, 4000, (frames, 6, 4)).astype("<u2")
    data.PixelData = pixels.tobytes()
    shared, measures, plane = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1.5, 0.75], 3
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    data.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for n in range(frames):
        group, place = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = [0, 0, 3.0 * (n % 5)]
        group.PlanePositionSequence = [place]
        change(n, group, data)
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    return data, pixels


@pytest.mark.parametrize("apart", ["time", "echo", "nothing but the frame number"])
def test_an_enhanced_4d_file_gives_a_row_per_volume(tmp_path, apart):
    def change(n, group, data):
        item = pydicom.Dataset()
        if apart == "time":
            item.TemporalPositionIndex = n // 5 + 1
            group.FrameContentSequence = [item]
        elif apart == "echo":
            item.EffectiveEchoTime = 10.0 + 80 * (n // 5)
            group.MREchoSequence = [item]

    data, pixels = enhanced(10, change)
    data.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    table = index(tmp_path)
    assert table["status"].tolist() == ["ok", "ok"]
    for n, path in enumerate(table["path"]):
        np.testing.assert_array_equal(read_volume(path).array, pixels[5 * n : 5 * n + 5].transpose(2, 1, 0))


def test_each_frames_own_rescale_is_applied(tmp_path):
    def change(n, group, data):
        item = pydicom.Dataset()
        item.RescaleSlope, item.RescaleIntercept = n + 1, -n
        group.PixelValueTransformationSequence = [item]

    data, pixels = enhanced(5, change)
    data.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    scale = np.arange(1, 6)[:, None, None]
    np.testing.assert_allclose(read_volume(tmp_path).array, (pixels * scale - scale + 1).transpose(2, 1, 0))


def shuffled(tmp_path, mark) -> tuple:
    """Two volumes of five slices, frames in any order; `mark(v, k, group, data)` says what belongs where."""
    order = np.random.default_rng(5).permutation(10)

    def change(n, group, data):
        v, k = divmod(int(order[n]), 5)
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * k]
        mark(v, k, group, data)

    data, pixels = enhanced(10, change)
    data.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    expected = pixels[np.argsort(order)].reshape(2, 5, 6, 4).transpose(0, 3, 2, 1)
    return index(tmp_path), {volume.astype(np.float32).tobytes() for volume in expected}


def by_direction(v, k, group, data):
    diffusion, direction = pydicom.Dataset(), pydicom.Dataset()
    direction.DiffusionGradientOrientation = [1.0 - v, float(v), 0.0]
    diffusion.DiffusionBValue, diffusion.DiffusionDirectionality = 800.0, "DIRECTIONAL"
    diffusion.DiffusionGradientDirectionSequence = [direction]
    group.MRDiffusionSequence = [diffusion]


def by_dimension_index(v, k, group, data):
    content, pointers = pydicom.Dataset(), []
    content.DimensionIndexValues = [1, k + 1, v + 1]
    group.FrameContentSequence = [content]
    for tag in (0x00209056, 0x00209057, 0x20010010):  # stack, position in the stack, a vendor's own dimension
        pointers.append(pydicom.Dataset())
        pointers[-1].DimensionIndexPointer = tag
    data.DimensionIndexSequence = pointers


@pytest.mark.parametrize("mark", [by_direction, by_dimension_index])
def test_frames_in_any_order_come_into_their_volumes(tmp_path, mark):
    table, expected = shuffled(tmp_path, mark)
    assert table["status"].tolist() == ["ok", "ok"]
    assert table["told_apart_by"].nunique() == 2
    assert {np.ascontiguousarray(read_volume(p).array).tobytes() for p in table["path"]} == expected


def test_frames_in_any_order_and_without_marks_are_rejected(tmp_path):
    table, _ = shuffled(tmp_path, lambda v, k, group, data: None)
    assert table["status"].tolist() == ["rejected"]
    assert "neither volume by volume" in table["reason"][0]


def test_the_day_of_a_frame_does_not_reach_the_table(tmp_path):
    def change(n, group, data):
        item = pydicom.Dataset()
        item.FrameAcquisitionDateTime = f"2019031412000{n // 5}"
        group.FrameContentSequence = [item]

    data, _ = enhanced(10, change)
    data.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    table = index(tmp_path)
    assert table["told_apart_by"].tolist() == ["AcquisitionTime=120000", "AcquisitionTime=120001"]


def test_files_of_one_frame_are_scaled_by_their_groups(tmp_path):
    expected = []
    for k in range(4):

        def change(n, group, data, k=k):
            group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 3.0 * k]
            item = pydicom.Dataset()
            item.RescaleSlope, item.RescaleIntercept = 2, k
            group.PixelValueTransformationSequence = [item]

        data, pixels = enhanced(1, change)
        data.save_as(tmp_path / f"{k}.dcm", enforce_file_format=True)
        expected.append(pixels[0].T * 2.0 + k)
    np.testing.assert_array_equal(read_volume(tmp_path).array, np.stack(expected, axis=-1))


def test_private_bytes_in_a_group_are_no_obstacle(tmp_path):
    def change(n, group, data):
        item = pydicom.Dataset()
        item.EffectiveEchoTime = 90.0
        item.private_block(0x2005, "SOMEONE", create=True).add_new(0x10, "OB", b"\1\2")
        group.MREchoSequence = [item]

    data, _ = enhanced(5, change)
    data.save_as(tmp_path / "e.dcm", enforce_file_format=True)
    (row,) = index(tmp_path).to_dict("records")
    assert (row["status"], row["EchoTime"]) == ("ok", "90.0")


@pytest.mark.parametrize("size", [0, 6])
def test_a_damaged_count_of_frames_is_no_endless_loop(tmp_path, size):
    data, _ = enhanced(5, lambda n, group, data: None)
    data.NumberOfFrames, data.Rows, data.BitsAllocated = 2_000_000_000, size, 0
    data.save_as(tmp_path / "e.dcm")
    (row,) = index(tmp_path).to_dict("records")
    assert "does not say where each frame lies" in row["reason"]
