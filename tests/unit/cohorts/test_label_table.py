"""Headers of several rows and sheets of a workbook; the counts are those published for the real tables."""

from __future__ import annotations

import time

import pandas as pd
import pytest
from openpyxl import Workbook
from toy import whole

from scan2gene.cohorts.label_table import read_label_table, read_table, sheets
from scan2gene.cohorts.labels import target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target

DUKE = "duke_breast_clinical/Clinical_and_Other_Features.xlsx"
GROUPED = """Patient Information,Tumour,,,Ultrasound,
Patient ID,ER,Grade,,Shape,Size
,"{0 = neg, 1 = pos}",Grade (T),Grade (N),0=oval,cm
B001,1,2,3,0,1.5
B002,0,1,1,1,2.5
"""


def test_dukes_three_header_rows_are_found_and_joined(shared_data):
    table = read_label_table(shared_data / DUKE, "Patient ID")
    assert len(table) == 922
    assert table.index[0] == 4
    counts = {c: table[c].value_counts().to_dict() for c in ("ER", "PR", "HER2", "Mol Subtype")}
    assert counts["ER"] == {"1": 686, "0": 236}
    assert counts["PR"] == {"1": 598, "0": 324}
    assert counts["HER2"] == {"0": 759, "1": 163}
    assert counts["Mol Subtype"] == {"0": 595, "3": 164, "1": 104, "2": 59}
    assert {"US features: Shape", "Mammography Characteristics: Shape"} <= set(table.columns)
    assert "Tumor Grade: Tumor Grade(N) (Nuclear)" in table.columns
    assert len(set(table.columns)) == table.shape[1]
    pd.testing.assert_frame_equal(table, read_label_table(shared_data / DUKE, "Patient ID", header_rows=3))


def test_a_wrong_column_of_a_workbook_names_its_sheets(shared_data):
    with pytest.raises(CohortError, match=r"Did you mean 'Patient ID'.*sheets Data, Legend, Column Explanations"):
        read_label_table(shared_data / DUKE, "PatientID")
    with pytest.raises(CohortError, match=r"sheet 'Dat' is not known.*Did you mean 'Data'"):
        read_label_table(shared_data / DUKE, "Patient ID", sheet="Dat")


@pytest.mark.parametrize("header_rows", [None, 3])
def test_three_rows_of_a_text_table(tmp_path, header_rows):
    (tmp_path / "a.csv").write_text(GROUPED)
    table = read_label_table(tmp_path / "a.csv", "Patient ID", header_rows=header_rows)
    assert list(table.columns) == ["Patient ID", "ER", "Grade", "Grade: Grade (N)", "Shape", "Size"]
    assert table["Patient ID"].to_dict() == {4: "B001", 5: "B002"}
    assert table["Grade: Grade (N)"].tolist() == ["3", "1"]


@pytest.mark.parametrize(
    "text",
    [
        "id,diagnosis,grade\n,glioma,II\nP2,astrocytoma,III\nP3,glioma,II\n",  # a row without an id
        "id,IDH,,\nP1,1,,\nP2,0,,\nP3,0,,\n",
        ",id,note\na,P1,one\nb,P2,two\nc,P3,three\n",  # an unnamed index
        "id,note\nP1,one\nP2,\nP3,\n",
        "id,site,note\nP1,,\nP2,A,x\nP3,B,y\n",
    ],
)
def test_one_header_row_is_not_taken_for_several(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    assert len(read_table(tmp_path / "a.csv")) == 3


def test_every_other_real_table_has_one_header_row(shared_data):
    lengths = {
        "ispy2_breast/metadata_spy2_vis1_for_modeling.csv": 982,
        "tcga_brca/ky_CliniUnOpHer2.csv": 708,
        "tcga_brca/MutationStatus_all_clean.csv": 690,
        "tcga_gbm_lgg_mutations/TCGA_GBM_LGG_Mutations_all.csv": 862,
        "tcga_gbm_mutation_labels/TCGA_GBM_mutation_labels_01.csv": 371,
        "tcga_lgg/labels.csv": 79,
        "ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv": 501,
        "upenn_gbm_clinical/UPENN-GBM_clinical_info_v1.1.csv": 671,
    }
    for name, rows in lengths.items():
        table = read_table(shared_data / name)
        assert (len(table), table.index[0]) == (rows, 2), name


def test_a_sheet_is_chosen_by_name_and_remarks_beside_it_shift_nothing(tmp_path):
    book = Workbook()
    book.active.title = "Notes"
    book.active.append(["read me"])
    labels = book.create_sheet("Labels")
    for row in (("id", "IDH"), ("P1", 1), ("P2", 0, None, "please check"), ("P3", 1)):
        labels.append(row)
    book.save(tmp_path / "a.xlsx")
    assert sheets(tmp_path / "a.xlsx") == ["Notes", "Labels"]
    table = read_label_table(tmp_path / "a.xlsx", "id", sheet="Labels")
    long = target_labels(table, "id", {"IDH": Target()}, "a.xlsx")
    assert dict(zip(long["patient_id"], long["value"], strict=True)) == {"P1": 1, "P2": 0, "P3": 1}
    with pytest.raises(CohortError, match=r"sheets Notes, Labels; see cohort\.sheet"):
        read_label_table(tmp_path / "a.xlsx", "id")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_is_read_however_a_spreadsheet_saved_it(tmp_path, encoding):
    path = tmp_path / "labels.csv"
    path.write_bytes("Fall;Größe;IDH\r\n01;3,5;1\r\n1;2;0\r\n".encode(encoding))
    found = read_label_table(path, "Fall")
    assert found.to_dict("list") == {"Fall": ["01", "1"], "Größe": ["3,5", "2"], "IDH": ["1", "0"]}


@pytest.mark.parametrize(("content", "words"), [(b"", "is empty"), (b"\n,\n", "is empty"), (bytes(9), "is no text")])
def test_a_file_that_holds_no_table_is_named(tmp_path, content, words):
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(CohortError, match=f"labels.csv {words}"):
        read_label_table(tmp_path / "labels.csv", "patient_id")


@pytest.mark.parametrize("rows", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_long_label_table_takes_seconds(tmp_path, go, rows):
    """Time grows with the rows: 20 microseconds each, where 100 and more were needed."""
    text = "".join(f"P{k:07d},{k % 2},{40 + k % 50},S{k % 7}\n" for k in range(rows))
    (tmp_path / "long.csv").write_text("patient_id,IDH,age,site\n" + text)
    begin = time.process_time()
    found = go(whole("P0000000", "P0000001", "P0000004"), label_file=tmp_path / "long.csv", clinical=["age"])
    assert time.process_time() - begin < 2 + rows * 40e-6
    assert found.cohort["clinical:age"].tolist() == [40, 41, 44]
    assert found.labels["value"].tolist() == [0, 1, 0]
    assert len(found.exclusions) == rows - 3
