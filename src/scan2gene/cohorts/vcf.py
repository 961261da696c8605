"""Annotated VCF files: one per patient, or several samples in one; Ensembl VEP (CSQ) or SnpEff (ANN)."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from scan2gene.cohorts.variants import SO_VARIANTS, Call, Calls, open_text, protein_change
from scan2gene.core.errors import CohortError

_TUMOUR, _NORMAL = {"tumor", "tumour", "primary", "sample"}, {"normal", "blood", "germline"}
_ANN = "Allele|Consequence|Impact|SYMBOL|Gene|Feature_type|Feature|Biotype|Rank|HGVSc|HGVSp"
_SEVERITY = {term: rank for rank, term in enumerate(SO_VARIANTS)}


@dataclass
class _Header:
    annotation: str = ""
    fields: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    shown: dict[str, str] | None = None  # column -> sample, tumours only
    normals: frozenset[str] = frozenset()


def is_vcf(path: Path) -> bool:
    """True for a file whose first line says so."""
    try:
        with open_text(path) as stream:
            return stream.readline().startswith("##fileformat=VCF")
    except CohortError:
        return False


def named_by(path: Path) -> str:
    """The patient after whom a file is called: P001.mutect2.vcf.gz is P001."""
    return re.split(r"\.(?:vcf|vep|ann|snpeff|somatic|filtered|mutect2)\b", path.name, flags=re.IGNORECASE)[0]


def read_vcf(path: Path, genes: Collection[str] | None) -> Calls:
    """Mutations of some genes in the tumour samples of one file.

    A row counts when FILTER is PASS or empty. A sample has it when its genotype holds an allele that is not the
    reference, or has no genotype at all, as with some somatic callers. Of several transcripts those that the
    annotation picked (PICK, MANE_SELECT, CANONICAL) count, else all. A sample called TUMOR, or a file without
    samples, is named by the file: P001.vcf.gz is P001.

    Args:
        path: Packed by gzip or not.
        genes: Symbols; None: all.

    Raises:
        CohortError: Without gene names, cut short, or with several alternatives in a row that cannot be told apart.

    Source: VCF 4.3 specification; VEP's CSQ; "Variant annotations in VCF format" 1.0 (ANN).
    """
    meta: list[str] = []
    calls: list[Call] = []
    header: _Header | None = None
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.startswith("##"):
                meta.append(line.rstrip())
            elif line.startswith("#CHROM"):
                header = _header(line.rstrip("\r\n").split("\t"), meta, path)
            elif header is None:
                raise CohortError(f"{path.name}:{number}: a row before the #CHROM line")
            elif line.strip() and (genes is None or any(gene in line for gene in genes)):
                calls += _row(line.rstrip("\r\n").split("\t"), header, genes, f"{path.name}:{number}")
    if header is None:
        raise CohortError(f"{path.name} has no #CHROM line; it may be cut short")
    return Calls(calls, dict.fromkeys((header.shown or {}).values(), path.name), header.normals, True)


def _header(columns: list[str], meta: list[str], path: Path) -> _Header:
    header = _Header(samples=tuple(columns[9:]))
    for line in meta:
        if line.startswith("##INFO=<ID=CSQ,"):
            found = re.search(r"Format: ([^\"]+)", line)
            header.annotation, header.fields = "CSQ", tuple(found[1].split("|")) if found else ()
        elif line.startswith("##INFO=<ID=ANN,") and not header.annotation:
            header.annotation, header.fields = "ANN", tuple(_ANN.split("|"))
    if "SYMBOL" not in header.fields:
        raise CohortError(
            f"{path.name} does not say which gene a variant is in: annotate it with Ensembl VEP (--symbol) or SnpEff"
        )
    named = {m[1]: m[2] for line in meta if (m := re.match(r"##SAMPLE=<.*?ID=([^,>]+).*?NAME=([^,>]+)", line))}
    normal = {line.partition("=")[2] for line in meta if line.startswith("##normal_sample=")}
    normal |= {s for s in header.samples if s.lower() in _NORMAL}
    tumours = [s for s in header.samples if s not in normal]
    header.shown = {s: named.get(s) or (named_by(path) if s.lower() in _TUMOUR else s) for s in tumours}
    if not header.samples:
        header.shown = {"": named_by(path)}
    header.normals = frozenset(named.get(s, s) for s in normal & set(header.samples))
    return header


def _row(cells: list[str], header: _Header, genes: Collection[str] | None, place: str) -> list[Call]:
    """Calls of one row: gene by gene, sample by sample."""
    if len(cells) < 8 + bool(header.samples) + len(header.samples):
        raise CohortError(f"{place} is cut short")
    reference, alternatives, status, info = cells[3], cells[4].split(","), cells[6], cells[7]
    if status not in ("PASS", ".", ""):
        return []
    found = next((part.partition("=")[2] for part in info.split(";") if part.startswith(header.annotation + "=")), "")
    entries = [dict(zip(header.fields, map(str.strip, e.split("|")), strict=False)) for e in found.split(",") if e]
    entries = [e for e in _picked(entries) if e.get("SYMBOL") and (genes is None or e["SYMBOL"] in genes)]
    calls = []
    for entry in entries:
        allele = _allele(entry, alternatives, place)
        variant = _variant(entry.get("Consequence", ""), len(alternatives[allele - 1]) - len(reference))
        change = protein_change(entry.get("HGVSp", ""))
        for column, sample in (header.shown or {}).items():
            if _has(cells, header, column, allele):
                calls.append(Call(sample, entry["SYMBOL"], variant, change, place))
    return calls


def _picked(entries: list[dict[str, str]]) -> list[dict[str, str]]:
    """Of each gene the transcripts that the annotation marks, else all."""
    kept: list[dict[str, str]] = []
    for gene in dict.fromkeys(e.get("SYMBOL", "") for e in entries):
        own = [e for e in entries if e.get("SYMBOL", "") == gene]
        marks = ([e for e in own if e.get(mark, "") not in ("", "NO")] for mark in ("PICK", "MANE_SELECT", "CANONICAL"))
        kept += next((marked for marked in marks if marked), own)
    return kept


def _allele(entry: dict[str, str], alternatives: list[str], place: str) -> int:
    """Which alternative, from 1, an annotation is about."""
    if len(alternatives) == 1:
        return 1
    number = entry.get("ALLELE_NUM", "")
    if number.isdigit() and 1 <= int(number) <= len(alternatives):
        return int(number)
    if entry.get("Allele") in alternatives:
        return alternatives.index(entry["Allele"]) + 1
    raise CohortError(
        f"{place} holds several alternatives, and the annotation does not say which one it is about: split them "
        "(bcftools norm -m-) before annotating, or annotate with --allele_number"
    )


def _variant(consequence: str, longer: int) -> str:
    """The MAF class of the most severe of the terms; `longer`: bases that the alternative has more."""
    terms = sorted((t for t in consequence.split("&") if t in _SEVERITY), key=_SEVERITY.__getitem__)
    name = SO_VARIANTS[terms[0]] if terms else "IGR"
    return f"{name}_{'Ins' if longer > 0 else 'Del'}" if name in ("Frame_Shift", "In_Frame") else name


def _has(cells: list[str], header: _Header, column: str, allele: int) -> bool:
    """True where a sample carries an allele, or the file has no genotypes."""
    keys = cells[8].split(":") if column else []
    if "GT" not in keys:
        return True
    genotype = cells[9 + header.samples.index(column)].split(":")[keys.index("GT")]
    return str(allele) in re.split(r"[|/]", genotype)
