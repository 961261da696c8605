"""Real genomic tables; the expected counts are those of the SOURCE.md files."""

from __future__ import annotations

import pandas as pd
import pytest

from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.labels import parse_number, patient_values, target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target

MUTATED = Target(positive=["MUTATED"], negative=["NOT_MUTATED"])


def test_a_table_with_merge_conflict_markers_is_refused_with_the_line(shared_data):
    with pytest.raises(CohortError, match=r"mh_MutationStatus_all\.csv:1 holds a merge-conflict marker"):
        read_label_table(shared_data / "tcga_brca" / "mh_MutationStatus_all.csv", "ID")


def test_the_brca_mutation_table_is_read(shared_data):
    table = read_label_table(shared_data / "tcga_brca" / "MutationStatus_all_clean.csv", "ID")
    genes = {"BRCA1": 33, "TP53": 235, "PIK3CA": 247, "PTEN": 76, "ERBB2": 86}
    labels = target_labels(table, "ID", {g: Target() for g in genes}, "t")
    assert labels.groupby("target")["value"].sum().to_dict() == genes
    assert labels.groupby("target")["value"].count().unique().tolist() == [690]


def test_her2_as_text_is_refused_until_every_value_has_a_meaning(shared_data):
    table = read_label_table(shared_data / "tcga_brca" / "ky_CliniUnOpHer2.csv", "ID")
    target = Target(positive=["Positive"], negative=["Negative"])
    with pytest.raises(CohortError, match=r"'equivocal' in 134 rows"):
        target_labels(table, "ID", {"her2": target}, "t")


@pytest.mark.parametrize(
    ("project", "mutated"),
    [
        ("TCGA-GBM", {"IDH1": 23, "IDH2": 2, "TP53": 116, "PTEN": 119, "EGFR": 83}),
        ("TCGA-LGG", {"IDH1": 391, "IDH2": 21, "TP53": 238, "ATRX": 185}),
    ],
)
def test_the_glioma_mutation_table_is_read(shared_data, project, mutated):
    table = read_label_table(shared_data / "tcga_gbm_lgg_mutations" / "TCGA_GBM_LGG_Mutations_all.csv", "Case_ID")
    assert len(table) == 862
    part = table[table["Project"] == project]
    assert len(part) == {"TCGA-GBM": 363, "TCGA-LGG": 499}[project]
    labels = target_labels(part, "Case_ID", dict.fromkeys(mutated, MUTATED), "t")
    assert labels.groupby("target")["value"].sum().to_dict() == mutated
    assert (labels.groupby("target")["value"].count() == len(part)).all()


def test_an_age_in_years_and_days_is_read(shared_data):
    table = read_label_table(shared_data / "tcga_gbm_lgg_mutations" / "TCGA_GBM_LGG_Mutations_all.csv", "Case_ID")
    ages = patient_values(table, "Case_ID", ["Age_at_diagnosis"])["Age_at_diagnosis"].map(parse_number)
    assert ages["TCGA-DU-8164"] == pytest.approx(51.3, abs=0.01)  # '51 years 108 days'; 51.3 in the UCI table
    assert ages.isna().sum() <= 0.01 * len(ages)
    assert ages.dropna().between(14, 90).all()


def test_upenns_nos_is_unknown_unless_a_study_says_otherwise(shared_data):
    table = read_label_table(shared_data / "upenn_gbm_clinical" / "UPENN-GBM_clinical_info_v1.1.csv", "ID")
    assert len(table) == 671
    with pytest.raises(CohortError) as caught:
        target_labels(
            table, "ID", {"IDH1": Target(positive=["Mutated"], negative=["Wildtype"], unknown=[])}, "upenn.csv"
        )
    assert "upenn.csv, target IDH1: 'nos/nec' in 106 rows" in str(caught.value)
    labels = target_labels(table, "ID", {"IDH1": Target()}, "upenn.csv")
    assert labels["value"].value_counts().to_dict() == {0.0: 546, 1.0: 19}


def test_not_available_is_unknown_and_not_unmethylated(shared_data):
    table = read_label_table(shared_data / "upenn_gbm_clinical" / "UPENN-GBM_clinical_info_v1.1.csv", "ID")
    mgmt = Target(positive=["Methylated"], negative=["Unmethylated"], unknown=["Indeterminate"])
    labels = target_labels(table, "ID", {"MGMT": mgmt}, "upenn.csv")
    assert labels["value"].value_counts().to_dict() == {0.0: 170, 1.0: 121}


def gbm_tables(folder):
    return [read_label_table(folder / f"TCGA_GBM_mutation_labels_0{n}.csv", "TCGA_ID") for n in (1, 2)]


def test_semicolons_and_a_header_with_a_trailing_comma_are_read(shared_data):
    first, second = gbm_tables(shared_data / "tcga_gbm_mutation_labels")
    assert len(first) == len(second) == 371
    genes = {"IDH_mut": 24, "EGFR_mut": 82, "TP53_mut": 112, "PTEN_mut": 120}
    labels = target_labels(second, "TCGA_ID", {g: Target() for g in genes}, "t")
    assert labels.groupby("target")["value"].sum().to_dict() == genes


def test_two_versions_of_one_table_are_refused_with_every_patient_they_disagree_on(shared_data):
    both = pd.concat(gbm_tables(shared_data / "tcga_gbm_mutation_labels"), ignore_index=True)
    both.index += 2
    genes = ["IDH2_mut", "EGFR_mut", "TP53_mut", "PTEN_mut"]
    with pytest.raises(CohortError) as caught:
        target_labels(both, "TCGA_ID", {g: Target() for g in genes}, "both.csv")
    lines = str(caught.value).splitlines()
    counts = {g: sum(f"{g}=1 at both.csv:" in line for line in lines) for g in genes}
    assert counts == {"IDH2_mut": 1, "EGFR_mut": 3, "TP53_mut": 6, "PTEN_mut": 3}
    assert len(lines) == 13


def test_molecular_subtypes_count_as_the_tables_do_by_hand(shared_data):
    duke = shared_data / "duke_breast_clinical" / "Clinical_and_Other_Features.xlsx"
    classes = {"luminal": [0], "luminal_her2": [1], "her2": [2], "triple_negative": [3]}
    target = Target.model_validate({"column": "Mol Subtype", "classes": classes})
    labels = target_labels(read_label_table(duke, "Patient ID"), "Patient ID", {"subtype": target}, "duke.xlsx")
    assert labels["label"].value_counts().to_dict() == {
        "luminal": 595, "luminal_her2": 104, "her2": 59, "triple_negative": 164,
    }  # fmt: skip


def test_words_for_subtypes_are_joined_by_an_asterisk_and_ages_cut_by_a_limit(shared_data):
    mama = shared_data / "mama_mia_clinical" / "clinical_and_imaging_info.xlsx"
    subtype = {"column": "tumor_subtype", "classes": {"luminal": "luminal*", "her2": "her2*", "tn": "triple_negative"}}
    targets = {"subtype": Target.model_validate(subtype), "old": Target(column="age", above=50)}
    labels = target_labels(read_label_table(mama, "patient_id"), "patient_id", targets, "mama.xlsx")
    words, ages = (pd.read_excel(mama)[column].dropna() for column in ("tumor_subtype", "age"))
    found = labels.groupby("target")["label"].value_counts().to_dict()
    assert found == {
        ("subtype", "luminal"): 381 + 155 + 211, ("subtype", "her2"): 169 + 65, ("subtype", "tn"): 499,
        ("old", "positive"): int((ages > 50).sum()), ("old", "negative"): int((ages <= 50).sum()),
    }  # fmt: skip
    assert found["subtype", "luminal"] == words.str.startswith("luminal").sum()
