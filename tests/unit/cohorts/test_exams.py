"""Which files are one exam, which series plays a role, and lesions that are too small."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError
from toy import ROLES, reasons, scan, whole

from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.lesions import lesion_mm3
from scan2gene.cohorts.roles import contested
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort
from scan2gene.imaging.index import read_volume

MASK = {**ROLES, "mask": {"match": {"path": "mask"}, "kind": "label"}}
LOOSE = {**ROLES, "mask": {"match": {"path": "mask"}, "kind": "label", "optional": True}}
FILES = {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "mask|label"}, "kind": "label"}}


def nifti(patient: str, path: str, **columns: str) -> dict[str, str]:
    folder = path.rpartition("/")[0]
    own = {"format": "nifti", "path": path, "series_id": path, "exam_id": folder, "StudyDate": ""}
    return scan(patient, "", **(own | columns))


def two_exams() -> list[dict[str, str]]:
    """P1 was scanned twice, on another grid each; P2 once."""
    rows = whole("P2")
    for day, shape in (("20200101", "64x64x20"), ("20210202", "64x64x30")):
        for row in whole("P1"):
            where = f"/scans/P1/{day}/s1#{row['series_id']}"
            rows.append(row | {"exam_id": day, "StudyDate": day, "path": where, "shape": shape,
                               "series_id": row["series_id"] + day})  # fmt: skip
    return rows


@pytest.mark.parametrize(
    ("name", "shape", "exam"),
    [
        ("mask_20210202.nii", "1x1x1", "20210202"),
        ("mask_2020-01-01.nii", "1x1x1", "20200101"),
        ("mask.nii", "64x64x30", "20210202"),
    ],
)
def test_a_mask_between_two_exams_is_told_by_date_or_grid(go, name, shape, exam):
    found = go([*two_exams(), nifti("P1", f"/scans/P1/{name}", shape=shape)], roles=LOOSE)
    taken = found.cohort.set_index("exam_id")["role:mask"].dropna()
    assert taken.to_dict() == {exam: f"/scans/P1/{name}"}


def test_a_mask_that_fits_both_exams_joins_neither_and_says_so(go):
    rows = [row | {"shape": "64x64x20"} for row in two_exams()]
    found = go([*rows, nifti("P1", "/scans/P1/mask.nii")], roles=LOOSE)
    assert found.cohort["role:mask"].isna().all()
    assert "may belong to several exams" in reasons(found)["/scans/P1"]


def test_masks_in_a_folder_of_their_own_join_the_only_exam(go):
    rows = [*whole("P1", "P2"), nifti("P1", "/scans/masks/P1_mask.nii"), nifti("P2", "/scans/masks/P2_mask.nii")]
    found = go(rows, roles=MASK)
    assert found.cohort["role:mask"].tolist() == ["/scans/masks/P1_mask.nii", "/scans/masks/P2_mask.nii"]


def test_flat_folders_by_kind_are_one_exam_per_patient(go):
    rows = [nifti(p, f"/scans/{kind}/{p}.nii") for p in ("P1", "P2") for kind in ("images_t1", "labels")]
    found = go(rows, roles=FILES)
    assert found.cohort["role:mask"].tolist() == ["/scans/labels/P1.nii", "/scans/labels/P2.nii"]
    assert found.cohort["exam_id"].tolist() == ["/scans#P1", "/scans#P2"]
    assert set(found.roles["exam_id"]) == set(found.cohort["exam_id"])


def test_flat_folders_by_sequence_are_one_exam_and_by_visit_are_not(go):
    roles = {"t1": {"match": {"path": "t1"}}, "flair": {"match": {"path": "flair"}, "optional": True}}
    rows = [nifti(p, f"/scans/{kind}/{p}_{kind}.nii") for p in ("P1", "P2") for kind in ("t1", "flair")]
    assert go(rows, roles=roles).cohort["role:flair"].notna().all()
    rows = [nifti(p, f"/scans/{visit}/{p}_t1.nii") for p in ("P1", "P2") for visit in ("v1", "v2")]
    assert len(go(rows, roles=roles).cohort) == 4


def test_a_bids_name_tells_the_exam_whatever_the_folder(go):
    labels = "patient_id,IDH\n01,1\n02,0\n"
    rows = [
        nifti("", f"/scans/{folder}/sub-{p}/ses-{s}/anat/sub-{p}_ses-{s}_{suffix}.nii.gz")
        for p in ("01", "02")
        for s in ("a", "b")
        for folder, suffix in (("raw", "t1w"), ("derivatives/seg", "label-lesion_mask"))
    ]
    roles = {**FILES, "t1": {"match": {"path": "t1w"}}}
    found = go(rows, labels, roles=roles, patient_pattern="sub-([A-Za-z0-9]+)")
    assert found.cohort["exam_id"].tolist() == [f"sub-{p}_ses-{s}" for p in ("01", "02") for s in "ab"]


@pytest.mark.parametrize(
    ("one", "two", "taken", "why_taken", "why_not"),
    [
        ({"shape": "9x9x30"}, {"shape": "9x9x20"}, "a", "most slices (30) of 2", "more slices: 30 against 20"),
        ({"spacing_k_mm": "3"}, {"spacing_k_mm": "1"}, "b", "smallest voxels (1 mm3)", "voxels: 1 mm3 against 3"),
        ({}, {}, "a", "first path of 2", "comes first by path"),
    ],
)  # fmt: skip
def test_the_choice_of_a_series_is_told_with_its_reason(go, one, two, taken, why_taken, why_not):
    grid = {"spacing_i_mm": "1", "spacing_j_mm": "1", "spacing_k_mm": "1", "shape": "9x9x30"}
    rows = [*whole("P2"), *(row for row in whole("P1") if row["SeriesDescription"] == "FLAIR")]
    rows += [scan("P1", f"T1 {n}", **(grid | own)) for n, own in (("a", one), ("b", two))]
    found = go(rows)
    told = found.roles[(found.roles["patient_id"] == "P1") & (found.roles["role"] == "t1")].set_index("series_id")
    assert told["taken"].to_dict() == {f"1.P1.T1 {n}/0": int(n == taken) for n in "ab"}
    assert why_taken in told.loc[f"1.P1.T1 {taken}/0", "reason"]
    lost = next(n for n in "ab" if n != taken)
    assert why_not in told.loc[f"1.P1.T1 {lost}/0", "reason"]
    assert reasons(found)[f"1.P1.T1 {lost}/0"].startswith("not taken as t1: ")
    only = found.roles[found.roles["role"] == "flair"]
    assert set(only["reason"]) == {"the only series that fits"}


def test_what_decides_between_series_of_a_role_is_counted(go):
    grid = {"spacing_i_mm": "1", "spacing_j_mm": "1", "spacing_k_mm": "1"}
    apart = [{"shape": "9x9x30"}, {"spacing_k_mm": "0.5"}, {}, {}]  # the second series of each patient
    patients = [f"P{n}" for n in range(1, 5)]
    rows = [row for row in whole("P5") if row["SeriesDescription"] == "T1 SE"]
    rows += [scan(p, f"T1c {n}", **(grid | (own if n else {}))) for p, own in zip(patients, apart, strict=True)
             for n in range(2)]  # fmt: skip
    labels = "patient_id,IDH\n" + "".join(f"P{n},{n % 2}\n" for n in range(1, 6))
    found = go(rows, labels, roles={"t1": {"match": {"SeriesDescription": "t1"}}})
    (sentence,) = contested(found.roles)
    assert sentence.startswith("role t1: ")
    assert re.findall(r"\d+", sentence.replace("t1", "")) == ["4", "5", "1", "1", "2"]  # slices, voxels, path
    assert contested(found.roles.astype(str)) == [sentence]  # as roles.csv holds them
    assert contested(go(whole("P1", "P2")).roles) == []


def test_a_sequence_is_matched_as_a_whole(go):
    rows = [scan(p, s, sequence=s) for p in ("P1", "P2") for s in ("T1", "T1c", "FLAIR")]
    roles = {name: {"match": {"sequence": name}} for name in ("t1", "T1C")} | {
        "fluid": {"match": {"sequence": "T2|flair"}}
    }
    found = go(rows, roles=roles)
    assert found.cohort["role:t1"].tolist() == ["1.P1.T1/0", "1.P2.T1/0"]
    assert found.cohort["role:T1C"].tolist() == ["1.P1.T1c/0", "1.P2.T1c/0"]
    assert found.cohort["role:fluid"].tolist() == ["1.P1.FLAIR/0", "1.P2.FLAIR/0"]


def test_lesions_are_measured_in_mm3(go, tmp_path):
    rows = whole("P1", "P2", "P3", "P4")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])  # 12 mm3 a voxel
    for patient, voxels in (("P1", 10), ("P2", 9), ("P3", 100), ("P4", 200)):
        array = np.zeros((10, 10, 4), np.uint8)
        array.flat[:voxels] = 1
        path = tmp_path / f"{patient}_mask.nii"
        nib.save(nib.Nifti1Image(array, affine), path)
        rows.append(nifti(patient, str(path)))
    (tmp_path / "P4_mask.nii").write_bytes(b"cut")
    found = go(rows, LABELS_4, roles=MASK, min_lesion={"role": "mask", "volume_mm3": 120})
    assert found.cohort["patient_id"].tolist() == ["P1", "P3"]
    assert reasons(found)["exam-P2"] == "lesion of 108 mm3, less than 120"
    assert reasons(found)["exam-P4"].startswith("the mask cannot be measured: not a readable NIfTI")
    with pytest.raises(CohortError, match="no lesion has 5000 mm3"):
        go(rows, LABELS_4, roles=MASK, min_lesion={"role": "mask", "volume_mm3": 5000})


LABELS_4 = "patient_id,IDH\nP1,1\nP2,1\nP3,0\nP4,0\n"


def test_an_exam_without_a_mask_has_no_known_lesion(go, tmp_path):
    for patient in ("P1", "P2"):
        nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.uint8), np.eye(4)), tmp_path / f"{patient}_mask.nii")
    rows = [*whole("P1", "P2", "P3"), *(nifti(p, str(tmp_path / f"{p}_mask.nii")) for p in ("P1", "P2"))]
    found = go(rows, roles=LOOSE, min_lesion={"role": "mask", "volume_mm3": 64})
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]
    assert reasons(found)["exam-P3"] == "no mask, so the size of the lesion is not known"


def test_the_lesion_role_must_be_a_mask():
    roles = {"t1": {"match": {"path": "t"}}, "mask": {"match": {"path": "m"}, "kind": "label"}}
    with pytest.raises(ValidationError, match=r"min_lesion.role: 't1' is not known; valid: mask"):
        Cohort.model_validate(
            {"scans": ["x"], "labels": "y", "roles": roles, "min_lesion": {"role": "t1", "volume_mm3": 1}}
        )


def test_the_masks_of_tcga_lgg_hold_the_pixels_that_its_table_gives(shared_data):
    table = read_label_table(shared_data / "tcga_lgg" / "labels.csv", "patient_id").set_index("patient_id")
    for patient, pixels in table["tumour_pixels_128"].items():
        mask = read_volume(shared_data / "tcga_lgg" / "images" / patient / "mask.nii.gz", "label")
        assert lesion_mm3(mask) == pytest.approx(float(pixels) * 1.875 * 1.875 * 1.0), patient
