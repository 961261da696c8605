"""Label tables as people have them: nothing guessed, everything unclear listed with its line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.labels import clinical_numbers, parse_number, patient_values, target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target


@pytest.fixture
def read(tmp_path):
    def read_text(text: str, encoding: str = "utf-8", name: str = "labels.csv") -> pd.DataFrame:
        (tmp_path / name).write_bytes(text.encode(encoding))
        return read_label_table(tmp_path / name, "id")

    return read_text


def labels_of(table: pd.DataFrame, **targets: Target) -> dict[tuple[str, str], float]:
    long = target_labels(table, "id", targets, "labels.csv")
    return {(p, t): v for p, t, v in zip(long["patient_id"], long["target"], long["value"], strict=True)}


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separator_byte_order_mark_and_line_ends_do_not_matter(read, separator, encoding, newline):
    lines = ["id,IDH,note", "P1, 1 ,-", '007,0,"x"', "P3,,"]
    table = read(newline.join(lines).replace(",", separator) + newline, encoding)
    assert table["id"].tolist() == ["P1", "007", "P3"]
    assert table["IDH"].tolist() == ["1", "0", ""]
    assert table["note"].tolist() == ["-", "x", ""]
    assert table.index.tolist() == [2, 3, 4]


def test_a_separator_inside_quotes_stays_text(read):
    table = read('id,diagnosis,IDH\nP1,"Glioma, NOS; grade 2",1\n')
    assert table["diagnosis"].iloc[0] == "Glioma, NOS; grade 2"


def test_row_numbers_are_lines_of_the_file_whatever_lies_between(read):
    table = read('id,note,IDH\nP1,,1\n\n,no id,1\nP2,"two\nlines",0\nP3,,1\n\n')
    assert dict(zip(table["id"], table.index, strict=True)) == {"P1": 2, "P2": 5, "P3": 7}


def test_trailing_separators_shift_no_column(read):
    assert labels_of(read("id,IDH\nP1,1,\nP2,0,\n"), IDH=Target()) == {("P1", "IDH"): 1, ("P2", "IDH"): 0}
    assert labels_of(read("id,IDH,\nP1,1\nP2,0\n"), IDH=Target()) == {("P1", "IDH"): 1, ("P2", "IDH"): 0}


def test_a_row_with_more_cells_than_the_header_is_refused_with_its_line(read):
    with pytest.raises(CohortError, match=r"labels\.csv:3"):
        read("id,age,IDH\nP1,54,1\nP2,61,5,0\n")


def test_an_open_quote_does_not_swallow_the_rest(read):
    with pytest.raises(CohortError, match="not a readable table"):
        read('id,note,IDH\nP1,"oops,1\nP2,,0\nP3,,1\n')


def test_excel_gives_what_csv_gives(tmp_path, read):
    sheet = Workbook()
    rows = [("id", "IDH", "age"), ("P1", 1, 54), (7, 0.0, "048Y"), ("P2", None, None), (None, 1, 3), ("P3", "1", 2.5)]
    for row in rows:
        sheet.active.append(row)
    sheet.save(tmp_path / "labels.xlsx")
    table = read_label_table(tmp_path / "labels.xlsx", "id")
    assert table["id"].tolist() == ["P1", "7", "P2", "P3"]
    assert table.index.tolist() == [2, 3, 4, 6]
    assert labels_of(table, IDH=Target()) == {("P1", "IDH"): 1, ("7", "IDH"): 0, ("P3", "IDH"): 1}


def test_a_column_that_is_missing_is_named_with_the_likely_one(tmp_path):
    (tmp_path / "a.csv").write_text("patient,IDH\nP1,1\n")
    with pytest.raises(CohortError, match=r"patient_column 'patiend'.*Did you mean 'patient'"):
        read_label_table(tmp_path / "a.csv", "patiend")


@pytest.mark.parametrize("name", ["labels.csv", "labels.xlsx"])
@pytest.mark.parametrize("content", [b"", b"\x00\x01\x02PK\x03\x04 no table"])
def test_a_file_that_is_no_table_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CohortError, match="labels"):
        read_label_table(tmp_path / name, "id")


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(CohortError, match=r"there is no label table .*nowhere\.csv"):
        read_label_table(tmp_path / "nowhere.csv", "id")


@pytest.mark.parametrize(
    "cell", ["", "NA", "n/a", "NaN", "Not Available", "[Not Available]", "unknown", "Not Reported", " none "]
)
def test_not_known_is_null_and_never_negative(read, cell):
    table = read(f"id,IDH\nP1,1\nP2,{cell}\nP3,0\n")
    assert labels_of(table, IDH=Target()) == {("P1", "IDH"): 1, ("P3", "IDH"): 0}


def test_a_spelling_of_unknown_may_be_claimed_as_a_class(read):
    target = Target(positive=["amplified"], negative=["none"])
    assert labels_of(read("id,EGFR\nP1,Amplified\nP2,None\n"), EGFR=target)[("P2", "EGFR")] == 0


@pytest.mark.parametrize("cell", ["1", "1.0", " 1 ", "1.00", "1.0e0"])
def test_spellings_of_one_number_agree(read, cell):
    assert labels_of(read(f"id,IDH\nP1,{cell}\n"), IDH=Target(positive=[1])) == {("P1", "IDH"): 1}


def test_case_is_ignored_and_the_column_may_have_another_name(read):
    target = Target(column="status", positive=["MUTATED"], negative=["Wildtype"])
    assert labels_of(read("id,status\nP1,Mutated\nP2,wildTYPE\n"), IDH=target) == {("P1", "IDH"): 1, ("P2", "IDH"): 0}


def test_every_stray_value_is_counted_and_the_mend_named(read):
    table = read("id,IDH,TP53\nP1,1,x\nP2,maybe,1\nP3,maybe,y\nP4,perhaps,x\n")
    with pytest.raises(CohortError) as caught:
        labels_of(table, IDH=Target(), TP53=Target())
    first, second = str(caught.value).splitlines()
    assert "'maybe' in 2 rows and 'perhaps' in 1 row" in first
    assert "targets.IDH.positive, .negative or .unknown" in first
    assert "'x' in 2 rows and 'y' in 1 row" in second


def test_a_value_that_is_both_positive_and_negative_is_refused(read):
    with pytest.raises(CohortError, match=r"IDH.*'1'.*both"):
        labels_of(read("id,IDH\nP1,1\n"), IDH=Target(positive=[1], negative=["1.0", 0]))


def test_contradicting_rows_are_all_listed_with_their_lines(read):
    table = read("id,IDH,TP53\nP1,1,0\nP2,0,1\nP1,0,0\nP2,0,\nP3,1,1\nP1,1,1\n")
    with pytest.raises(CohortError) as caught:
        labels_of(table, IDH=Target(), TP53=Target())
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert "IDH=1 at labels.csv:2, IDH=0 at labels.csv:4 and IDH=1 at labels.csv:7" in lines[0]
    assert "TP53=0 at labels.csv:2, TP53=0 at labels.csv:4 and TP53=1 at labels.csv:7" in lines[1]
    assert all("patient P1" in line and "exclude.csv" in line for line in lines)


def test_two_columns_of_one_name_must_say_the_same(read):
    alike = read("id,IDH,age,IDH\nP1,1,50,1\nP2,0,60,wildtype\nP3,,1,1\n".replace("wildtype", "0.0"))
    assert labels_of(alike, IDH=Target()) == {("P1", "IDH"): 1, ("P2", "IDH"): 0}
    apart = read("id,IDH,IDH\nP1,1,1\nP2,0,1\nP3,1,0\n")
    with pytest.raises(CohortError, match=r"called IDH, and they differ in 2 rows, first labels\.csv:3\. Rename"):
        labels_of(apart, IDH=Target())


def test_rows_that_agree_are_one_label_from_the_first_known_line(read):
    long = target_labels(read("id,IDH\nP1,\nP1,1\nP1,1\n"), "id", {"IDH": Target()}, "labels.csv")
    assert long.to_dict("records") == [
        {"patient_id": "P1", "side": "", "target": "IDH", "value": 1.0, "label": "positive", "source": "labels.csv:3"}
    ]


def test_a_target_without_a_column_is_named(read):
    with pytest.raises(CohortError, match=r"target IDH1.*Did you mean 'IDH'"):
        labels_of(read("id,IDH\nP1,1\n"), IDH1=Target())


@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    table = pd.DataFrame({"id": list("ABCABD"), "IDH": ["1", "0", "", "1", "", "0"]}, index=range(2, 8)).iloc[
        list(order)
    ]
    assert labels_of(table, IDH=Target()) == {("A", "IDH"): 1, ("B", "IDH"): 0, ("D", "IDH"): 0}


def test_a_patients_value_is_the_first_that_is_not_empty(read):
    values = patient_values(read("id,site,age\nP1,,50\nP1,Duke,51\nP2,,\n"), "id", ["site", "age"])
    assert values.loc["P1"].tolist() == ["Duke", "50"]
    assert values.loc["P2"].isna().all()
    with pytest.raises(CohortError, match="Did you mean 'site'"):
        patient_values(read("id,site\nP1,A\n"), "id", ["sites"])


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("54", 54),
        ("054Y", 54),
        ("54.5", 54.5),
        ("3,5", 3.5),
        ("-2", -2),
        ("1e3", 1000),
        ("48 years 131 days", 48 + 131 / 365.25),
        ("51 years", 51),
        (61.3, 61.3),
    ],
)
def test_a_number_is_read_out_of_its_cell(cell, number):
    assert parse_number(cell) == pytest.approx(number, abs=1e-12)


@pytest.mark.parametrize("cell", [None, "", "NA", "Not Available", float("nan"), "about 50", "50-60", ">89"])
def test_what_is_no_number_is_none(cell):
    assert parse_number(cell) is None


def test_sexes_in_words_are_numbers_and_other_words_are_refused():
    told = clinical_numbers(pd.Series(["Female", " male", "M", "", "unknown", "f", None], name="Sex"))
    np.testing.assert_array_equal(told, [0, 1, 1, np.nan, np.nan, 0, np.nan])
    with pytest.raises(CohortError, match="'often' of 1 patient"):
        clinical_numbers(pd.Series(["Female", "often"], name="smoking"))
    with pytest.raises(CohortError, match="it holds none"):
        clinical_numbers(pd.Series(["", "unknown"], name="Sex"))
