"""A study drafted from tables of features: it loads, curates, and takes no label for a feature."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from test_draft import write_nifti

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.draft import draft
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Study
from scan2gene.core.study_file import load_study
from scan2gene.imaging.rows import SERIES_COLUMNS
from scan2gene.plan.choices import left_open


def drafted(folder, labels, tables, *targets: str, scans=None) -> tuple[Study, str, list[str]]:
    text, warnings = draft(scans, labels, folder / "study.yaml", targets, tables)
    (folder / "study.yaml").write_text(text)
    return load_study(folder / "study.yaml"), text, warnings


def curated(study: Study) -> Curated:
    return curate(study, pd.DataFrame(columns=list(SERIES_COLUMNS)))


def cohort(folder, patients: int = 30, ids: str = "case", **columns) -> tuple:
    """labels.csv of all patients and radiomics.csv of all but the last, with one whom the labels lack."""
    rng = np.random.default_rng(0)
    names = [f"A{n:03d}" for n in range(patients)]
    labels = pd.DataFrame({"subject": names, "IDH": np.where(np.arange(patients) % 3, "wildtype", "mutated")})
    labels["age"], labels["gender"] = 40 + np.arange(patients), np.where(np.arange(patients) % 2, "M", "F")
    labels["hospital"] = np.where(np.arange(patients) % 2, "North", "South")
    labels.to_csv(folder / "labels.csv", index=False)
    table = pd.DataFrame({ids: [*names[:-1], "B999"], "file": [f"{n}.nii" for n in range(patients)]})
    table = table.assign(t1_mean=rng.normal(size=patients), t1_sd=rng.normal(size=patients), **columns)
    table.to_csv(folder / "radiomics.csv", index=False)
    return folder / "labels.csv", [folder / "radiomics.csv"]


def test_ucsf_needs_no_line_edited(tmp_path, shared_data):
    folder = shared_data / "ucsf_pdgm_radiomics"
    labels, tables = folder / "jmh_UCSF-PDGM-metadata_v2.csv", [folder / "jmh_radiomic_features_T1gad_bias.csv"]
    study, text, _ = drafted(tmp_path, labels, tables, "IDH", "MGMT status")
    assert "# 501 of 501 patients with features are in this table" in text
    assert study.cohort.clinical == ["Age at MRI", "Sex"] and study.cohort.patient_column == "ID"
    assert left_open(study)[:2] == ["preprocess", "splits"] and study.runs == []
    assert study.targets["MGMT-status"].unknown == ["indeterminate"]
    (block,) = study.features.values()
    assert block.patient_column == "ID" and block.columns == []
    found = curated(study)
    counts = found.labels.groupby(["target", "label"]).size().to_dict()
    assert counts[("IDH", "positive")] == 103 and counts[("IDH", "negative")] == 398
    assert counts[("MGMT-status", "positive")] == 302 and counts[("MGMT-status", "negative")] == 114
    assert found.cohort[["clinical:Age at MRI", "clinical:Sex"]].notna().all().all()


def test_patients_of_one_table_only_are_left_out_with_a_reason(tmp_path):
    study, text, warnings = drafted(tmp_path, *cohort(tmp_path))
    assert "29 of 30 patients with features are in this table" in text
    assert warnings[:2] == ["29 of 30 patients with features are in this table", "not in the table: B999"]
    assert study.cohort.scans == [] and study.cohort.roles == {}
    assert study.cohort.site_column == "hospital" and study.cohort.clinical == ["age", "gender"]
    assert list(study.targets) == ["IDH"]
    assert study.features["radiomics"].table == str(tmp_path / "radiomics.csv")
    found = curated(study)
    assert len(found.cohort) == 29
    reasons = found.exclusions.set_index("patient_id")["reason"].to_dict()
    assert reasons == {
        "B999": "patient is not in the label table",
        "A029": "labelled patient without features",
    }


def test_several_tables_and_a_first_column_without_a_name(tmp_path):
    labels, tables = cohort(tmp_path)
    other = pd.DataFrame({"v": np.arange(30) % 7 + 0.5}, index=[f"A{n:03d}" for n in range(30)])
    (tmp_path / "more").mkdir()
    other.to_csv(tmp_path / "more" / "radiomics.csv")
    study, text, _ = drafted(tmp_path, labels, [*tables, tmp_path / "more" / "radiomics.csv"])
    assert list(study.features) == ["radiomics", "radiomics-2"]
    assert study.features["radiomics-2"].patient_column == ""
    assert "30 of 31 patients with features" in text
    assert len(curated(study).cohort) == 30  # those of either table


def test_labels_among_the_features_are_not_taken(tmp_path):
    count = np.arange(30)
    copied = {"IDH": (count % 3 == 0) * 1, "age": 40 + count, "survival": 100 + count, "code": count % 3 == 0}
    labels, tables = cohort(tmp_path, **copied, row=count)
    pd.read_csv(labels).assign(survival=100 + count).to_csv(labels, index=False)
    study, text, warnings = drafted(tmp_path, labels, tables, "IDH")
    assert study.features["radiomics"].columns == ["t1_mean", "t1_sd"]
    assert any("columns that the label table has too are no features: survival and row" in w for w in warnings)
    assert "# WARNING: radiomics.csv: columns" in text
    assert len(curated(study).cohort) == 29


def test_columns_with_two_values_are_named(tmp_path):
    *_, warnings = drafted(tmp_path, *cohort(tmp_path, grade_high=np.arange(30) % 2))
    assert any("two values may be labels rather than features: grade_high" in w for w in warnings)


def test_one_table_may_hold_labels_and_features(tmp_path):
    _, (path,) = cohort(tmp_path)
    count = np.arange(30)
    extra = {"IDH": count % 3 == 0, "age": 40 + count, "sex": count % 2, "OS": 10.0 * count, "index": count}
    pd.read_csv(path).assign(**extra).to_csv(path, index=False)
    study, *_ = drafted(tmp_path, path, [path], "IDH")
    assert study.features["radiomics"].columns == ["t1_mean", "t1_sd"]
    assert study.cohort.clinical == ["age", "sex"]


def test_ids_that_nearly_agree_are_told_and_not_joined(tmp_path):
    labels, tables = cohort(tmp_path)
    table = pd.read_csv(tables[0])
    table.assign(case=table["case"].str.replace("A0", "A")).to_csv(tables[0], index=False)
    with pytest.raises(CohortError, match="differ in zeros in front of a number alone, such as 'A00' and 'A000'"):
        draft(None, labels, tmp_path / "s.yaml", (), tables)
    table.assign(case=[f"X{n}y" for n in range(30)]).to_csv(tables[0], index=False)
    with pytest.raises(CohortError, match=r"no column of labels.csv holds ids of two patients of radiomics.csv"):
        draft(None, labels, tmp_path / "s.yaml", (), tables)


def test_label_ids_with_the_number_of_an_exam_behind(tmp_path):
    labels, tables = cohort(tmp_path)
    table = pd.read_csv(labels)
    table.assign(subject=table["subject"] + "_1").to_csv(labels, index=False)
    study, *_ = drafted(tmp_path, labels, tables)
    assert study.cohort.label_id_pattern
    assert len(curated(study).cohort) == 29


def test_scans_and_a_table(tmp_path):
    labels, tables = cohort(tmp_path)
    for n in range(30):
        write_nifti(tmp_path / "scans" / f"A{n:03d}" / "t1.nii.gz")
    study, text, _ = drafted(tmp_path, labels, tables, scans=tmp_path / "scans")
    assert list(study.cohort.roles) == ["t1"] and list(study.features) == ["radiomics"]
    assert "30 of 30 scanned patients are in this table" in text
    assert "radiomics: {table: radiomics.csv, patient_column: case}   # 29 of 30 patients; 2 numbers" in text
