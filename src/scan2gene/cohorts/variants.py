"""What a mutation is called: variant classes, protein changes, TCGA barcodes."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from scan2gene.core.errors import CohortError
from scan2gene.core.text_table import UTF_16

# Variant_Classification -> does it change the protein, so that the gene counts as mutated.
# Source: MAF specification 2.4.1 and GDC MAF 1.0.0; the start, stop and lincRNA terms are Oncotator's,
# Fusion is that of older cBioPortal files. TERT's promoter mutations are 5'Flank: see targets.*.variants.
VARIANTS = {
    "Missense_Mutation": True,
    "Nonsense_Mutation": True,
    "Nonstop_Mutation": True,
    "Frame_Shift_Del": True,
    "Frame_Shift_Ins": True,
    "In_Frame_Del": True,
    "In_Frame_Ins": True,
    "Splice_Site": True,
    "Translation_Start_Site": True,
    "De_novo_Start_OutOfFrame": True,
    "De_novo_Start_InFrame": True,
    "Start_Codon_SNP": True,
    "Start_Codon_Del": True,
    "Start_Codon_Ins": True,
    "Stop_Codon_Del": True,
    "Stop_Codon_Ins": True,
    "Silent": False,
    "Splice_Region": False,
    "Intron": False,
    "3'UTR": False,
    "5'UTR": False,
    "3'Flank": False,
    "5'Flank": False,
    "IGR": False,
    "RNA": False,
    "lincRNA": False,
    "Targeted_Region": False,
    "Fusion": False,
}
_BY_SPELLING = {name.lower(): name for name in VARIANTS}

# Sequence Ontology term of an annotated VCF -> the same in a MAF; most severe first. Frame shifts and in-frame
# changes are told apart below by the lengths of the alleles.
SO_VARIANTS = {
    "transcript_ablation": "Splice_Site", "exon_loss_variant": "Splice_Site",
    "splice_acceptor_variant": "Splice_Site", "splice_donor_variant": "Splice_Site",
    "stop_gained": "Nonsense_Mutation", "frameshift_variant": "Frame_Shift", "stop_lost": "Nonstop_Mutation",
    "start_lost": "Translation_Start_Site", "initiator_codon_variant": "Translation_Start_Site",
    "inframe_insertion": "In_Frame_Ins", "inframe_deletion": "In_Frame_Del",
    "conservative_inframe_insertion": "In_Frame_Ins", "disruptive_inframe_insertion": "In_Frame_Ins",
    "conservative_inframe_deletion": "In_Frame_Del", "disruptive_inframe_deletion": "In_Frame_Del",
    "protein_altering_variant": "In_Frame", "missense_variant": "Missense_Mutation",
    "rare_amino_acid_variant": "Missense_Mutation", "splice_region_variant": "Splice_Region",
    "synonymous_variant": "Silent", "stop_retained_variant": "Silent", "start_retained_variant": "Silent",
    "5_prime_UTR_variant": "5'UTR", "3_prime_UTR_variant": "3'UTR", "intron_variant": "Intron",
    "upstream_gene_variant": "5'Flank", "downstream_gene_variant": "3'Flank",
}  # fmt: skip

_RESIDUES = {
    "Ala": "A", "Arg": "R", "Asn": "N", "Asp": "D", "Cys": "C", "Gln": "Q", "Glu": "E", "Gly": "G", "His": "H",
    "Ile": "I", "Leu": "L", "Lys": "K", "Met": "M", "Phe": "F", "Pro": "P", "Ser": "S", "Thr": "T", "Trp": "W",
    "Tyr": "Y", "Val": "V", "Ter": "*",
}  # fmt: skip
# project, site, participant; then sample type (01-09 tumour, 10-19 normal, 20-29 control) and vial.
# Source: GDC, "TCGA Barcode".
_TCGA = re.compile(r"(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?:-(\d{2})[A-Z]?(?:-.*)?)?")


@dataclass(frozen=True)
class Call:
    """One mutation of one sample.

    Args:
        sample: As the file names it.
        gene: Hugo symbol.
        variant: Key of `VARIANTS`.
        change: Of the protein, one-letter code without "p."; empty where the file has none.
        place: file:line.
    """

    sample: str
    gene: str
    variant: str
    change: str
    place: str


@dataclass(frozen=True)
class Calls:
    """What one mutation file says of some genes.

    Args:
        calls: Of these genes, every class.
        samples: Tumour sample -> place; every sample that the file has, mutated in these genes or not.
        normals: Samples that the file itself calls normal.
        has_changes: The file names changes of the protein.
    """

    calls: list[Call] = field(default_factory=list)
    samples: dict[str, str] = field(default_factory=dict)
    normals: frozenset[str] = frozenset()
    has_changes: bool = True


def variant_named(text: str, place: str) -> str:
    """The key of `VARIANTS` meant by a cell; case is ignored.

    Raises:
        CohortError: None is.
    """
    name = _BY_SPELLING.get(text.strip().lower())
    if name is None:
        raise CohortError(f"{place}: variant class {text!r} is not one of the MAF specification: {', '.join(VARIANTS)}")
    return name


def protein_change(text: str) -> str:
    """p.Arg132His, p.R132H and ENSP00000260985.2:p.Arg132His are all R132H; empty stays empty."""
    change = text.strip().rpartition(":")[2].removeprefix("p.").strip("()").replace("%3D", "=")
    return re.sub("|".join(_RESIDUES), lambda m: _RESIDUES[m[0]], change).upper()


def is_hotspot(change: str, hotspots: list[str]) -> bool:
    """True for one of these changes; a hotspot without a new residue (R132) stands for all changes of its residue."""
    for hotspot in map(protein_change, hotspots):
        residue = re.fullmatch(r"[A-Z]\d+", hotspot)
        if change == hotspot or (residue and re.match(rf"{hotspot}(?!\d)", change)):
            return True
    return False


def tcga_patient(sample: str) -> tuple[str, bool] | None:
    """(patient, is it a tumour) of a TCGA barcode; None for any other id. A patient's own id counts as tumour."""
    found = _TCGA.fullmatch(sample.strip().upper())
    return None if found is None else (found[1], found[2] is None or found[2] < "10")


@contextmanager
def open_text(path: Path) -> Iterator[TextIO]:
    """A text file, packed by gzip or not, whatever it is called.

    Raises:
        CohortError: Missing, cut short or damaged.
    """
    try:
        with path.open("rb") as raw:
            begin = raw.read(2)
        packed, encoding = begin == b"\x1f\x8b", "utf-16" if begin in UTF_16 else "utf-8-sig"
        raw_or_packed = gzip.open if packed else open
        with raw_or_packed(path, "rt", encoding=encoding, errors="replace") as stream:
            yield stream
    except FileNotFoundError:
        raise CohortError(f"there is no file {path}") from None
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise CohortError(f"{path.name} cannot be read, it may be cut short: {error}") from None


def lines_of(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, tab-separated cells) of a text file's rows, comments and blank lines left out."""
    with open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip() and not line.startswith("#"):
                yield number, line.rstrip("\r\n").split("\t")
