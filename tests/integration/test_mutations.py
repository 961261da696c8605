"""From DICOM and one VCF per patient to curated labels, with pseudonyms: nothing names a patient."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

from scan2gene.phantom.exams import write_cohort

HEADER = (
    "##fileformat=VCFv4.2\n"
    '##INFO=<ID=CSQ,Number=.,Type=String,Description="Format: Allele|Consequence|SYMBOL|HGVSp">\n'
    "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tNORMAL\tTUMOR\n"
)
ROW = "2\t209113112\t.\tC\tT\t.\tPASS\tCSQ=T|missense_variant|IDH1|ENSP1:p.Arg132His\tGT\t0/0\t0/1\n"
STUDY = """
name: vcf
cohort:
  scans: [scans]
  mutations: vcf
  pseudonyms: ../private/key.csv
  roles: {flair: {match: {SeriesDescription: FLAIR}}}
targets: {IDH: {genes: [IDH1, IDH2], hotspots: [R132H]}}
"""


def curate(study: Path, out: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scan2gene.cli", "curate", str(study), "-o", str(out)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_vcf_files_named_by_patients_stay_hidden(tmp_path):
    folder = tmp_path / "cohort"
    patients = write_cohort(folder, 6, 2.0, "brain", ("flair",), 1)
    (folder / "vcf").mkdir()
    (tmp_path / "private").mkdir()
    with (folder / "labels.csv").open() as stream:
        ids = {row["patient_id"]: int(row["mutation"]) for row in csv.DictReader(stream)}
    for patient, mutated in ids.items():
        (folder / "vcf" / f"{patient}.mutect2.vcf").write_text(HEADER + ROW * mutated)
    (folder / "study.yaml").write_text(STUDY)
    out = tmp_path / "run"
    done = curate(folder / "study.yaml", out)
    assert done.returncode == 0, done.stderr
    positive = sum(ids.values())
    assert f"IDH {positive}/{len(patients) - positive}" in done.stdout
    (folder / "vcf" / "STRANGER-77.vcf").write_text("##fileformat=VCFv4.2\n#CHROM\tPOS\n")
    failed = curate(folder / "study.yaml", out)
    assert failed.returncode == 1
    assert "does not say which gene" in failed.stderr
    texts = [
        failed.stderr,
        failed.stdout,
        done.stderr,
        done.stdout,
        *(p.read_text() for p in out.rglob("*") if p.suffix in (".csv", ".json", ".yaml")),
    ]
    for name in (*ids, "STRANGER-77"):
        assert not any(name in text for text in texts), name
    with (tmp_path / "private" / "key.csv").open() as stream:
        true = {row["pseudonym"]: row["patient_id"] for row in csv.DictReader(stream)}
    with (out / "labels.csv").open() as stream:
        assert {true[r["patient_id"]]: int(float(r["value"])) for r in csv.DictReader(stream)} == ids
