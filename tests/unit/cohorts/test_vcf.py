"""Labels from VCF files: samples, patients, genes and alleles."""

from __future__ import annotations

import gzip

import pytest
from toy import curate_genes, labels

from scan2gene.cohorts.vcf import read_vcf
from scan2gene.core.errors import CohortError

VCF = """##fileformat=VCFv4.2
{meta}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{samples}
"""
CSQ = '##INFO=<ID=CSQ,Number=.,Type=String,Description="VEP. Format: Allele|Consequence|SYMBOL|HGVSp|CANONICAL">\n'
ANN = '##INFO=<ID=ANN,Number=.,Type=String,Description="SnpEff">\n'


def vcf(path, samples, *rows, meta=CSQ):
    text = VCF.format(meta=meta, samples="\t".join(samples)) + "".join("\t".join(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def row(info, *genotypes, ref="C", alt="T", status="PASS"):
    return ("2", "209113112", ".", ref, alt, ".", status, info, "GT:DP", *(f"{g}:30" for g in genotypes))


R132H = "CSQ=T|missense_variant|IDH1|ENSP1:p.Arg132His|YES,T|intron_variant|IDH1||"


def test_a_folder_of_vcf_files_by_patient(go, tmp_path):
    folder = tmp_path / "vcf"
    folder.mkdir()
    vcf(folder / "P1.vcf.gz", ("NORMAL", "TUMOR"), row(R132H, "0/0", "0/1"))
    vcf(folder / "P2.mutect2.vcf", ("NORMAL", "TUMOR"), row(R132H, "0/1", "0/0"))
    vcf(folder / "P3.vcf", ("NORMAL", "TUMOR"), row(R132H, "0/0", "0/1", status="germline"))
    vcf(folder / "P4.vcf", ("NORMAL", "TUMOR"))
    found = curate_genes(go, folder, "P1", "P2", "P3", "P4", "P5")
    assert labels(found) == {"P1": 1, "P2": 0, "P3": 0, "P4": 0}
    only = {"IDH": {"genes": ["IDH1"], "hotspots": ["R132H"]}}
    assert labels(curate_genes(go, folder, "P1", "P4", targets=only)) == {"P1": 1, "P4": 0}


def test_several_samples_in_one_vcf_and_alleles_told_apart(tmp_path):
    ann = "ANN=G|missense_variant|MODERATE|IDH1|ENSG|transcript|T1|protein_coding|4/10|c.1|p.Arg132Pro|||||"
    path = vcf(
        tmp_path / "all.vcf", ("P1", "P2", "P3"), row(ann, "0/1", "0|2", "./.", alt="T,G"),
        row(ann.replace("missense_variant", "frameshift_variant"), "1", "0", "0", ref="CA", alt="G"), meta=ANN,
    )  # fmt: skip
    found = read_vcf(path, {"IDH1"})
    assert [(c.sample, c.variant, c.change) for c in found.calls] == [
        ("P2", "Missense_Mutation", "R132P"),
        ("P1", "Frame_Shift_Del", "R132P"),
    ]
    assert set(found.samples) == {"P1", "P2", "P3"}


def test_the_gdcs_vcf_names_its_patient_in_the_header(tmp_path):
    meta = CSQ + "".join(
        f"##SAMPLE=<ID={kind},NAME=TCGA-02-0001-{code}A-01D,ALIQUOT_ID=x,BAM_ID=y>\n"
        for kind, code in (("NORMAL", "10"), ("TUMOR", "01"))
    )
    path = vcf(tmp_path / "0f1e.vcf", ("NORMAL", "TUMOR"), row(R132H, "0/0", "0/1"), meta=meta)
    found = read_vcf(path, {"IDH1"})
    assert [c.sample for c in found.calls] == ["TCGA-02-0001-01A-01D"]
    assert found.normals == {"TCGA-02-0001-10A-01D"}


def test_a_vcf_without_genes_or_with_alleles_mixed_up_is_refused(tmp_path):
    with pytest.raises(CohortError, match=r"bare\.vcf does not say which gene .* VEP"):
        read_vcf(vcf(tmp_path / "bare.vcf", ("P1",), meta=""), {"IDH1"})
    mixed = vcf(tmp_path / "mixed.vcf", ("P1",), row(R132H.replace("T|", "-|"), "0/1", alt="CT,G"))
    with pytest.raises(CohortError, match=r"mixed\.vcf:4 holds several alternatives"):
        read_vcf(mixed, {"IDH1"})
