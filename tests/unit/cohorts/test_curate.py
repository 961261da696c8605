"""Curation: what is kept is complete and labelled, what is not has a reason."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
import pytest
from toy import LABELS, ROLES, reasons, scan, whole

from scan2gene.cohorts.curate import curate
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Study
from scan2gene.core.tables import EXCLUSION_COLUMNS, LABEL_COLUMNS, read_csv, write_csv
from scan2gene.imaging.index import index
from scan2gene.phantom.exams import write_cohort


def test_complete_labelled_exams_are_kept(go):
    found = go(whole("P1", "P2"), site_column="site", clinical=["age"])
    assert found.cohort.to_dict("list") == {
        "patient_id": ["P1", "P2"],
        "exam_id": ["exam-P1", "exam-P2"],
        "site": ["A", "B"],
        "date": ["20200101", "20200101"],
        "role:t1": ["1.P1.T1 SE/0", "1.P2.T1 SE/0"],
        "role:flair": ["1.P1.FLAIR/0", "1.P2.FLAIR/0"],
        "clinical:age": [50.0, 61.0],
    }
    assert tuple(found.labels.columns) == LABEL_COLUMNS
    assert dict(zip(found.labels["patient_id"], found.labels["value"], strict=True)) == {"P1": 1, "P2": 0}
    assert tuple(found.exclusions.columns) == EXCLUSION_COLUMNS


def test_rows_of_a_patient_that_differ_in_site_or_age_are_told(go):
    labels = LABELS + "P1,1,B,50\nP2,0,,62\nP2,0,B,61Y\n"
    found = go(whole("P1", "P2"), labels=labels, site_column="site", clinical=["age"])
    assert found.cohort["site"].tolist() == ["A", "B"]
    why = {(r["patient_id"], r["reason"]) for r in found.exclusions.to_dict("records") if r["stage"] == "label table"}
    assert why == {
        ("P1", "rows of a patient differ in column site; the first counts"),
        ("P2", "rows of a patient differ in column age; the first counts"),
    }


def test_everyone_left_out_has_a_reason(go):
    rows = [
        *whole("P1", "P2", "P9"),
        scan("P3", "T1 SE"),
        scan("P1", "LOCALIZER"),
        scan("P2", "T1 repeat", status="rejected", reason="a slice is missing"),
        scan("", "T1 lost", exam_id="exam-x"),
    ]
    why = reasons(go(rows))
    assert why == {
        "1.P2.T1 repeat/0": "a slice is missing",
        "1..T1 lost/0": "no patient id: give cohort.patient_pattern",
        "1.P1.LOCALIZER/0": "plays no role in this study",
        "exam-P3": "exam lacks flair",
        "exam-P9": "patient is not in the label table",
        "P3": "labelled patient without a usable scan",
        "P4": "labelled patient without a usable scan",
    }


def test_a_patient_without_a_known_value_is_excluded_and_never_negative(go):
    found = go(whole("P1", "P2", "P3"), labels=LABELS.replace("P3,1", "P3,Not Available"))
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]
    assert reasons(found)["exam-P3"] == "no known target value"


def test_a_patient_with_one_of_two_targets_known_is_kept(go):
    labels = "patient_id,IDH,TP53\nP1,1,0\nP2,0,1\nP3,NA,1\n"
    found = go(whole("P1", "P2", "P3"), labels, targets={"IDH": {}, "TP53": {}})
    assert found.cohort["patient_id"].tolist() == ["P1", "P2", "P3"]
    assert found.labels[found.labels["patient_id"] == "P3"]["target"].tolist() == ["TP53"]


def test_the_flow_adds_up(go):
    rows = [
        *whole("P1", "P2", "P9"),
        scan("P3", "T1 SE"),
        scan("P1", "LOCALIZER"),
        scan("P1", "T1 x", status="rejected"),
    ]
    rows[-1]["reason"] = "multi-frame"
    flow = go(rows).flow
    assert [(f["step"], f["kept"]) for f in flow] == [
        ("series found", 9),
        ("readable, regular volumes", 8),
        ("selected by the study", 8),
        ("with a role", 7),
        ("complete exams", 3),
        ("labelled exams", 2),
        ("patients", 2),
    ]
    for before, after in pairwise(flow[:4]):
        assert before["kept"] - after["kept"] == sum(after["left_out"].values())
    assert flow[4]["left_out"] == {"exam lacks flair": 1}
    assert flow[5]["left_out"] == {"patient is not in the label table": 1}


def test_an_optional_role_may_be_missing(go):
    roles = {**ROLES, "flair": {**ROLES["flair"], "optional": True}}
    found = go([*whole("P1", "P2"), scan("P3", "T1 SE")], roles=roles)
    assert found.cohort["role:flair"].isna().tolist() == [False, False, True]


def test_of_several_series_the_one_with_most_slices_plays_the_role(go):
    rows = [*whole("P1", "P2"), scan("P1", "T1 thin", shape="64x64x100"), scan("P1", "T1 thick", shape="64x64x9")]
    found = go(rows)
    assert found.cohort.set_index("patient_id").loc["P1", "role:t1"] == "1.P1.T1 thin/0"
    assert set(reasons(found)) >= {"1.P1.T1 SE/0", "1.P1.T1 thick/0"}


def test_the_order_of_series_does_not_matter(go):
    rows = [*whole("P1", "P2", "P3"), scan("P1", "T1 again"), scan("P2", "T1 x", status="rejected", reason="r")]
    forward, backward = go(rows), go(rows[::-1])
    pd.testing.assert_frame_equal(forward.cohort, backward.cohort)
    pd.testing.assert_frame_equal(forward.labels, backward.labels)
    assert reasons(forward) == reasons(backward)


def test_a_series_that_fits_two_roles_stops_curation(go):
    with pytest.raises(CohortError, match=r"1 series fit more than one role.*t1, flair.*exclude each other"):
        go([*whole("P1", "P2"), scan("P1", "T1 FLAIR")])


def test_a_pattern_may_look_ahead(go):
    roles = {
        "t1": {"match": {"SeriesDescription": "^(?!.*post).*t1"}},
        "t1c": {"match": {"SeriesDescription": "(?=.*t1)(?=.*post)"}},
    }
    rows = [scan(p, d) for p in ("P1", "P2") for d in ("T1 SE", "T1 SE POST GD")]
    assert go(rows, roles=roles).cohort["role:t1c"].tolist() == ["1.P1.T1 SE POST GD/0", "1.P2.T1 SE POST GD/0"]


def test_include_and_exclude_patterns_say_what_they_removed(go):
    rows = [row | {"Manufacturer": "SIEMENS"} for row in whole("P1", "P2", "P3", "P4")]
    rows[0]["Manufacturer"] = "GE"
    rows[6]["StudyDescription"] = "BIOPSY"
    found = go(rows, include={"Manufacturer": "siemens"}, exclude={"StudyDescription": "biopsy"})
    assert found.cohort["patient_id"].tolist() == ["P2", "P3"]
    assert reasons(found)["1.P1.T1 SE/0"] == "Manufacturer lacks /siemens/"
    assert reasons(found)["1.P4.T1 SE/0"] == "StudyDescription has /biopsy/"


def test_include_on_a_dicom_keyword_spares_a_nifti_that_cannot_have_it(go):
    mask = [
        scan(p, "", format="nifti", path=f"/scans/{p}/mask.nii.gz", series_id=f"/scans/{p}/mask.nii.gz")
        for p in ("P1", "P2")
    ]
    roles = {**ROLES, "mask": {"match": {"path": "mask"}, "kind": "label"}}
    found = go([*whole("P1", "P2"), *mask], roles=roles, include={"SeriesDescription": "t1|flair"})
    assert found.cohort["role:mask"].tolist() == ["/scans/P1/mask.nii.gz", "/scans/P2/mask.nii.gz"]


def test_a_mask_beside_the_dicom_folders_joins_their_exam(go):
    rows = whole("P1", "P2")
    for row in rows:
        row["path"] = f"/scans/{row['patient_id']}/s1#uid/0"
    for p in ("P1", "P2"):
        path = f"/scans/{p}/mask.nii.gz"
        rows.append(scan("", "", format="nifti", path=path, series_id=path, exam_id=f"/scans/{p}", StudyDate=""))
    roles = {**ROLES, "mask": {"match": {"path": "mask"}, "kind": "label"}}
    found = go(rows, roles=roles, patient_pattern=r"/(P\d)/")
    assert found.cohort["exam_id"].tolist() == ["exam-P1", "exam-P2"]
    assert found.cohort["role:mask"].notna().all()


def test_a_mask_between_two_exams_of_one_patient_joins_neither(go):
    rows = whole("P1", "P2")
    for row in rows:
        row["path"] = f"/scans/{row['patient_id']}/a/s1#uid/0"
    rows += [
        r | {"exam_id": "second", "path": "/scans/P1/b/s1#uid/0", "series_id": "b" + r["series_id"]}
        for r in whole("P1")
    ]
    path = "/scans/P1/mask.nii.gz"
    rows.append(scan("P1", "", format="nifti", path=path, series_id=path, exam_id="/scans/P1"))
    roles = {**ROLES, "mask": {"match": {"path": "mask"}, "kind": "label", "optional": True}}
    found = go(rows, roles=roles)
    assert found.cohort["patient_id"].tolist() == ["P1", "P1", "P2"]
    assert found.cohort["role:mask"].isna().all()


@pytest.mark.parametrize("pattern", [r"(P\d)", r"(?i)(p\d)", r"/(P\d)(?:_\w+)?[/#]"])
def test_the_patient_id_comes_out_of_the_path_below_the_scan_folder(go, pattern):
    rows = whole("P1", "P2")
    for row in rows:
        row["path"] = row["path"].replace("/scans/", "/data/P8/scans/")
        row["patient_id"] = "anonymous"
    found = go(rows, patient_pattern=pattern, scans=["/data/P8/scans"])
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]


def test_a_pattern_without_a_group_is_refused(go):
    with pytest.raises(CohortError, match="needs one group"):
        go(whole("P1", "P2"), patient_pattern=r"P\d")


def test_the_exclude_file_removes_patients_and_series_with_its_reasons(go, tmp_path):
    (tmp_path / "exclude.csv").write_text("patient_id,series_id,reason\nP3,,withdrew\n,1.P1.T1 bad/0,motion\n")
    rows = [*whole("P1", "P2", "P3"), scan("P1", "T1 bad", shape="9x9x99")]
    found = go(rows, exclude_file=str(tmp_path / "exclude.csv"))
    assert found.cohort["role:t1"].tolist() == ["1.P1.T1 SE/0", "1.P2.T1 SE/0"]
    assert reasons(found)["1.P1.T1 bad/0"] == "exclude file: motion"
    assert reasons(found)["1.P3.FLAIR/0"] == "exclude file: withdrew"


def test_a_contradiction_of_an_excluded_patient_is_forgiven_and_of_others_not(go, tmp_path):
    labels = LABELS + "P3,0,A,1\n"
    with pytest.raises(CohortError, match=r"patient P3 has IDH=1 at labels.csv:4 and IDH=0 at labels.csv:6"):
        go(whole("P1", "P2", "P3"), labels)
    (tmp_path / "exclude.csv").write_text("patient_id\nP3\n")
    found = go(whole("P1", "P2", "P3"), labels, exclude_file=str(tmp_path / "exclude.csv"))
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "there is no exclude_file"), ("name\nP1\n", "patient_id or series_id")]
)
def test_an_unusable_exclude_file_is_refused(go, tmp_path, content, words):
    if content is not None:
        (tmp_path / "exclude.csv").write_text(content)
    with pytest.raises(CohortError, match=words):
        go(whole("P1", "P2"), exclude_file=str(tmp_path / "exclude.csv"))


def test_a_target_with_one_class_only_stops_curation(go):
    with pytest.raises(CohortError, match=r"target IDH has 2 positive and 0 negative patients.*nothing to tell apart"):
        go(whole("P1", "P3"))


def test_labels_of_patients_without_scans_do_not_count_as_a_class(go):
    with pytest.raises(CohortError, match="0 positive and 2 negative"):
        go(whole("P2", "P4"))


@pytest.mark.parametrize("labels", [LABELS.replace("P", "Q"), "patient_id,IDH,site,age\n"])
def test_no_patient_in_common_shows_how_ids_look(go, labels):
    with pytest.raises(CohortError, match=r"'P1'.*'Q1'|no row"):
        go(whole("P1", "P2"), labels)


def test_everyone_excluded_is_an_error_in_words(go, tmp_path):
    (tmp_path / "exclude.csv").write_text("patient_id\nP1\nP2\nP3\nP4\n")
    with pytest.raises(CohortError, match="none is left at the step 'selected by the study': 4 x exclude file: listed"):
        go(whole("P1", "P2"), exclude_file=str(tmp_path / "exclude.csv"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no DICOM or NIfTI file below cohort.scans"),
        ([scan("P1", "FLAIR")], r"no exam has every required role.*series\.csv"),
        ([scan("P1", "DWI")], r"'with a role': 1 x plays no role in this study.*series\.csv"),
        ([scan("P1", "T1", status="rejected", reason="r")], r"'readable, regular volumes': 1 x r.*series\.csv"),
    ],
)
def test_nothing_left_says_where_to_look(go, rows, said):
    with pytest.raises(CohortError, match=said):
        go(rows)


@pytest.mark.parametrize(
    "change",
    [{"include": {"SeriesDescripton": "x"}}, {"roles": {"t1": {"match": {"SeriesDescripton": "t1"}}}}],
)
def test_a_column_that_series_csv_lacks_is_named(go, change):
    with pytest.raises(CohortError, match="Did you mean 'SeriesDescription'"):
        go(whole("P1", "P2"), **change)


def test_the_phantoms_troubles_are_set_aside_each_with_its_reason(tmp_path):
    write_cohort(tmp_path, 6, effect=2.0, troubles=True, seed=5)
    values = {
        "name": "p",
        "question": "?",
        "cohort": {
            "scans": [str(tmp_path / "scans")],
            "labels": str(tmp_path / "labels.csv"),
            "patient_pattern": r"(SYN-\d+)",
            "exclude": {"StudyDescription": "BIOPSY"},
            "roles": {
                "t1c": {"match": {"SeriesDescription": "POST"}},
                "mask": {"match": {"path": "mask"}, "kind": "label"},
            },
        },
        "targets": {"mutation": {}},
        "runs": [{"name": "a", "model": {"name": "light_cnn"}}],
    }
    study = Study.model_validate(values)
    series = index(tmp_path / "scans")
    found = curate(study, series)
    assert found.cohort["patient_id"].tolist() == [f"SYN-{k:04d}" for k in range(6)]
    assert found.cohort[["role:t1c", "role:mask"]].notna().all(axis=None)
    gone = found.exclusions.groupby("patient_id")["reason"].apply("; ".join).to_dict()
    assert "not a readable DICOM file" in gone.pop("")
    assert "a slice is missing" in gone.pop("SYN-0002")
    assert "BIOPSY" in gone.pop("SYN-0001")
    assert "not in the label table" in gone.pop("SYN-9000")
    assert "without a usable scan" in gone.pop("SYN-9001")
    assert gone == {}

    write_csv(tmp_path / "series.csv", series)  # as the pipeline hands it over
    again = curate(study, read_csv(tmp_path / "series.csv"))
    pd.testing.assert_frame_equal(again.cohort, found.cohort)
    pd.testing.assert_frame_equal(again.exclusions, found.exclusions)
