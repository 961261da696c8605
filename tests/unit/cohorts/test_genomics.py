"""Labels from mutation tables (MAF): what counts as mutated, who was sequenced, and tables that disagree."""

from __future__ import annotations

import csv
import gzip

import nibabel as nib
import numpy as np
import pytest
from toy import IDH, ROLES, curate_genes, labels, reasons, whole

from scan2gene.cohorts.curate import curate
from scan2gene.cohorts.draft import draft_study
from scan2gene.cohorts.genomics import mutation_files
from scan2gene.cohorts.label_table import read_labels
from scan2gene.cohorts.maf import is_maf, read_maf
from scan2gene.cohorts.variants import VARIANTS, is_hotspot, protein_change, tcga_patient
from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.study import Study, study_hash
from scan2gene.core.study_cohort import Cohort, label_files
from scan2gene.core.study_file import load_study, study_text
from scan2gene.imaging.index import index

COLUMNS = ("Hugo_Symbol", "Center", "Variant_Classification", "Tumor_Sample_Barcode", "HGVSp_Short")
ROWS = (
    ("IDH1", "BI", "Missense_Mutation", "P1", "p.R132H"),
    ("TP53", "BI", "Silent", "P2", "p.S6="),
    ("IDH1", "BI", "Intron", "P2", ""),
    ("IDH2", "BI", "Missense_Mutation", "P3", "p.R172K"),
    ("TTN", "BI", "Missense_Mutation", "P4", "p.A1V"),
)


@pytest.fixture
def maf(tmp_path):
    """`maf(rows)` writes a mutation table and returns its path."""

    def write(rows=ROWS, name="tumours.maf", columns=COLUMNS, comment="#version 2.4\n"):
        text = comment + "\n".join("\t".join(row) for row in (columns, *rows)) + "\n"
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", ["tumours.maf", "tumours.maf.gz", "data_mutations.txt"])
def test_a_gene_group_is_positive_where_one_gene_is_mutated(go, maf, name):
    found = curate_genes(go, maf(name=name), "P1", "P2", "P3", "P4", "P5")
    # P2's mutations do not change the protein; P4 was sequenced without one in IDH; nothing is known of P5
    assert labels(found) == {"P1": 1, "P2": 0, "P3": 1, "P4": 0}
    assert reasons(found)["exam-P5"] == "patient is not among the sequenced"
    places = dict(zip(found.labels["patient_id"], found.labels["source"], strict=True))
    assert places == {"P1": f"{name}:3", "P2": f"{name}:4", "P3": f"{name}:6", "P4": f"{name}:7"}
    assert any("no cohort.sequenced" in r for r in found.exclusions["reason"])


def test_sequenced_without_a_row_is_wild_type_and_not_sequenced_is_unknown(go, maf, tmp_path):
    (tmp_path / "sequenced.txt").write_text("P1\nP2\nP3\nP6\n")
    found = curate_genes(go, maf(), "P1", "P2", "P3", "P4", "P5", "P6", sequenced=str(tmp_path / "sequenced.txt"))
    assert labels(found) == {"P1": 1, "P2": 0, "P3": 1, "P6": 0}
    assert reasons(found)["P4"] == "has mutations, but is not in the list of the sequenced"
    assert not any("no cohort.sequenced" in r for r in found.exclusions["reason"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cases_sequenced.txt", "stable_id: x\ncase_list_name: a b\ncase_list_ids: S1\tS2\tS3\tS6\n"),
        ("samples.csv", "sample_id,site\nS1,A\nS2,A\nS3,B\nS6,B\n"),
        ("list.txt", "sample_id\nS1\nS2\nS3\nS6\n"),
    ],
)
def test_lists_of_the_sequenced_are_read_as_people_have_them(go, maf, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    path = maf([[cell.replace("P", "S") if cell[1:].isdigit() else cell for cell in row] for row in ROWS])
    found = curate_genes(go, path, "1", "2", "3", "6", sequenced=str(tmp_path / name), label_id_pattern=r"S(\d)")
    assert labels(found) == {"1": 1, "2": 0, "3": 1, "6": 0}


def test_cbioportals_clinical_samples_say_whose_sample_is_whose(go, maf, tmp_path):
    lines = ["#Patient\tSample", "#STRING\tSTRING", "PATIENT_ID\tSAMPLE_ID"]
    lines += [f"X{n}\tP{n}" for n in (1, 2, 3, 6)] + ["X1\tP1b"]
    (tmp_path / "data_clinical_sample.txt").write_text("\n".join(lines) + "\n")
    found = curate_genes(go, maf(), "X1", "X2", "X3", "X6", sequenced=str(tmp_path / "data_clinical_sample.txt"))
    assert labels(found) == {"X1": 1, "X2": 0, "X3": 1, "X6": 0}  # X1 has a mutated sample and one without


def test_a_column_may_say_who_was_sequenced(go, maf, tmp_path):
    table = "patient_id,wes,age\nP1,yes,50\nP2,1,40\nP3,no,30\nP4,,20\nP7,Yes,60\n"
    found = go(
        whole("P1", "P2", "P3", "P4", "P7"), table, IDH, mutations=str(maf()), sequenced_column="wes", clinical=["age"]
    )
    assert labels(found) == {"P1": 1, "P2": 0, "P7": 0}
    assert found.cohort["clinical:age"].tolist() == [50, 40, 60]
    with pytest.raises(CohortError, match="sequenced_column wes: 'perhaps' is neither yes"):
        go(whole("P1"), table.replace("no", "perhaps"), IDH, mutations=str(maf()), sequenced_column="wes")


def test_the_classes_that_count_are_those_that_change_the_protein(go, maf):
    rows = [("IDH1", "BI", name, f"P{n}", "") for n, name in enumerate(VARIANTS)]
    found = curate_genes(go, maf(rows), *(f"P{n}" for n in range(len(rows))))
    names = dict(enumerate(VARIANTS))
    negative = {names[int(p[1:])] for p, value in labels(found).items() if not value}
    assert negative == {
        "Silent", "Splice_Region", "Intron", "3'UTR", "5'UTR", "3'Flank", "5'Flank", "IGR", "RNA", "lincRNA",
        "Targeted_Region", "Fusion",
    }  # fmt: skip
    assert len(labels(found)) == len(VARIANTS)


def test_a_target_may_name_its_classes_and_its_hotspots(go, maf):
    rows = [
        ("TERT", "BI", "5'Flank", "P1", ""),
        ("IDH1", "BI", "Missense_Mutation", "P1", "p.R132H"),
        ("IDH1", "BI", "Missense_Mutation", "P2", "p.R132C"),
        ("IDH1", "BI", "Missense_Mutation", "P3", "p.R1323H"),
        ("TERT", "BI", "Silent", "P3", ""),
    ]
    targets = {
        "promoter": {"genes": ["TERT"], "variants": ["5'Flank"]},
        "R132H": {"genes": ["IDH1"], "hotspots": ["R132H"]},
        "R132": {"genes": ["IDH1"], "hotspots": ["p.R132"]},
    }
    found = curate_genes(go, maf(rows), "P1", "P2", "P3", targets=targets)
    assert labels(found, "promoter") == {"P1": 1, "P2": 0, "P3": 0}
    assert labels(found, "R132H") == {"P1": 1, "P2": 0, "P3": 0}
    assert labels(found, "R132") == {"P1": 1, "P2": 1, "P3": 0}


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("p.R132H", "R132H"), ("p.Arg132His", "R132H"), ("ENSP00000260985.2:p.Arg132His", "R132H"),
        ("p.Gln61Ter", "Q61*"), ("p.D770_N771insGLY", "D770_N771INSGLY"), ("", ""),
    ],
)  # fmt: skip
def test_changes_of_the_protein_have_one_spelling(text, short):
    assert protein_change(text) == short
    assert is_hotspot(short, [text]) is bool(short) or not short


@pytest.mark.parametrize(
    ("sample", "patient"),
    [
        ("TCGA-02-0003-01A-01D-1490-08", ("TCGA-02-0003", True)),
        ("TCGA-02-0003-02", ("TCGA-02-0003", True)),
        ("TCGA-02-0003-10A-01D-1490-08", ("TCGA-02-0003", False)),
        ("TCGA-02-0003-20A", ("TCGA-02-0003", False)),
        ("TCGA-02-0003", ("TCGA-02-0003", True)),
        ("UPENN-GBM-00001_11", None),
    ],
)
def test_tcga_barcodes_tell_patient_and_tissue(sample, patient):
    assert tcga_patient(sample) == patient


def test_tcga_barcodes_are_cut_and_normal_samples_do_not_count(go, maf):
    rows = [
        ("IDH1", "BI", "Missense_Mutation", "TCGA-02-0001-01A-01D-1490-08", "p.R132H"),
        ("IDH1", "BI", "Missense_Mutation", "TCGA-02-0002-10A-01D-1490-08", "p.R132H"),
        ("TP53", "BI", "Silent", "TCGA-02-0002-01A-01D-1490-08", ""),
    ]
    found = curate_genes(go, maf(rows), "TCGA-02-0001", "TCGA-02-0002")
    assert labels(found) == {"TCGA-02-0001": 1, "TCGA-02-0002": 0}
    assert "normal sample of a TCGA patient" in found.exclusions["reason"].tolist()


def test_a_validated_absence_is_no_mutation(maf):
    columns = (*COLUMNS, "Validation_Status")
    calls = read_maf(maf([(*ROWS[0], "Invalid"), (*ROWS[3], "Valid")], columns=columns), {"IDH1", "IDH2"})
    assert [c.gene for c in calls.calls] == ["IDH2"]
    assert set(calls.samples) == {"P1", "P3"}


@pytest.mark.parametrize(
    ("rows", "targets", "message"),
    [
        ([("IDH1", "BI", "Mis-sense", "P1", "")], IDH, r"tumours.maf:3: variant class 'Mis-sense' is not one of"),
        (ROWS, {"IDH": {"genes": ["IDH11"]}}, r"targets.IDH.genes: IDH11 has no row .* Did you mean 'IDH1'"),
        ([("IDH1", "BI")], IDH, r"tumours.maf:3 is cut short"),
        (ROWS, {"IDH": {"genes": ["IDH1"], "variants": ["flank"]}}, r"targets.IDH.variants: variant class 'flank'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(go, maf, rows, targets, message):
    with pytest.raises(CohortError, match=message):
        curate_genes(go, maf(rows), "P1", "P2", targets=targets)


def test_files_that_are_no_mutation_tables_are_refused(go, maf, tmp_path):
    with pytest.raises(CohortError, match=r"lacks Variant_Classification.* a column per gene is cohort.labels"):
        curate_genes(go, maf(columns=("Hugo_Symbol", "a", "b", "Tumor_Sample_Barcode", "c")), "P1")
    whole_file = maf(name="cut.maf.gz")
    whole_file.write_bytes(whole_file.read_bytes()[:-12])
    with pytest.raises(CohortError, match="cut short"):
        curate_genes(go, whole_file, "P1")
    with pytest.raises(CohortError, match=r"targets.IDH.hotspots: .* no column HGVSp_Short"):
        path = maf([row[:4] for row in ROWS], columns=COLUMNS[:4])
        curate_genes(go, path, "P1", targets={"IDH": {"genes": ["IDH1"], "hotspots": ["R132H"]}})
    assert is_maf(maf()) and not is_maf(tmp_path / "nothing.maf")


def test_mutations_that_contradict_the_table_are_named_with_both_places(go, maf):
    table = "patient_id,idh\nP1,0\nP2,0\nP3,1\nP4,1\n"
    with pytest.raises(CohortError) as caught:
        go(
            whole("P1", "P2", "P3", "P4"), table, {"IDH": {"genes": ["IDH1", "IDH2"], "column": "idh"}},
            mutations=str(maf()),
        )  # fmt: skip
    first, second = str(caught.value).splitlines()
    assert "patient P1 has IDH=1 at tumours.maf:3 and IDH=0 at labels.csv:2" in first
    assert "patient P4 has IDH=0 at tumours.maf:7 and IDH=1 at labels.csv:5" in second


def test_two_versions_of_the_gbm_table_listed_together_are_refused_cell_by_cell(go, shared_data):
    files = [shared_data / "tcga_gbm_mutation_labels" / f"TCGA_GBM_mutation_labels_0{n}.csv" for n in (1, 2)]
    tables = [list(csv.DictReader(f.open(), delimiter=d)) for f, d in zip(files, ";,", strict=True)]
    genes = ("IDH1", "IDH2", "EGFR", "TP53", "PTEN")
    second = {r["TCGA_ID"]: (line, r) for line, r in enumerate(tables[1], start=2)}
    expected = {
        f"patient {r['TCGA_ID']} has {g}={r[f'{g}_mut']} at {files[0].name}:{line} and "
        f"{g}={other[f'{g}_mut']} at {files[1].name}:{n}."
        for line, r in enumerate(tables[0], start=2)
        for g in genes
        for n, other in [second[r["TCGA_ID"]]]
        if r[f"{g}_mut"] != other[f"{g}_mut"]
    }
    assert len(expected) == 13
    targets = {g: {"column": f"{g}_mut"} for g in genes}
    with pytest.raises(CohortError) as caught:
        go(whole("TCGA-02-0003"), label_file=files, targets=targets, patient_column="TCGA_ID")
    assert {line.partition(" Delete")[0] for line in str(caught.value).splitlines()} == expected


def test_tables_that_agree_add_up(go, tmp_path):
    (tmp_path / "a.csv").write_text("patient_id,IDH,age\nP1,1,50\nP2,0,40\n")
    (tmp_path / "b.csv").write_text("patient_id,IDH,TP53\nP2,0,1\nP3,1,0\n")
    found = go(
        whole("P1", "P2", "P3"), targets={"IDH": {}, "TP53": {}}, label_file=[tmp_path / "a.csv", tmp_path / "b.csv"],
    )  # fmt: skip
    assert labels(found) == {"P1": 1, "P2": 0, "P3": 1}
    assert labels(found, "TP53") == {"P2": 1, "P3": 0}


def study(tmp_path, cohort: str, targets: str) -> Study:
    roles = "roles: {t1: {match: {SeriesDescription: t1}}}"
    (tmp_path / "s.yaml").write_text(f"name: s\ncohort: {{scans: [x], {cohort}, {roles}}}\ntargets: {targets}\n")
    return load_study(tmp_path / "s.yaml")


def test_paths_are_taken_from_the_studys_folder_and_travel(tmp_path):
    found = study(tmp_path, "mutations: a.maf, sequenced: c.txt, labels: [l.csv, m.csv]", "{I: {genes: [IDH1]}}")
    assert found.cohort.mutations == str(tmp_path / "a.maf")
    assert found.cohort.sequenced == str(tmp_path / "c.txt")
    assert label_files(found.cohort) == [str(tmp_path / "l.csv"), str(tmp_path / "m.csv")]
    (tmp_path / "again.yaml").write_text(study_text(found))
    assert load_study(tmp_path / "again.yaml") == found
    (tmp_path / "b").mkdir()
    moved = study(tmp_path / "b", "mutations: a.maf, sequenced: c.txt, labels: [l.csv, m.csv]", "{I: {genes: [IDH1]}}")
    assert study_hash(moved) == study_hash(found)


@pytest.mark.parametrize(
    ("cohort", "targets", "message"),
    [
        ("site_column: a", "{I: {}}", "labels is missing"),
        ("labels: a.csv", "{I: {genes: [IDH1]}}", "needs cohort.mutations"),
        ("mutations: a.maf", "{I: {}}", r"targets.I needs cohort.labels with its column, or genes: \[I\]"),
        ("mutations: a.maf, clinical: [age]", "{I: {genes: [A]}}", "clinical is a column of the label table"),
        ("labels: a.csv, sequenced: b", "{I: {}}", "go with mutations"),
        ("labels: a.csv", "{I: {hotspots: [R132H]}}", "hotspots and variants go with genes"),
    ],
)
def test_half_a_wish_is_refused(tmp_path, cohort, targets, message):
    with pytest.raises(StudyError, match=message):
        study(tmp_path, cohort, targets)


def test_a_folder_without_mutation_files_is_said(tmp_path):
    rules = Cohort(scans=["x"], mutations=str(tmp_path), roles=ROLES)
    with pytest.raises(CohortError, match=r"holds no \.maf"):
        mutation_files(rules)
    assert read_labels(rules).columns.tolist() == ["patient_id"]


def test_a_maf_is_drafted_into_a_study_that_reads_the_same(tmp_path, shared_data):
    """A MAF made from the real table of mutations gives the labels of that table."""
    with (shared_data / "tcga_lgg" / "labels.csv").open() as stream:
        real = {r["patient_id"]: r for r in csv.DictReader(stream) if r["IDH"]}
    genes = ("IDH1", "IDH2", "TP53", "ATRX", "EGFR")
    rows = [
        (g, "x", "Missense_Mutation" if r[g] == "1" else "Silent", f"{p}-01A-11D-1", "") for p, r in real.items()
        for g in genes
    ]  # fmt: skip
    lines = ["#version gdc-1.0.0", "\t".join(COLUMNS), *map("\t".join, rows)]
    (tmp_path / "lgg.maf.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for patient in real:
        (tmp_path / "scans" / patient).mkdir(parents=True)
        volume = nib.Nifti1Image(np.arange(216, dtype=np.float32).reshape(6, 6, 6), np.eye(4))
        nib.save(volume, tmp_path / "scans" / patient / "flair.nii.gz")
    text = draft_study(tmp_path / "scans", tmp_path / "lgg.maf.gz", tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text(text)
    study = load_study(tmp_path / "s.yaml")
    assert list(study.targets) == ["ATRX", "TP53", "IDH"]
    assert study.targets["IDH"].genes == ["IDH1", "IDH2"]
    found = curate(study, index(study.cohort.scans))
    for target in study.targets:
        assert labels(found, target) == {p: int(r[target]) for p, r in real.items()}


def test_sides_dates_and_sites_come_from_the_table_beside_the_mutations(go, maf):
    table = "patient_id,side,cancer,site,biopsy\nP1,L,1,A,2020-01-05\nP1,R,0,A,2020-01-05\nP2,L,0,B,2020-01-09\n"
    found = go(
        whole("P1", "P2", "P4"), table, {**IDH, "cancer": {}}, mutations=str(maf()), side_column="side",
        site_column="site", dates={"reference_column": "biopsy", "window_days": [-30, 0]},
    )  # fmt: skip
    assert labels(found) == {"P1": 1, "P2": 0}
    rows = found.labels[found.labels["target"] == "cancer"]
    assert set(zip(rows["patient_id"], rows["side"], rows["value"], strict=True)) == {
        ("P1", "L", 1), ("P1", "R", 0), ("P2", "L", 0),
    }  # fmt: skip
    assert found.cohort["site"].tolist() == ["A", "B"]
    assert "reference" in reasons(found)["exam-P4"] or "biopsy" in reasons(found)["exam-P4"]


def test_a_patient_in_the_exclude_file_contradicts_nobody(go, maf, tmp_path):
    table = "patient_id,idh\nP1,0\nP2,0\nP3,1\n"
    (tmp_path / "exclude.csv").write_text("patient_id,reason\nP1,sample mixed up\n")
    found = go(
        whole("P1", "P2", "P3"), table, {"IDH": {"genes": ["IDH1", "IDH2"], "column": "idh"}}, mutations=str(maf()),
        exclude_file=str(tmp_path / "exclude.csv"),
    )  # fmt: skip
    assert labels(found) == {"P2": 0, "P3": 1}
