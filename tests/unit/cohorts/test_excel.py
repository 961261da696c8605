"""Excel sheets as Excel shows them: merged ranges, formulas without a value, numbers that are numbers."""

from __future__ import annotations

import numpy as np
import pytest
from openpyxl import Workbook
from toy import reasons, whole

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.label_table import read_label_table, read_table
from scan2gene.cohorts.labels import clinical_numbers
from scan2gene.core.errors import CohortError


@pytest.fixture
def save(tmp_path):
    def write(rows, *merged, name="labels.xlsx"):
        book = Workbook()
        for row in rows:
            book.active.append(row)
        for cells in merged:
            book.active.merge_cells(cells)
        book.save(tmp_path / name)
        return tmp_path / name

    return write


def test_an_id_merged_over_rows_belongs_to_all_of_them_and_they_may_contradict(go, save):
    rows = [("patient_id", "lesion", "IDH"), ("P1", "a", 0), (None, "b", 1), ("P2", "a", 1), (None, "b", 1)]
    path = save(rows, "A2:A3", "A4:A5")
    assert read_label_table(path, "patient_id")["patient_id"].tolist() == ["P1", "P1", "P2", "P2"]
    with pytest.raises(CohortError, match=r"P1 has IDH=0 at labels\.xlsx:2 and IDH=1 at labels\.xlsx:3"):
        go(whole("P1", "P2"), label_file=path)


def test_a_merged_label_holds_for_every_row_and_column_that_it_covers(save):
    rows = [("id", "site", "left", "right"), ("P1", "A", 1, None), ("P2", None, None, None), ("P3", "B", 0, 1)]
    table = read_table(save(rows, "B2:B3", "C2:D3"))
    assert table.to_dict("list") == {
        "id": ["P1", "P2", "P3"], "site": ["A", "A", "B"], "left": ["1", "1", "0"], "right": ["1", "1", "1"],
    }  # fmt: skip


def test_a_heading_merged_over_all_columns_is_no_value(save):
    rows = [("id", "IDH", "age"), ("Group one", None, None), ("P1", 1, 50), ("P2", 0, 60)]
    table = read_label_table(save(rows, "A2:C2"), "id")
    assert table.iloc[0].tolist() == ["Group one", "", ""]


def test_merged_headers_are_read_as_before(save):
    rows = [
        ("Patient", None, "MRI", None, None),
        ("id", "IDH", "T1", "T2", "DWI"),
        ("P1", 1, 5, 6, 7),
        ("P2", 0, 5, 6, 8),
    ]
    table = read_table(save(rows, "A1:B1", "C1:E1"))
    assert list(table.columns) == ["id", "IDH", "T1", "T2", "DWI"]
    assert table["id"].tolist() == ["P1", "P2"]


def test_rows_without_an_id_are_listed_and_said(save):
    rows = [("id", "IDH"), ("P1", 1), (None, 0), ("P2", 0), (None, None), ('"', 1)]
    flow = Flow()
    assert read_label_table(save(rows), "id", flow=flow)["id"].tolist() == ["P1", "P2"]
    assert [row["reason"].rpartition(":")[2] for row in flow.exclusions] == ["3", "6"]


def test_rows_without_an_id_reach_the_exclusions_of_a_study(go):
    found = go(whole("P1", "P2"), "patient_id,IDH\nP1,1\n,0\nP2,0\n,\n")
    assert [r for r in found.exclusions["reason"] if "without an id" in r and r.endswith("labels.csv:3")]
    assert len(found.exclusions) == 1
    assert len(found.cohort) == 2


@pytest.mark.parametrize("column", ["patient_id", "IDH", "age", "site"])
def test_a_formula_that_was_never_computed_is_named_where_the_study_reads_it(go, save, column):
    cells = {"patient_id": "P1", "IDH": 1, "age": 50, "site": "A"}
    rows = [tuple(cells), tuple((cells | {column: "=1+1"}).values()), ("P2", 0, 60, "B")]
    path = save(rows)
    with pytest.raises(CohortError, match=rf"labels\.xlsx:2.*{column}.*without a stored value.*=1\+1"):
        go(whole("P1", "P2"), label_file=path, clinical=["age"], site_column="site")


def test_a_formula_in_a_column_that_nobody_reads_stops_nothing(go, save):
    rows = [("patient_id", "IDH", "total"), ("P1", 1, "=1+1"), ("P2", 0, "=2+2")]
    found = go(whole("P1", "P2"), label_file=save(rows))
    assert len(found.cohort) == 2
    assert not reasons(found)


def test_numbers_of_excel_are_never_taken_for_thousands(save):
    rows = [("id", "te", "code"), ("P1", 2.704, 1149756007), ("P2", 6.918, 1149757003), ("P3", 1e-7, 3)]
    table = read_table(save(rows))
    np.testing.assert_array_equal(clinical_numbers(table["te"]), [2.704, 6.918, 1e-7])
    assert table["code"].tolist() == ["1149756007", "1149757003", "3"]
