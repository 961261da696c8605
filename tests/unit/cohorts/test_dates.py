"""Exams of the right time: nothing guessed about how a date is written, every other exam with its reason."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from toy import reasons, scan

from scan2gene.cohorts.dates import parse_day
from scan2gene.cohorts.label_table import read_label_table
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort

DAY = datetime.date(2020, 3, 4)
LABELS = "patient_id,IDH,biopsy,surgery\nP1,1,2020-02-01,2020-03-01\nP2,0,2020-02-01,\nP3,1,,\nP4,0,2020-02-01,\n"


@pytest.mark.parametrize(
    "cell", ["20200304", "2020-03-04", "2020/3/4", "2020-03-04 00:00:00", "04-Mar-2020", "4 March 2020", "Mar 4, 2020"]
)
def test_unambiguous_spellings_of_one_day(cell):
    assert parse_day(cell) == DAY


@pytest.mark.parametrize(("cell", "written"), [("04/03/2020", "dmy"), ("3.4.2020", "mdy"), ("43894", "excel")])
def test_what_is_ambiguous_is_settled_by_the_key(cell, written):
    assert parse_day(cell, written) == DAY
    if written != "excel":
        with pytest.raises(ValueError, match=r"cohort\.dates\.written: dmy or mdy"):
            parse_day(cell)


def test_a_day_above_twelve_settles_itself_but_not_against_the_key():
    assert parse_day("31/03/2020") == parse_day("03/31/2020") == datetime.date(2020, 3, 31)
    with pytest.raises(ValueError, match="no day of the calendar"):
        parse_day("31/03/2020", "mdy")


@given(st.dates(datetime.date(1910, 1, 1), datetime.date(2090, 12, 31)))
def test_every_way_of_writing_a_day_reads_back(day):
    assert parse_day(day.strftime("%Y%m%d")) == parse_day(day.isoformat()) == day
    assert parse_day(day.strftime("%d/%m/%Y"), "dmy") == parse_day(day.strftime("%m-%d-%Y"), "mdy") == day
    assert parse_day(str((day - datetime.date(1900, 1, 1)).days + 2), "excel") == day  # Excel counts 29 Feb 1900


@pytest.mark.parametrize(("cell", "number"), [("-15209", -15209), ("6", 6), ("257.0", 257)])
def test_a_number_is_days_since_an_event(cell, number):
    assert parse_day(cell) == number


@pytest.mark.parametrize("cell", [None, "", "NA", "Not Available"])
def test_a_day_may_be_unknown(cell):
    assert parse_day(cell) is None


@pytest.mark.parametrize("cell", ["spring 2020", "2020-13-04", "30.02.2020", "4/3/20"])
def test_what_is_no_day_is_refused(cell):
    with pytest.raises(ValueError, match=r"day|date"):
        parse_day(cell)


def exams(*dates: tuple[str, str]) -> list[dict[str, str]]:
    return [
        scan(patient, part, exam_id=f"{patient}-{day}", StudyDate=day, series_id=f"{patient}-{day}-{part}")
        for patient, day in dates
        for part in ("T1", "FLAIR")
    ]


FOUR = [("P1", "20200125"), ("P1", "20200310"), ("P2", "20200131"), ("P2", "20191001"), ("P3", "20200101")]


def test_a_window_around_the_reference(go):
    dates = {"reference_column": "biopsy", "window_days": [-90, 0]}
    found = go(exams(*FOUR), LABELS, dates=dates)
    assert found.cohort["exam_id"].tolist() == ["P1-20200125", "P2-20200131"]
    assert found.cohort["days"].tolist() == [-7, -1]
    why = reasons(found)
    assert why["P1-20200310"] == "scan is 38 days after biopsy, outside [-90, 0]"
    assert why["P2-20191001"] == "scan is 123 days before biopsy, outside [-90, 0]"
    assert why["P3-20200101"] == "the day of the scan or its biopsy is not known"
    assert [f["kept"] for f in found.flow if f["unit"] == "exams"] == [5, 5, 2]


def test_scans_after_surgery_are_refused_and_unknown_days_stay(go):
    found = go(exams(*FOUR, ("P1", "20200301")), LABELS, dates={"treatment_column": "surgery"})
    assert "P1-20200301" in set(found.cohort["exam_id"])  # on the day itself
    assert {"P2-20200131", "P3-20200101"} <= set(found.cohort["exam_id"])
    assert reasons(found)["P1-20200310"] == "after treatment: scan is 9 days after surgery"


@pytest.mark.parametrize(
    ("policy", "taken"), [("first", ["P1-20200125", "P2-20191001"]), ("nearest", ["P1-20200125", "P2-20200131"])]
)
def test_one_exam_of_a_patient(go, policy, taken):
    found = go(exams(*FOUR[:4]), LABELS, dates={"reference_column": "biopsy"}, exams=policy)
    assert found.cohort["exam_id"].tolist() == taken
    assert reasons(found)["P1-20200310"] == f"another exam of the patient is the {policy} one"
    assert found.flow[-2]["step"] == "one exam per patient"


def test_the_first_of_undated_exams_is_not_guessed(go):
    rows = exams(*FOUR[:4])
    for row in rows[:2]:
        row["StudyDate"] = ""
    with pytest.raises(CohortError, match=r"exams: first needs the date.*patient P1 has 2 exams, one without"):
        go(rows, LABELS, exams="first")


def test_an_ambiguous_cell_is_named_with_its_line_and_the_key(go):
    labels = LABELS.replace("P2,0,2020-02-01", "P2,0,02/01/2020")
    dates = {"reference_column": "biopsy", "window_days": [-90, 0]}
    with pytest.raises(CohortError, match=r"labels\.csv:3, biopsy '02/01/2020' may be .*cohort\.dates\.written"):
        go(exams(*FOUR), labels, dates=dates)
    found = go(exams(*FOUR), labels, dates=dates | {"written": "mdy"})
    assert found.cohort["exam_id"].tolist() == ["P1-20200125", "P2-20200131"]


def test_two_days_for_one_patient_are_refused_with_both_lines(go):
    labels = LABELS + "P1,1,2020-02-02,\n"
    with pytest.raises(CohortError, match=r"P1 has two different biopsy at labels\.csv:2 and labels\.csv:6"):
        go(exams(*FOUR), labels, dates={"reference_column": "biopsy"})


def test_a_date_is_not_compared_with_a_number(go):
    labels = LABELS.replace("2020-02-01", "43862")
    dates = {"reference_column": "biopsy", "window_days": [-90, 0]}
    with pytest.raises(CohortError, match=r"biopsy and the day of the scan are written differently.*written: excel"):
        go(exams(*FOUR), labels, dates=dates)
    found = go(exams(*FOUR), labels, dates=dates | {"written": "excel"})
    assert found.cohort["exam_id"].tolist() == ["P1-20200125", "P2-20200131"]


def test_dukes_days_since_diagnosis(go, shared_data):
    path = shared_data / "duke_breast_clinical" / "Clinical_and_Other_Features.xlsx"
    scanned, surgery = "Days to MRI (From the Date of Diagnosis)", "Days to Surgery (from the date of diagnosis)"
    table = read_label_table(path, "Patient ID")
    late = [p for p, a, b in zip(table["Patient ID"], table[scanned], table[surgery], strict=True)
            if a.lstrip("-").isdigit() and b.lstrip("-").isdigit() and int(a) > int(b)]  # fmt: skip
    rows = [row for p in table["Patient ID"] for row in (scan(p, "T1"), scan(p, "FLAIR"))]
    found = go(
        rows, labels=None, targets={"ER": {}}, patient_column="Patient ID",
        dates={"scan_column": scanned, "treatment_column": surgery}, label_file=path, unknown=["np"],
    )  # fmt: skip
    gone = found.exclusions[found.exclusions["reason"].str.startswith("after treatment")]
    assert sorted(gone["patient_id"]) == sorted(late)
    assert len(late) > 0
    assert len(found.cohort) == 922 - len(late)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"exams": "nearest"}, "needs dates.reference_column"),
        ({"dates": {"window_days": [-9, 0]}}, "needs reference_column"),
        ({"dates": {"reference_column": "b", "window_days": [9, 0]}}, "earliest, latest"),
    ],
)
def test_rules_that_cannot_work_are_refused_in_the_study_file(keys, said):
    with pytest.raises(ValidationError, match=said):
        Cohort.model_validate({"scans": ["x"], "labels": "y", "roles": {"t1": {"match": {"path": "t"}}}} | keys)
