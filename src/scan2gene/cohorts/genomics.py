"""Labels from mutation files: which patients were sequenced, and whether a target's genes are mutated in them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.label_table import read_table
from scan2gene.cohorts.labels import MISSING, canonical, gene_column, place_of
from scan2gene.cohorts.maf import read_maf
from scan2gene.cohorts.variants import (
    VARIANTS,
    Call,
    Calls,
    is_hotspot,
    lines_of,
    open_text,
    tcga_patient,
    variant_named,
)
from scan2gene.cohorts.vcf import is_vcf, named_by, read_vcf
from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_cohort import Cohort, Target

NO_LIST = "no cohort.sequenced: patients with any row in cohort.mutations count as sequenced, others as unknown"
GROUPS = {"IDH": ("IDH1", "IDH2")}  # genes that are one marker
MAX_COLUMNS = 60  # genes of a first look
_STAGE = "mutation table"
_SAMPLES = ("SAMPLE_ID", "Tumor_Sample_Barcode", "sample_id", "sample", "Sample ID")
_PATIENTS = ("PATIENT_ID", "patient_id", "bcr_patient_barcode", "case_submitter_id", "cases.submitter_id", "Patient ID")
_YES, _NO = {"1", "yes", "y", "true", "sequenced"}, {"0", "no", "n", "false", "not sequenced"}


def mutation_files(rules: Cohort) -> list[Path]:
    """The files of `cohort.mutations`: itself, or every MAF and VCF below it.

    Raises:
        CohortError: There is none.
    """
    if rules.mutations is None:
        return []
    path = Path(rules.mutations)
    if not path.is_dir():
        if not path.is_file():
            raise CohortError(f"there is no cohort.mutations {path}")
        return [path]
    named = re.compile(r"(\.maf|\.vcf|data_mutations[^/]*\.txt)(\.gz|\.bgz)?$", re.IGNORECASE)
    files = sorted(p for p in path.rglob("*") if named.search(p.name) and p.is_file())
    if not files:
        raise CohortError(f"the folder cohort.mutations holds no .maf, .vcf or data_mutations.txt: {path}")
    return files


def read_calls(rules: Cohort, genes: set[str] | None) -> Calls:
    """All files of `cohort.mutations` as one.

    Raises:
        CohortError: As `read_maf` and `read_vcf`.
    """
    parts = [read_vcf(p, genes) if is_vcf(p) else read_maf(p, genes) for p in mutation_files(rules)]
    samples: dict[str, str] = {}
    for part in parts:
        samples = part.samples | samples
    return Calls(
        [call for part in parts for call in part.calls],
        samples,
        frozenset(n for part in parts for n in part.normals),
        all(part.has_changes for part in parts),
    )


def named_files(rules: Cohort) -> set[str]:
    """Ids that the names of VCF files hold; known before a file is read, so that no error shows them."""
    return {named_by(path) for path in mutation_files(rules) if is_vcf(path)}


def mutation_ids(rules: Cohort) -> set[str]:
    """Every id that mutation files and list name, as samples and as patients; for pseudonyms."""
    if rules.mutations is None:
        return set()
    calls = read_calls(rules, set())
    listed = read_sequenced(Path(rules.sequenced), rules) if rules.sequenced else ({}, {})
    ids = {*calls.samples, *calls.normals, *listed[0], *listed[1], *listed[1].values()}
    return ids | {p for i in ids if (p := patient_of(i, rules)[0])}


def with_mutations(
    table: pd.DataFrame, rules: Cohort, targets: Mapping[str, Target], source: str, flow: Flow
) -> pd.DataFrame:
    """The label table with a row for every sequenced patient and target that has genes.

    Args:
        table: Of `cohort.labels`, patients already told; may have no rows.
        rules: Where mutations and the list of the sequenced lie.
        targets: Those without genes are passed over.
        source: Name of the label table, for messages.
        flow: Gets samples that do not count, and why.

    Returns:
        `table`, below it rows with the patient and 1 or 0 in `gene_column(target)`; the index is file:line.

    Raises:
        CohortError: As `read_calls`; no gene of a target occurs; hotspots without protein changes.
    """
    by_gene = {name: target for name, target in targets.items() if target.genes}
    if not by_gene:
        return table
    everything = {gene for target in by_gene.values() for gene in target.genes}
    calls = read_calls(rules, everything)
    _check_targets(by_gene, calls, rules)
    for gene in sorted(everything - {call.gene for call in calls.calls}):
        flow.leave_out(_STAGE, f"gene {gene} has no row, so that nobody is positive by it")
    who, sequenced = _sequenced(calls, table, rules, source, flow)
    hits: dict[tuple[str, str], str] = {}
    for call in calls.calls:
        patient = who.get(call.sample, "")
        for name, target in by_gene.items():
            if patient and counts(call, target):
                hits.setdefault((name, patient), call.place)
    rows, places = [], []
    for name in by_gene:
        for patient, place in sequenced.items():
            hit = hits.get((name, patient))
            rows.append({rules.patient_column: patient, gene_column(name): "1" if hit else "0"})
            places.append(hit or place)
    found = pd.DataFrame(rows, index=places, dtype=str)
    return pd.concat([table.set_axis([place_of(source, i) for i in table.index]), found]).fillna("")


def counts(call: Call, target: Target) -> bool:
    """Whether a mutation makes a target positive."""
    if call.gene not in target.genes:
        return False
    if target.hotspots:
        return is_hotspot(call.change, target.hotspots)
    named = {variant_named(v, "targets.variants") for v in target.variants}
    return call.variant in named if named else VARIANTS[call.variant]


def gene_table(path: Path, wanted: Collection[str] = ()) -> pd.DataFrame:
    """A MAF as a table with a column of 1 and 0 per gene, for a first look.

    Args:
        path: MAF.
        wanted: Genes or groups that get a column in any case; else the most often mutated do.

    Returns:
        patient_id and genes; one row per TCGA patient, or per tumour sample of others. Who has any row is taken
        for sequenced.
    """
    calls = read_maf(path, None)
    who = {s: (tcga_patient(s) or (s, True)) for s in calls.samples}
    mutated: dict[str, set[str]] = {}
    for call in calls.calls:
        if VARIANTS[call.variant] and who[call.sample][1]:
            mutated.setdefault(call.gene, set()).add(who[call.sample][0])
    for group, genes in GROUPS.items():
        mutated[group] = set().union(*(mutated.get(g, set()) for g in genes))
        for gene in set(genes) - set(wanted):
            mutated.pop(gene, None)
    often = sorted(mutated, key=lambda g: (g not in wanted and g not in GROUPS, -len(mutated[g]), g))
    patients = sorted({patient for patient, tumour in who.values() if tumour})
    columns = {gene: ["1" if p in mutated[gene] else "0" for p in patients] for gene in often[:MAX_COLUMNS]}
    return pd.DataFrame({"patient_id": patients, **columns}, dtype=str)


def patient_of(sample: str, rules: Cohort) -> tuple[str, str]:
    """(patient, why the sample does not count); one of the two is empty."""
    tcga = tcga_patient(sample)
    if tcga:
        return (tcga[0], "") if tcga[1] else ("", "normal sample of a TCGA patient")
    if rules.label_id_pattern is None:
        return plain_text(sample), ""
    found = re.search(rules.label_id_pattern, sample)
    return (plain_text(found[1]), "") if found else ("", f"sample whose id lacks /{rules.label_id_pattern}/")


def read_sequenced(path: Path, rules: Cohort) -> tuple[dict[str, str], dict[str, str]]:
    """Who was sequenced, and whose sample is whose where the list says so.

    Args:
        path: A cBioPortal case list or clinical sample file, a table with a column of patients or samples, or one
            id per line.
        rules: Its patient_column is looked for first.

    Returns:
        (id -> file:line, sample -> patient).

    Raises:
        CohortError: No such file, no id column, or no id.
    """
    with open_text(path) as stream:
        lines = stream.read().splitlines()
    for number, line in enumerate(lines, start=1):
        if line.startswith("case_list_ids:"):
            ids = map(plain_text, line.partition(":")[2].split())
            return dict.fromkeys(ids, f"{path.name}:{number}"), {}
    if path.suffix.lower() in (".xlsx", ".xlsm") or any(mark in lines[0] for mark in ",;\t|" if lines):
        columns, cells = _list_table(path)
    else:
        columns, cells = [], [(n, [line.strip()]) for n, line in enumerate(lines, start=1) if line[:1] != "#"]
        if cells and cells[0][1][0] in {rules.patient_column, *_PATIENTS, *_SAMPLES}:
            cells = cells[1:]
    patients = next((columns.index(c) for c in (rules.patient_column, *_PATIENTS) if c in columns), None)
    samples = next((columns.index(c) for c in _SAMPLES if c in columns), None)
    if columns and patients is None and samples is None:
        raise CohortError(
            f"{path.name}: no column with ids; patient_column {unknown_name(rules.patient_column, columns)}"
        )
    at = samples if samples is not None else patients or 0
    rows = [(n, plain_text(row[at]), row) for n, row in cells if len(row) > at and row[at].strip()]
    if not rows:
        raise CohortError(f"{path.name} names nobody who was sequenced")
    owners = (
        {i: plain_text(row[patients]) for _, i, row in rows} if patients is not None and samples is not None else {}
    )
    return {i: f"{path.name}:{n}" for n, i, _ in reversed(rows)}, owners


def _list_table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Columns and (line, cells); cBioPortal puts comments above the header."""
    with open_text(path) as stream:
        commented = stream.read(1) == "#"
    if commented:
        (_, columns), *cells = lines_of(path)
        return columns, cells
    table = read_table(path, header_rows=1)
    return list(table.columns), [(int(n), list(row)) for n, row in zip(table.index, table.to_numpy(), strict=True)]


def _sequenced(
    calls: Calls, table: pd.DataFrame, rules: Cohort, source: str, flow: Flow
) -> tuple[dict[str, str], dict[str, str]]:
    """(sample -> patient, for samples that count; sequenced patient -> place)."""
    listed, owners = read_sequenced(Path(rules.sequenced), rules) if rules.sequenced else ({}, {})
    for normal in sorted(calls.normals):
        flow.leave_out(_STAGE, "normal sample, not the tumour", normal)
    who: dict[str, str] = {}
    patients: dict[str, str] = {}
    for sample, place in calls.samples.items():
        owner = owners.get(plain_text(sample))
        patient, why = (owner, "") if owner is not None else patient_of(sample, rules)
        if why:
            flow.leave_out(_STAGE, why, sample)
        else:
            who[sample] = patient
            patients.setdefault(patient, place)
    if rules.sequenced:
        among = {owners.get(i) or patient_of(i, rules)[0]: place for i, place in listed.items()}
        what = "has mutations, but is not in the list of the sequenced"
    elif rules.sequenced_column:
        among = _by_column(table, rules, source)
        what = f"has mutations, but {rules.sequenced_column} does not say that it was sequenced"
    else:
        flow.leave_out(_STAGE, NO_LIST)
        return who, patients
    for patient in sorted(patients.keys() - among.keys()):
        flow.leave_out(_STAGE, what, patient)
    return who, {p: place for p, place in among.items() if p}


def _by_column(table: pd.DataFrame, rules: Cohort, source: str) -> dict[str, str]:
    column = rules.sequenced_column or ""
    if column not in table.columns:
        raise CohortError(f"sequenced_column {unknown_name(column, table.columns)}")
    cells = table[column].map(canonical)
    strange = sorted(set(cells) - _YES - _NO - MISSING)
    if strange:
        raise CohortError(f"{source}, sequenced_column {column}: {strange[0]!r} is neither yes (1) nor no (0)")
    chosen = table[cells.isin(_YES)]
    return {p: place_of(source, i) for i, p in zip(chosen.index, chosen[rules.patient_column], strict=True)}


def _check_targets(targets: Mapping[str, Target], calls: Calls, rules: Cohort) -> None:
    """A target of which nothing can be known is a mistake in its genes."""
    found = {call.gene for call in calls.calls}
    known: set[str] | None = None
    for name, target in targets.items():
        if target.hotspots and not calls.has_changes:
            raise CohortError(f"targets.{name}.hotspots: the mutation table has no column HGVSp_Short")
        for variant in target.variants:
            variant_named(variant, f"targets.{name}.variants")
        if not found & set(target.genes):
            known = known or {call.gene for call in read_calls(rules, None).calls}
            close = {g: difflib.get_close_matches(g, known, n=1) for g in target.genes}
            hint = "".join(f" Did you mean {c[0]!r} for {g!r}?" for g, c in close.items() if c)
            raise CohortError(
                f"targets.{name}.genes: {', '.join(target.genes)} has no row in cohort.mutations, so that nobody is "
                f"positive.{hint} Genes are written as in its column Hugo_Symbol."
            )
