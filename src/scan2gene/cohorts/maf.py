"""Mutation tables: MAF as the GDC gives it, and cBioPortal's data_mutations.txt, plain or packed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from scan2gene.cohorts.variants import Call, Calls, lines_of, protein_change, variant_named
from scan2gene.core.errors import CohortError

GENE, VARIANT, SAMPLE = "Hugo_Symbol", "Variant_Classification", "Tumor_Sample_Barcode"
_CHANGES = ("HGVSp_Short", "Protein_Change", "Amino_Acid_Change", "amino_acid_change")
# Rows that say that validation found no mutation. Source: MAF specification 2.4.1, Validation_Status; cBioPortal.
_REFUTED = {"Validation_Status": {"invalid", "wildtype"}, "Mutation_Status": {"wildtype"}}


def is_maf(path: Path) -> bool:
    """True for a table with the columns of a MAF."""
    try:
        header = next((cells for _, cells in lines_of(path)), [])
    except CohortError:
        return False
    return {GENE, VARIANT, SAMPLE} <= set(header)


def read_maf(path: Path, genes: Collection[str] | None) -> Calls:
    """Mutations of some genes, and every sample that has a row.

    Args:
        path: Tab-separated, `#` comments in front allowed, packed by gzip or not.
        genes: Hugo symbols; None: all.

    Raises:
        CohortError: Not a MAF, a row cut short, or a variant class that does not exist.

    Source: https://docs.gdc.cancer.gov/Data/File_Formats/MAF_Format,
        https://docs.cbioportal.org/file-formats
    """
    rows = lines_of(path)
    _, header = next(rows, (0, []))
    missing = [c for c in (GENE, VARIANT, SAMPLE) if c not in header]
    if missing:
        raise CohortError(
            f"{path.name} is no mutation table: it lacks {', '.join(missing)}. cohort.mutations takes a MAF, "
            "cBioPortal's data_mutations.txt or an annotated VCF; a table with a column per gene is cohort.labels."
        )
    gene, variant, sample = (header.index(c) for c in (GENE, VARIANT, SAMPLE))
    change = next((header.index(c) for c in _CHANGES if c in header), None)
    refuted = [(header.index(c), words) for c, words in _REFUTED.items() if c in header]
    calls: list[Call] = []
    samples: dict[str, str] = {}
    width = max(gene, variant, sample, change or 0, *(at for at, _ in refuted))
    for line, cells in rows:
        place = f"{path.name}:{line}"
        if len(cells) <= max(gene, variant, sample) or not cells[sample].strip():
            raise CohortError(f"{place} is cut short, or names no {SAMPLE}")
        samples.setdefault(cells[sample].strip(), place)
        name = cells[gene].strip()
        if genes is not None and name not in genes:
            continue
        cells += [""] * (width + 1 - len(cells))  # empty cells at a row's end are sometimes left away
        if any(cells[at].strip().lower() in words for at, words in refuted):
            continue
        text = protein_change(cells[change]) if change is not None else ""
        calls.append(Call(cells[sample].strip(), name, variant_named(cells[variant], place), text, place))
    return Calls(calls, samples, has_changes=change is not None)
