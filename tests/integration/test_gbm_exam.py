"""A real exam through index, read and preprocessing, against SimpleITK and scipy."""

from __future__ import annotations

from studies.gbm_exam import compare


def test_glioblastoma_exam_keeps_its_geometry(shared_data):
    table = compare(shared_data / "tcia_brain_tumor_progression_dicom")
    assert list(table["status"]) == ["ok"] * 4
    assert (table["shape"] == "280x320x22").all()
    assert (table["read_voxels"] == 0).all()
    assert (table["read_affine_mm"] < 1e-4).all()
    assert (table["oriented_voxels"] == 0).all()
    assert (table["oriented_affine_mm"] < 1e-4).all()
    assert (table["resampled_difference"] < 1e-5).all()
    # the tag says 5 mm thick, but slices lie 6.5 mm apart along their normal (6.385 mm along the table)
    assert (table["slice_spacing_mm"] == 6.5).all()
