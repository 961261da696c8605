"""Exams without labels: which are found, what is listed as left out, and numbers in place of ids."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from scan2gene.cohorts.unlabelled import HIDDEN_REASON, find_unlabelled
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort


def write(folder, *names: str, size: int = 6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        nib.save(nib.Nifti1Image(np.ones((size, size, size), np.float32), np.eye(4)), folder / name)


def rules(*scans, **changes) -> Cohort:
    roles = {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "mask"}, "kind": "label"}}
    values = {"scans": list(map(str, scans)), "labels": "none.csv", "patient_pattern": r"(P\d+)", "roles": roles}
    return Cohort.model_validate(values | changes)


@pytest.fixture
def scans(tmp_path):
    scans = tmp_path / "scans"
    write(scans / "P1", "t1.nii", "mask.nii")
    write(scans / "P2", "t1.nii")
    write(scans / "other", "t1.nii")
    (scans / "P3").mkdir()
    (scans / "P3" / "t1.nii").write_bytes(b"no volume")
    return scans


def test_every_exam_is_listed_with_its_reason(scans, tmp_path):
    found = find_unlabelled(rules(scans), tmp_path / "out")
    assert list(found.exams["patient_id"]) == ["P1"]
    assert found.exams["role:mask"].tolist() == [str(scans / "P1" / "mask.nii")]
    reasons = found.listed.set_index("patient_id")["exam_id"].map(found.left_out)
    assert pd.isna(reasons["P1"])
    assert reasons["P2"] == "exam lacks mask"
    assert reasons[""] == "no patient id: cohort.patient_pattern is not found in the path"
    assert len(reasons) == 4 and reasons["P3"]
    assert set(pd.read_csv(tmp_path / "out" / "series.csv")["status"]) == {"ok", "rejected"}


def test_several_series_that_fit_one_role_are_warned_of(scans, tmp_path):
    assert not find_unlabelled(rules(scans), tmp_path / "out").warnings
    write(scans / "P1", "t1_later.nii")
    (warning,) = find_unlabelled(rules(scans), tmp_path / "out2").warnings
    assert "role t1" in warning and "1 of 2 exams" in warning
    assert set(pd.read_csv(tmp_path / "out2" / "roles.csv")["role"]) == {"t1", "mask"}


def test_the_folder_of_one_patient_may_be_all_that_is_given(scans, tmp_path):
    found = find_unlabelled(rules(scans / "P1"), tmp_path / "out")
    assert list(found.exams["patient_id"]) == ["P1"] and not found.left_out


def test_a_small_lesion_is_left_out_as_in_training(scans, tmp_path):
    found = find_unlabelled(rules(scans, min_lesion={"role": "mask", "volume_mm3": 300}), tmp_path / "out")
    assert found.exams.empty
    reasons = found.listed.set_index("patient_id")["exam_id"].map(found.left_out)
    assert reasons["P1"] == "lesion of 216 mm3, less than 300"


def test_two_patients_in_one_folder_stay_apart(tmp_path):
    write(tmp_path / "scans", "P1_t1.nii", "P1_mask.nii", "P2_t1.nii")
    found = find_unlabelled(rules(tmp_path / "scans"), tmp_path / "out")
    assert list(found.exams["patient_id"]) == ["P1"]
    left = found.listed[found.listed["exam_id"].isin(found.left_out)]
    assert list(left["patient_id"]) == ["P2"]
    assert not set(found.exams["exam_id"]) & set(left["exam_id"])


def test_wrong_rules_are_an_error_and_nothing_found_is_none(scans, tmp_path):
    roles = {"a": {"match": {"path": "t1"}}, "b": {"match": {"path": "nii"}}}
    with pytest.raises(CohortError, match="more than one role"):
        find_unlabelled(rules(scans, roles=roles), tmp_path / "out")
    with pytest.raises(CohortError, match="no DICOM or NIfTI"):
        (tmp_path / "empty").mkdir()
        find_unlabelled(rules(tmp_path / "empty"), tmp_path / "out")


def test_hidden_exams_show_numbers_in_the_order_of_their_paths(scans, tmp_path):
    write(scans / "P0", "t1.nii", "mask.nii")
    key = tmp_path / "private" / "key.csv"
    found = find_unlabelled(rules(scans), tmp_path / "out", key)
    assert list(found.exams["exam_id"]) == ["EXAM-001", "EXAM-002"]
    assert list(found.exams["patient_id"]) == ["PATIENT-001", "PATIENT-002"]
    assert set(found.left_out.values()) == {HIDDEN_REASON}
    assert not (tmp_path / "out").exists()
    (table,) = key.parent.glob("key.apply-*.csv")
    meaning = pd.read_csv(table, dtype=str, index_col="shown")
    assert meaning.loc[["EXAM-001", "EXAM-002"], "patient_id"].tolist() == ["P0", "P1"]
    assert "exam lacks mask" in set(meaning["reason"])
