"""Ids are joined exactly; those that almost agree are explained."""

from __future__ import annotations

import time
import unicodedata

import pandas as pd
import pytest
from toy import reasons, whole

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.ids import ENCODING, label_patients, lost_ids, near_ids
from scan2gene.cohorts.label_table import read_label_table
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort
from scan2gene.core.tables import write_csv


@pytest.mark.parametrize(
    ("scan", "label", "what"),
    [
        ("upenn-1", "UPENN-1", "upper and lower case"),
        ("P001", "P1", "zeros in front of a number"),
        ("TCGA-3C-AAAU", "TCGA.3C.AAAU", "dots, dashes or underscores"),
        ("p_007", "P7", "spelling"),
        ("UPENN-GBM-00001", "UPENN-GBM-00001_11", "a suffix in the label table"),
        ("P1_baseline", "P1", "a suffix in the scans"),
        ("P\u20131", "P-1", ENCODING),
        ("\u0420-1", "P-1", ENCODING),  # a Cyrillic letter
    ],
)
def test_what_differs_is_named(scan, label, what):
    assert near_ids([scan, "X"], [label, "Y"]) == {scan: (label, what)}


def test_two_label_ids_that_look_alike_are_no_answer():
    assert near_ids(["p1"], ["P1", "P01"]) == {"p1": ("P1", "upper and lower case")}
    assert near_ids(["p001"], ["P1", "P01"]) == {}


def test_almost_equal_ids_are_not_joined_and_the_reason_names_them(go):
    found = go(whole("P1", "P2", "p3"))
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]
    assert reasons(found)["exam-p3"].endswith("which has P3; only upper and lower case would have to be ignored")


def test_no_overlap_counts_what_would_be_found_and_names_the_mend(go):
    labels = "patient_id,IDH\nP001,1\nP002,0\n"
    with pytest.raises(CohortError, match=r"Of 2 patients 2 would be found if zeros.*'P1'.*'P001'.*0\*"):
        go(whole("P1", "P2"), labels)


@pytest.mark.parametrize(
    ("scan", "label"),
    [
        (unicodedata.normalize("NFD", "Jürgen"), unicodedata.normalize("NFC", "Jürgen")),
        ("P 1", "P\u00a01"),
        ("P1", "P\u200b1"),
        ("\ufeffP1", "P1"),
    ],
)
def test_ids_that_nobody_can_tell_apart_are_one(go, scan, label):
    for one, two in ((scan, label), (label, scan)):
        found = go(whole(one, "P2"), f"patient_id,IDH\n{two},1\nP2,0\n")
        assert found.cohort["patient_id"].nunique() == 2
        assert set(found.labels["patient_id"]) == set(found.cohort["patient_id"])
        assert found.exclusions.empty


def test_look_alike_letters_are_told_apart_by_their_codes(go):
    with pytest.raises(CohortError, match=r"'P\\u20131'"):
        go(whole("P\u20131"), "patient_id,IDH\nP-1,1\n")


def test_ids_that_a_table_had_to_quote_are_excluded_and_labelled(go, tmp_path):
    write_csv(tmp_path / "exclude.csv", pd.DataFrame({"patient_id": ["@P1"]}))
    write_csv(tmp_path / "made.csv", pd.DataFrame({"patient_id": ["@P1", "=P2", "P3"], "IDH": [1, 1, 0]}))
    found = go(whole("@P1", "=P2", "P3"), label_file=tmp_path / "made.csv", exclude_file=str(tmp_path / "exclude.csv"))
    assert found.cohort["patient_id"].tolist() == ["=P2", "P3"]
    assert found.labels["value"].tolist() == [1, 0]


def test_an_id_in_the_exclude_file_is_found_however_it_is_encoded(go, tmp_path):
    (tmp_path / "exclude.csv").write_text("patient_id\nJu\u0308rgen\n", encoding="utf-8")
    labels = "patient_id,IDH\nJ\u00fcrgen,1\nP1,1\nP2,0\n"
    found = go(whole("J\u00fcrgen", "P1", "P2"), labels, exclude_file=str(tmp_path / "exclude.csv"))
    assert found.cohort["patient_id"].tolist() == ["P1", "P2"]


def test_some_lost_ids_are_said_with_their_number_and_the_mend(go):
    ids = [f"{k:03d}" for k in range(92, 112)]
    labels = "patient_id,IDH\n" + "".join(f"{int(i)},{k % 2}\n" for k, i in enumerate(ids)) + ",1\n"
    found = go(whole(*ids), labels)
    assert found.cohort["patient_id"].nunique() == 12
    zeros, blank = lost_ids(found.exclusions)
    assert zeros.startswith("8 patients are not in the label table")
    assert "zeros in front" in zeros
    assert "'092' and label 92" in zeros
    assert "1 label rows without an id" in blank
    assert lost_ids(go(whole("P1", "P2")).exclusions) == []


@pytest.mark.slow
def test_near_ids_among_a_million_are_found_in_seconds():
    listed = [f"P{k:07d}" for k in range(1_000_000)]
    begin = time.process_time()
    assert near_ids(["P7", "P0000009", "p0000008"], listed) == {
        "P7": ("P0000007", "zeros in front of a number"), "p0000008": ("P0000008", "upper and lower case"),
    }  # fmt: skip
    assert time.process_time() - begin < 20


def test_one_exam_of_a_patient_is_chosen_in_the_label_table_by_its_suffix(go):
    labels = "patient_id,IDH\nP1_11,1\nP1_21,0\nP2_11,0\nP3_21,1\n"
    found = go(whole("P1", "P2", "P3"), labels, label_id_pattern="(.+)_11$")
    assert dict(zip(found.labels["patient_id"], found.labels["value"], strict=True)) == {"P1": 1, "P2": 0}
    assert reasons(found)["P1_21"] == "label row whose id lacks /(.+)_11$/"
    with pytest.raises(CohortError, match=r"patient P1 has IDH=1 at labels\.csv:2 and IDH=0 at labels\.csv:3"):
        go(whole("P1", "P2", "P3"), labels, label_id_pattern=r"(.+)_\d+$")
    with pytest.raises(CohortError, match="found in no id"):
        go(whole("P1", "P2", "P3"), labels, label_id_pattern="(.+)_31$")
    with pytest.raises(CohortError, match="needs one group"):
        go(whole("P1", "P2", "P3"), labels, label_id_pattern="_11$")


def test_upenns_rows_before_surgery_are_one_per_patient(shared_data):
    path = shared_data / "upenn_gbm_clinical" / "UPENN-GBM_clinical_info_v1.1.csv"
    rules = Cohort(
        scans=["x"], labels=str(path), patient_column="ID", label_id_pattern=r"(UPENN-GBM-\d+)_11",
        roles={"t1": {"match": {"path": "t1"}}},
    )  # fmt: skip
    flow = Flow()
    table = label_patients(read_label_table(path, "ID"), rules, flow)
    assert table["ID"].is_unique
    assert table["ID"].str.fullmatch(r"UPENN-GBM-\d{5}").all()
    assert len(table) + len(flow.exclusions) == 671
    assert {row["patient_id"][-3:] for row in flow.exclusions} == {"_21"}
