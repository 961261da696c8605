"""Every label table of the shared data read by its target's meaning, against a count by the csv module alone."""

from __future__ import annotations

import csv

import pytest
from toy import whole

from scan2gene.cohorts.guess_columns import guess_target
from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.labels import target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target

UCSF_IDH = {"positive": ["mutated*", "IDH1 p.*", "IDH2 p.*"]}
UCSF_MGMT = {"positive": ["positive"], "negative": ["negative"], "unknown": ["indeterminate"]}
CODELETED = {"positive": ["co-deletion", "relative co-deletion"], "negative": ["intact"]}
HER2 = {"positive": ["Positive"], "negative": ["Negative"], "unknown": ["Equivocal", "Indeterminate"]}
MGMT = {"positive": ["Methylated"], "negative": ["Unmethylated"], "unknown": ["Indeterminate"]}
UPENN, UCSF = "upenn_gbm_clinical/UPENN-GBM_clinical_info_v1", "ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv"
GBM = "tcga_gbm_mutation_labels/TCGA_GBM_mutation_labels_0"
TCGA = "tcga_gbm_lgg_mutations/TCGA_GBM_LGG_Mutations_all.csv"
BRCA, ISPY2 = "tcga_brca/MutationStatus_all_clean.csv", "ispy2_breast/metadata_spy2_vis1_for_modeling.csv"
# file, ids, column, target, then by hand: positive, negative; unset targets say what a study gets without a word
TABLES = [
    (f"{UPENN}.0.csv", "ID", "IDH1", {}, 19, 546),
    (f"{UPENN}.1.csv", "ID", "IDH1", {}, 19, 546),
    (f"{UPENN}.1.csv", "ID", "MGMT", MGMT, 121, 170),
    (UCSF, "ID", "IDH", UCSF_IDH, 103, 398),
    (UCSF, "ID", "MGMT status", UCSF_MGMT, 302, 114),
    (UCSF, "ID", "1p/19q", CODELETED, 15, 395),
    (UCSF, "ID", "WHO CNS Grade", {"positive": [4], "negative": [2, 3]}, 402, 99),
    (f"{GBM}1.csv", "TCGA_ID", "TP53_mut", {}, 118, 253),
    (f"{GBM}2.csv", "TCGA_ID", "TP53_mut", {}, 112, 259),
    (f"{GBM}2.csv", "TCGA_ID", "IDH_mut", {}, 24, 347),
    (TCGA, "Case_ID", "IDH1", {}, 414, 448),
    (TCGA, "Case_ID", "TP53", {}, 354, 508),
    (BRCA, "ID", "PIK3CA", {}, 247, 443),
    ("tcga_brca/ky_CliniUnOpHer2.csv", "ID", "her2", HER2, 86, 380),
    ("tcga_brca/ky_CliniUnOpHer2.csv", "ID", "er", {}, 544, 164),
    (ISPY2, "pid", "TripleNeg", {}, 359, 623),
    (ISPY2, "pid", "pCR", {}, 316, 666),
    ("tcga_lgg/labels.csv", "patient_id", "IDH", {}, 62, 14),
    ("tcga_lgg/labels.csv", "patient_id", "TP53", {}, 44, 32),
    ("tcga_lgg/labels.csv", "patient_id", "PTEN", {}, 1, 75),
    ("tcga_gbm_mutation_labels/processed_metadata.csv", "session", "TP53", {}, 17, 18),
]


def words(path, column: str) -> list[str]:
    """Cells of a column, by nothing but the csv module."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        separator = ";" if ";" in stream.readline() else ","
        stream.seek(0)
        return [row[column].strip().lower() for row in csv.DictReader(stream, delimiter=separator)]


def begins(cell: str, values: list) -> bool:
    return any(cell.startswith(v[:-1]) if v.endswith("*") else cell == v for v in (str(v).lower() for v in values))


@pytest.mark.parametrize(("file", "ids", "column", "meaning", "positive", "negative"), TABLES)
def test_the_counts_are_those_of_the_table(shared_data, file, ids, column, meaning, positive, negative):
    target = Target(column=column, **meaning)
    labels = target_labels(read_label_table(shared_data / file, ids), ids, {"x": target}, file)["value"]
    assert ((labels == 1).sum(), (labels == 0).sum()) == (positive, negative)
    cells = words(shared_data / file, column)
    assert positive == sum(begins(cell, target.positive) for cell in cells)
    assert negative == sum(begins(cell, target.negative) for cell in cells)


def test_a_table_without_ids_is_refused(shared_data):
    with pytest.raises(CohortError, match=r"patient_column 'Case_ID' is not known"):
        read_label_table(shared_data / "tcga_gbm_lgg_mutations" / "TCGA_InfoWithGrade.csv", "Case_ID")


def test_upenns_two_versions_agree_and_count_each_patient_once(go, shared_data):
    files = [shared_data / f"{UPENN}.{n}.csv" for n in (0, 1)]
    with files[1].open() as stream:
        known = {r["ID"][:-3]: r["IDH1"] for r in csv.DictReader(stream) if r["IDH1"] != "NOS/NEC"}
    some = [next(p for p, v in known.items() if v == value) for value in ("Mutated", "Wildtype")]
    found = go(
        whole(*some), label_file=files, targets={"IDH1": {}}, patient_column="ID", label_id_pattern=r"(.+)_\d\d$"
    )
    assert found.labels["value"].tolist() == [float(known[p] == "Mutated") for p in sorted(some)]


def test_a_table_with_dots_in_its_tcga_ids_is_explained(go, shared_data):
    with pytest.raises(CohortError, match=r"if dots, dashes or underscores did not count"):
        go(whole("TCGA-3C-AAAU"), label_file=shared_data / BRCA, targets={"TP53": {}}, patient_column="ID")


def test_whole_cells_go_before_beginnings(go):
    table = "patient_id,IDH\nP1,IDH1 p.R132H\nP2,IDH1 p.=\nP3,wildtype\n"
    targets = {"IDH": {"positive": ["IDH1 p.*"], "negative": ["wildtype", "IDH1 p.="]}}
    assert go(whole("P1", "P2", "P3"), table, targets).labels["value"].tolist() == [1, 0, 0]


def test_ucsfs_many_spellings_of_a_mutation_are_guessed_as_one_class(shared_data):
    table = read_label_table(shared_data / UCSF, "ID")
    guess = guess_target(table, "ID", "IDH")
    assert guess is not None
    assert (guess.counts, guess.negative, len(guess.positive)) == ((103, 398), ("wildtype",), 8)
    target = Target(positive=list(guess.positive), negative=list(guess.negative))
    labels = target_labels(table, "ID", {"IDH": target.model_copy(update={"column": "IDH"})}, UCSF)["value"]
    assert labels.value_counts().to_dict() == {0: 398, 1: 103}
    assert guess_target(table, "ID", "Final pathologic diagnosis (WHO 2021)") is None
