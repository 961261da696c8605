"""The cards of public cohorts on the real label tables, and every table of the shared data accounted for."""

from __future__ import annotations

import csv
import re
from collections import Counter

import pytest
from test_labels_everywhere import TABLES as COUNTED

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.genomics import read_sequenced
from scan2gene.cohorts.ids import label_patients
from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.labels import target_labels, without_unknown
from scan2gene.cohorts.public import COHORTS
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort, Target

GBM = "tcga_gbm_mutation_labels"
UPENN = "upenn_gbm_clinical/UPENN-GBM_"
DUKE = "duke_breast_clinical/Clinical_and_Other_Features.xlsx"
ISPY2 = "ispy2_breast/metadata_spy2_vis1_for_modeling.csv"
# cohort, table, then by hand: target -> (positive, negative) patients
BY_HAND = [
    ("upenn-gbm", f"{UPENN}clinical_info_v1.0.csv", {"IDH1": (16, 499), "MGMT": (111, 151)}),
    ("upenn-gbm", f"{UPENN}clinical_info_v1.1.csv", {"IDH1": (16, 499), "MGMT": (111, 151)}),
    (
        "ucsf-pdgm",
        "ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv",
        {"IDH": (103, 398), "MGMT": (302, 114), "codeleted": (15, 395)},
    ),
    ("duke-breast-cancer-mri", DUKE, {"ER": (686, 236), "HER2": (163, 759), "triple_negative": (164, 758)}),
    ("ispy2", ISPY2, {"triple_negative": (359, 623), "HER2": (242, 740), "pCR": (316, 666)}),
]
# Tables that are no labels of patients, and where a test reads or refuses them.
OTHERS = {
    f"{UPENN}data_availability.csv": "below",
    f"{GBM}/matched_ids_idh.csv": "below",
    f"{GBM}/mri_session_index.csv": "below",
    f"{GBM}/mri_first_session_index.csv": "below",
    "tcga_brca/mh_MutationStatus_all.csv": "test_labels_real.py: refused, merge-conflict markers",
    "tcga_gbm_lgg_mutations/TCGA_InfoWithGrade.csv": "test_labels_everywhere.py: refused, no ids",
    "ucsf_pdgm_radiomics/jmh_radiomic_features_T1gad_bias.csv": "features, no labels: below",
}


def rules_of(name: str) -> Cohort:
    return Cohort.model_validate({"scans": ["."], "labels": "x.csv", **COHORTS[name].cohort})


def rows(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(("name", "file", "counts"), BY_HAND)
def test_a_cards_targets_count_as_the_table_does_by_hand(shared_data, name, file, counts):
    rules = rules_of(name)
    table = without_unknown(read_label_table(shared_data / file, rules.patient_column), rules.unknown)
    table = label_patients(table, rules, Flow())
    targets = {target: Target.model_validate(value) for target, value in COHORTS[name].targets.items()}
    labels = target_labels(table, rules.patient_column, targets, file)
    found = {t: (int((part == 1).sum()), int((part == 0).sum())) for t, part in labels.groupby("target")["value"]}
    assert found == counts
    assert not labels.duplicated(["patient_id", "target"]).any()


def test_upenns_follow_up_rows_are_not_counted_twice(shared_data):
    table = rows(shared_data / f"{UPENN}clinical_info_v1.1.csv")
    before = [r for r in table if r["ID"].endswith("_11")]
    assert (len(table), len(before)) == (671, 611)
    assert Counter(r["IDH1"] for r in before) == {"Wildtype": 499, "NOS/NEC": 96, "Mutated": 16}


def test_every_table_that_a_test_names_is_there(shared_data):
    named = {row[0] for row in COUNTED} | {file for _, file, _ in BY_HAND} | set(OTHERS)
    assert len(named) > 15
    assert not [file for file in sorted(named) if not (shared_data / file).is_file()]


def test_what_is_available_is_no_label_but_can_be_counted(shared_data):
    path = shared_data / f"{UPENN}data_availability.csv"
    table = read_label_table(path, "ID")
    words = Counter(r["IDH1"] for r in rows(path))
    assert words == {"available": 565, "not available": 106}
    with pytest.raises(CohortError, match=r"'available' in 565 rows"):
        target_labels(table, "ID", {"IDH1": Target()}, path.name)
    labels = target_labels(table, "ID", {"IDH1": Target(positive=["available"])}, path.name)
    assert labels["value"].tolist() == [1] * 565  # "not available" is unknown, not 0


def test_the_157_matched_patients_have_the_sources_counts(shared_data):
    path = shared_data / GBM / "matched_ids_idh.csv"
    rules = rules_of("tcga-gbm").model_copy(update={"patient_column": path.stem})
    listed, owners = read_sequenced(path, rules)
    assert (len(listed), owners) == (157, {})
    table = read_label_table(shared_data / GBM / "TCGA_GBM_mutation_labels_02.csv", "TCGA_ID")
    genes = {"IDH_mut": 12, "TP53_mut": 53, "PTEN_mut": 54, "EGFR_mut": 32}
    labels = target_labels(table[table["TCGA_ID"].isin(listed)], "TCGA_ID", dict.fromkeys(genes, Target()), "t")
    assert labels.groupby("target")["value"].sum().to_dict() == genes
    assert labels.groupby("target")["value"].count().unique().tolist() == [157]


def test_sessions_of_one_patient_agree_and_count_once(shared_data):
    path = shared_data / GBM / "processed_metadata.csv"
    genes = {"TP53": (7, 10), "PTEN": (3, 14), "IDH": (2, 15), "EGFR": (1, 16)}
    labels = target_labels(read_label_table(path, "patient"), "patient", dict.fromkeys(genes, Target()), path.name)
    found = {g: (int((v == 1).sum()), int((v == 0).sum())) for g, v in labels.groupby("target")["value"]}
    assert found == genes
    assert len(rows(path)) == 35


@pytest.mark.parametrize(("file", "sessions"), [("mri_session_index.csv", 128), ("mri_first_session_index.csv", 62)])
def test_the_session_tables_are_read_and_hold_no_label(shared_data, file, sessions):
    table = read_label_table(shared_data / GBM / file, "Patient")
    assert (len(table), table["Patient"].nunique()) == (sessions, 62)
    with pytest.raises(CohortError, match="column 'IDH' is not known; valid: Patient"):
        target_labels(table, "Patient", {"IDH": Target()}, file)


def test_the_feature_table_has_the_patients_of_its_label_table(shared_data):
    features = rows(shared_data / "ucsf_pdgm_radiomics/jmh_radiomic_features_T1gad_bias.csv")
    labels = rows(shared_data / "ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv")
    assert sorted(r["ID"] for r in features) == sorted(r["ID"] for r in labels)
    pattern = re.compile(COHORTS["ucsf-pdgm"].cohort["patient_pattern"])
    assert [pattern.search(r["Image"])[1] for r in features] == [pattern.search(r["ID"])[1] for r in features]
    roles = COHORTS["ucsf-pdgm"].cohort["roles"]
    fits = {name for name, role in roles.items() if re.search(role["match"]["path"], features[0]["Image"])}
    assert (len(features), fits) == (501, {"t1c"})
