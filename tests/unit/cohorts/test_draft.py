"""A drafted study loads, curates, and uses nothing silently that a person must decide on."""

from __future__ import annotations

import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.draft import draft_study
from scan2gene.cohorts.guess_columns import guess_age, guess_targets
from scan2gene.cohorts.guess_ids import guess_patients, id_pattern
from scan2gene.cohorts.label_table import read_table
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Study
from scan2gene.core.study_file import load_study
from scan2gene.imaging.index import index
from scan2gene.phantom.exams import write_cohort
from scan2gene.plan.choices import left_open


def draft(folder, scans, labels, *targets: str) -> tuple[Study, Curated, str]:
    """Draft, load and curate."""
    text = draft_study(scans, labels, folder / "study.yaml", targets)
    (folder / "study.yaml").write_text(text)
    study = load_study(folder / "study.yaml")
    return study, curate(study, index(study.cohort.scans)), text


def write_nifti(path, label: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.ones((6, 6, 6), np.uint8) if label else np.arange(216, dtype=np.float32).reshape(6, 6, 6)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def test_tcga_lgg_is_drafted_as_the_shipped_study_has_it(tmp_path, shared_data):
    study, found, text = draft(tmp_path, shared_data / "tcga_lgg" / "images", shared_data / "tcga_lgg" / "labels.csv")
    assert found.cohort["patient_id"].nunique() == 76  # three have no known mutation
    assert "# 79 of 79 scanned patients are in this table" in text
    assert {n: (r.kind, r.optional) for n, r in study.cohort.roles.items()} == {
        "flair": ("intensity", False),
        "t1": ("intensity", True),
        "t1c": ("intensity", True),
        "mask": ("label", False),
    }
    assert list(study.targets) == ["ATRX", "TP53", "IDH1"]
    assert study.cohort.site_column == "institution"
    assert study.cohort.clinical == ["age", "gender"]
    assert left_open(study) == ["preprocess", "splits", "runs", "data.batch_size", "data.augment"]
    assert found.cohort["role:t1c"].notna().sum() == 68
    # an outcome is offered with a word of warning, and only as a comment
    assert re.search(r"^  # death01: .*known only after the scan", text, re.MULTILINE)


def test_another_table_of_the_same_patients(tmp_path, shared_data):
    labels = shared_data / "tcga_gbm_lgg_mutations" / "TCGA_GBM_LGG_Mutations_all.csv"
    study, found, _ = draft(tmp_path, shared_data / "tcga_lgg" / "images", labels)
    assert study.cohort.patient_column == "Case_ID"
    assert study.cohort.unknown == ["--"]  # ages of five patients without scans
    assert found.cohort["clinical:Age_at_diagnosis"].notna().all()
    assert found.labels.groupby("target")["value"].sum().to_dict() == {"ATRX": 37, "IDH1": 58, "TP53": 44}


def test_a_column_may_be_asked_for(tmp_path, shared_data):
    study, found, _ = draft(
        tmp_path, shared_data / "tcga_lgg" / "images", shared_data / "tcga_lgg" / "labels.csv", "COC2", "gender"
    )
    assert list(study.targets) == ["COC2", "gender"]
    counts = found.labels.groupby("target")["value"].sum().to_dict()
    assert counts == {"COC2": 15, "gender": 36}
    with pytest.raises(CohortError, match="Did you mean 'COC2'"):
        draft_study(shared_data / "tcga_lgg" / "images", shared_data / "tcga_lgg" / "labels.csv", tmp_path, ["COC3"])
    labels = pd.read_csv(shared_data / "tcga_lgg" / "labels.csv", dtype=str)
    labels.assign(note="note " + labels.index.astype(str)).to_csv(tmp_path / "notes.csv", index=False)
    with pytest.raises(CohortError, match=r"note has neither 2 to 20 classes nor numbers.*'note 0' 1"):
        draft_study(shared_data / "tcga_lgg" / "images", tmp_path / "notes.csv", tmp_path, ["note"])


@pytest.mark.parametrize("organ", ["breast", "brain"])
def test_a_dicom_cohort_with_troubles(tmp_path, organ):
    sequences = ("t1c",) if organ == "breast" else ("flair", "t1c")
    write_cohort(tmp_path, 12, 2.0, organ, sequences, 3, troubles=True)
    study, found, text = draft(tmp_path, tmp_path / "scans", tmp_path / "labels.csv")
    assert found.cohort["patient_id"].tolist() == [f"SYN-{n:04d}" for n in range(12)]
    assert set(study.cohort.roles) == {*sequences, "mask"}
    assert study.cohort.exclude["StudyDescription"].startswith("BIOPSY")
    assert "12 of 13 scanned patients are in this table" in text
    taken = index(tmp_path / "scans").set_index("series_id").loc[found.cohort["role:t1c"], "SeriesDescription"]
    assert taken.str.contains("POST").all()


def test_flat_folders_of_images_and_labels(tmp_path, shared_data):
    source = shared_data / "msd_hippocampus"
    names = [f.name for f in sorted((source / "images").iterdir()) if (source / "labels" / f.name).exists()][:20]
    for kind in ("images", "labels"):
        (tmp_path / "scans" / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / kind / name, tmp_path / "scans" / kind / name)
    rows = [{"case": n.removesuffix(".nii.gz"), "relapse": "no" if i % 2 else "yes"} for i, n in enumerate(names)]
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    study, found, _ = draft(tmp_path, tmp_path / "scans", tmp_path / "labels.csv")
    assert len(found.cohort) == 20
    assert found.cohort["role:image"].str.contains("/images/").all()
    assert found.cohort["role:mask"].str.contains("/labels/").all()
    assert study.targets["relapse"].positive == ["yes"]
    assert study.cohort.clinical == []  # no age, no baseline


@pytest.mark.parametrize("sessions", [(), ("01", "02")])
@pytest.mark.parametrize("prefix", ["sub-", ""])
def test_a_bids_folder(tmp_path, sessions, prefix):
    rows = []
    for n in range(1, 13):
        for session in sessions or ("",):
            stem = f"sub-{n:02d}" + (f"_ses-{session}" if session else "")
            for suffix in ("T1w", "ce-gadolinium_T1w", "FLAIR"):
                write_nifti(tmp_path / stem.replace("_", "/") / "anat" / f"{stem}_{suffix}.nii.gz")
            write_nifti(tmp_path / "derivatives" / stem / "anat" / f"{stem}_label-lesion_mask.nii.gz", label=True)
        rows.append({"participant_id": f"{prefix}{n:02d}", "age": 40 + n, "idh": n % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "participants.tsv", sep="\t", index=False)
    study, found, _ = draft(tmp_path, tmp_path, tmp_path / "participants.tsv")
    assert study.cohort.patient_pattern == ("(sub-[A-Za-z0-9]+)" if prefix else "sub-([A-Za-z0-9]+)")
    assert len(found.cohort) == 12 * max(len(sessions), 1)
    assert found.cohort["role:t1c"].str.contains("ce-gadolinium").all()
    assert not found.cohort["role:t1"].str.contains("gadolinium").any()
    assert found.cohort["role:mask"].notna().all()


def test_upenns_follow_ups_do_not_count_a_patient_twice(tmp_path, shared_data):
    path = shared_data / "upenn_gbm_clinical" / "UPENN-GBM_clinical_info_v1.1.csv"
    table = read_table(path)
    ids = table["ID"]
    twice = ids[ids.str.endswith("_21")].str[:-3].head(5)
    mutated = ids[(table["IDH1"] == "Mutated") & ids.str.endswith("_11")].head(6)
    for exam in {*(twice + "_11"), *(twice + "_21"), *mutated, *ids[ids.str.endswith("_11")].head(12)}:
        for sequence in ("T1", "T1GD", "FLAIR"):
            write_nifti(tmp_path / "scans" / exam / f"{exam}_{sequence}.nii.gz")
    study, found, text = draft(tmp_path, tmp_path / "scans", path)
    assert found.cohort["patient_id"].is_unique
    assert found.cohort["patient_id"].str.fullmatch(r"UPENN-GBM-\d{5}").all()
    assert not found.cohort["role:t1c"].str.contains("_21_").any()
    assert study.targets["IDH1"].unknown == ["NOS/NEC"]
    assert "its ids end in 611 x _11, 60 x _21" in text
    assert study.cohort.clinical == ["Age_at_scan_years", "Gender"]
    assert "Survival" not in yaml.safe_dump(study.model_dump())


def test_ids_of_two_forms_are_those_of_the_folders(tmp_path, shared_data):
    source = shared_data / "breast_dce_phases"
    table = read_table(source / "labels.csv")
    few = table.groupby([table["patient_id"].str[:5], "HR"]).head(4)["patient_id"]
    for patient in few:
        shutil.copytree(source / "images" / patient, tmp_path / "scans" / patient)
    _, found, _ = draft(tmp_path, tmp_path / "scans", source / "labels.csv")
    assert set(found.cohort["patient_id"]) == set(few)
    assert few.str[:4].nunique() == 2  # ACRIN-6698-102212 and ISPY2-102011
    roles = found.cohort.filter(like="role:").apply(lambda column: column.str.rpartition("/")[2].unique().tolist())
    assert {r: [n] for r, (n,) in roles.items()} == {
        "role:pre": ["t0.nii.gz"], "role:post1": ["t1.nii.gz"], "role:post2": ["t2.nii.gz"],
    }  # fmt: skip


@pytest.mark.parametrize(
    "layout", ["{0}/t1.nii", "{0}/anat/t1.nii", "{0}_t1.nii", "all/x_{0}_t1.nii", "site/{0}/{0}_2020_t1.nii.gz"]
)
def test_ids_of_several_forms_are_found_wherever_they_stand(layout):
    ids = ["ACRIN-6698-102212", "ACRIN-6698-3", "ISPY2-102011", "ISPY2-99", "007", "X_Y_1", "Mueller 3"]
    below = ["/" + layout.format(i) for i in ids]
    pattern = id_pattern(below, ids, [True] * len(ids))
    assert pattern is not None
    assert [re.search(pattern, path)[1] for path in below] == ids


def test_ids_that_no_pattern_finds_are_said_to_be_the_trouble(tmp_path):
    rows = []
    for n in range(6):  # the id is now the folder, now a part of the file's name
        name = f"P{n}/t1.nii" if n % 2 else f"x/P{n}/P7{n}_t1.nii" if n else "P0_P72_t1.nii"
        write_nifti(tmp_path / "scans" / name)
        rows.append({"id": f"P{n}" if n else "P72", "idh": n % 2})
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    with pytest.raises(CohortError, match=r"column id .* no one pattern"):
        draft_study(tmp_path / "scans", tmp_path / "labels.csv", tmp_path / "s.yaml", ["idh"])


@pytest.mark.parametrize("name", ["P{}/t1.nii", "P{}_t1.nii"])
def test_ids_that_differ_in_zeros_are_said_to(tmp_path, name):
    for n in range(12):
        write_nifti(tmp_path / "scans" / name.format(f"{n:02d}"))
    labels = pd.DataFrame({"id": [f"P{n}" for n in range(12)], "idh": [n % 2 for n in range(12)]})
    labels.head(10).to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(CohortError, match=r"Column id has 10 ids .* zeros"):
        draft_study(tmp_path / "scans", tmp_path / "none.csv", tmp_path / "s.yaml")
    labels.to_csv(tmp_path / "some.csv", index=False)
    text = draft_study(tmp_path / "scans", tmp_path / "some.csv", tmp_path / "s.yaml")
    assert "# 2 of 12 scanned patients" in text and "zeros in front of a number" in text


def test_header_ids_that_the_table_has_with_a_suffix():
    series = pd.DataFrame({"patient_id": ["P1", "P2", "P3"], "format": "dicom"})
    table = pd.DataFrame({"id": ["P1_11", "P2_11", "P2_21", "P3_11"], "x": "0"})
    guess = guess_patients(series, ["/a#1/0", "/b#2/0", "/c#3/0"], table)
    assert guess is not None
    assert (guess.column, guess.label_id_pattern, guess.patient_pattern) == ("id", "^(.+)_11$", None)


def test_no_table_for_these_scans_is_an_error_in_words(tmp_path, shared_data):
    for n in range(3):
        write_nifti(tmp_path / f"P{n}" / "t1.nii.gz")
    with pytest.raises(CohortError, match=r"no column of MutationStatus_all_clean.csv holds ids.*'/P0/t1\.nii\.gz'"):
        draft_study(tmp_path, shared_data / "tcga_brca" / "MutationStatus_all_clean.csv", tmp_path / "s.yaml")
    with pytest.raises(CohortError, match="there is no label table"):
        draft_study(tmp_path, tmp_path / "participants.tsv", tmp_path / "s.yaml")


def test_dukes_targets_leave_treatment_and_recurrence_to_a_person(shared_data):
    table = read_table(shared_data / "duke_breast_clinical" / "Clinical_and_Other_Features.xlsx")
    found = {t.column: t for t in guess_targets(table, "Patient ID", table["Patient ID"])}
    assert (found["ER"].counts, found["ER"].doubts) == ((686, 236), ())
    assert (found["HER2"].counts, found["HER2"].doubts) == ((163, 759), ())
    for column in ("Recurrence event(s)", "Neoadjuvant Chemotherapy", "Adjuvant Radiation Therapy", "Surgery"):
        assert "only after the scan" in found[column].doubts[0], column
    for column in ("Rows", "Columns", "Patient Position During MRI"):
        assert found.get(column) is None or found[column].doubts, column


@pytest.mark.parametrize(
    ("name", "column", "age", "unknown"),
    [
        ("upenn_gbm_clinical/UPENN-GBM_clinical_info_v1.1.csv", "ID", "Age_at_scan_years", []),
        ("ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv", "ID", "Age at MRI", []),
        ("tcga_gbm_lgg_mutations/TCGA_GBM_LGG_Mutations_all.csv", "Case_ID", "Age_at_diagnosis", ["--"]),
        ("duke_breast_clinical/Clinical_and_Other_Features.xlsx", "Patient ID", None, []),  # at last contact, in days
    ],
)
def test_age_is_the_age_at_the_scan_or_nothing(shared_data, name, column, age, unknown):
    assert guess_age(read_table(shared_data / name), [column])[:2] == (age, unknown)


@given(st.lists(st.integers(0, 99999), min_size=2, max_size=20, unique=True), st.booleans())
def test_an_inferred_pattern_finds_every_id_in_its_path(numbers, padded):
    ids = [f"CASE-{n:05d}" if padded else f"c{n}" for n in numbers]
    below = [f"/site7/{i}/{i}_2020_t1.nii.gz" for i in ids]
    pattern = id_pattern(below, ids, [True] * len(ids))
    assert pattern is not None
    assert [re.search(pattern, path)[1] for path in below] == ids
