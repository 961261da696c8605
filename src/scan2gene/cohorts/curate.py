"""Curation: series and labels joined to exams; everything left out has a reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.cells import decimal_mark, different
from scan2gene.cohorts.dates import in_time, one_exam
from scan2gene.cohorts.exams import READABLE, build_exams, one_day
from scan2gene.cohorts.feature_table import read_feature_table
from scan2gene.cohorts.flow import Flow, counts
from scan2gene.cohorts.genomics import with_mutations
from scan2gene.cohorts.ids import label_patients, near_ids, no_overlap, reason_of
from scan2gene.cohorts.label_table import check_formulas, read_labels
from scan2gene.cohorts.labels import (
    clinical_numbers,
    label_names,
    patient_values,
    row_sides,
    target_labels,
    without_unknown,
)
from scan2gene.cohorts.lesions import large_enough
from scan2gene.cohorts.roles import found_in, role_fits
from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import Cohort, Target, label_files
from scan2gene.core.tables import EXCLUSION_COLUMNS, ROLE_COLUMNS
from scan2gene.core.text import clauses, listed
from scan2gene.core.text_table import read_text_table
from scan2gene.imaging.patients import with_patients
from scan2gene.privacy.persons import two_persons

_SHOWN = 5  # how many reasons a message quotes


@dataclass(frozen=True)
class Curated:
    """What curation gives.

    Args:
        cohort: One row per exam: patient_id, exam_id, site, date, `role:<name>` columns
            with series_id, `clinical:<name>` columns with numbers.
        labels: Long: columns `LABEL_COLUMNS`.
        exclusions: Columns `EXCLUSION_COLUMNS`.
        roles: Every series that fits a role of an exam, taken or not and why; `ROLE_COLUMNS`.
        flow: The flow diagram's boxes, top to bottom: step, kept, unit, left_out.
    """

    cohort: pd.DataFrame
    labels: pd.DataFrame
    exclusions: pd.DataFrame
    roles: pd.DataFrame
    flow: list[dict[str, Any]]


def curate(study: Study, series: pd.DataFrame, both_classes: bool = True) -> Curated:
    """Join the series index and the label table.

    Args:
        study: Its `cohort` and `targets` parts are used.
        series: `index`'s table.
        both_classes: Refuse a target of which one class is there alone: nothing can be learned.

    Raises:
        CohortError: Contradicting or unreadable labels (all are listed), ambiguous roles or
            dates, nothing left, or a target with one class only.
    """
    rules = study.cohort
    flow = Flow()
    series, exams, roles = find_exams(rules, series, flow) if rules.scans else exams_of_tables(study, series, flow)
    everyone = {plain_text(i) for column in ("patient_id", "series_id") for i in series[column]}
    paths = dict(zip(series["series_id"], series["path"], strict=True))

    source = ", ".join(Path(file).name for file in label_files(rules))
    table = label_patients(without_unknown(read_labels(rules, flow), rules.unknown), rules, flow)
    check_formulas(table, _columns_read(rules, study.targets), source)
    excluded = _excluded_ids(rules)
    everyone |= set(different(table[rules.patient_column]))
    table = table[~table[rules.patient_column].isin(excluded.keys())]
    sides = _sides(table, rules, source, flow)
    table = with_mutations(table, rules, study.targets, source, flow)
    if sides is not None:  # a mutation is the patient's
        sides = pd.Series([*sides, *[""] * (len(table) - len(sides))], index=table.index)
    for identity in sorted(excluded.keys() - everyone - set(different(table[rules.patient_column]))):
        flow.leave_out("exclude file", "in the exclude file, but nothing has this id", identity)
    kept = ~table[rules.patient_column].isin(excluded.keys())
    table, sides = table[kept], None if sides is None else sides[kept.to_numpy()]
    labels = target_labels(table, rules.patient_column, study.targets, source, sides, rules.decimal)
    where = "in the label table" if rules.labels else "among the sequenced"
    exams = _labelled(exams, labels, set(different(table[rules.patient_column])), where, flow, bool(rules.scans))
    exams = in_time(exams, table, rules, source, flow)
    exams = large_enough(exams, paths, rules.min_lesion, flow, rules.mask_threshold)
    exams = one_exam(exams, rules, flow)
    flow.step("patients", exams["patient_id"].nunique(), "patients")
    cohort = _with_values(exams.reset_index(drop=True), table, rules, flow)
    labels = labels[labels["patient_id"].isin(cohort["patient_id"])].reset_index(drop=True)
    if both_classes:
        _check_classes(labels, study)
    exclusions = pd.DataFrame(flow.exclusions, columns=list(EXCLUSION_COLUMNS)).fillna("")
    return Curated(cohort, labels, exclusions, roles, flow.steps)


def exams_of_tables(
    study: Study, series: pd.DataFrame, flow: Flow
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """As `find_exams`, of a study without scans: an exam for each patient whom a table of features has."""
    decimal, blocks = study.cohort.decimal, {n: block for n, block in study.features.items() if block.table}
    tables = [read_feature_table(block, name, (), decimal, flow) for name, block in blocks.items()]
    patients = sorted({str(patient) for table in tables for patient in table.index})
    flow.step("patients in the features", len(patients), "patients")
    exams = pd.DataFrame({"patient_id": patients, "exam_id": patients, "date": None})
    return series, exams, pd.DataFrame(columns=list(ROLE_COLUMNS))


def find_exams(rules: Cohort, series: pd.DataFrame, flow: Flow) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Exams with every required role, whether labelled or not.

    Args:
        rules: Who the patients are, which series are selected, and the roles.
        series: `index`'s table.
        flow: Gets what is left out, also when nothing is left.

    Returns:
        The index with patients filled in, exams and roles; see `build_exams`.

    Raises:
        CohortError: Nothing is left, or the rules are ambiguous.
    """
    if series.empty:
        raise CohortError("there is no DICOM or NIfTI file below cohort.scans")
    flow.step("series found", len(series), "series")
    series = found = with_patients(series.fillna(""), rules.patient_pattern, rules.scans)
    series = _narrow(series, _readable(series, rules.patient_pattern), READABLE, flow)
    series = _narrow(series, _selected(series, rules), "selected by the study", flow)
    shared = two_persons(series, rules.same_person)
    if shared.ne("").any():
        series = _narrow(series, shared, "one person per patient id", flow)
    matched = {name: role for name, role in rules.roles.items() if not role.boxes}
    fits = role_fits(series, matched)
    series = _narrow(series, _without_role(series, rules, fits.any(axis=1)), "with a role", flow)
    series = series.assign(role=fits.idxmax(axis=1)[series.index])
    exams, roles = build_exams(one_day(series) if rules.exam == "day" else series, matched, flow)
    for name in [n for n in rules.roles if n not in matched]:
        exams[f"role:{name}"] = None  # until the boxes are read
    return found, exams, roles


def _without_role(series: pd.DataFrame, rules: Cohort, playing: pd.Series) -> pd.Series:
    """Why a series plays no role; empty where it plays one."""
    reasons = playing.map({False: "plays no role in this study", True: ""})
    if any("sequence" in role.match for role in rules.roles.values()):
        unknown = ~playing & series["sequence"].isin(["", "other"])
        reasons = reasons.mask(unknown, "plays no role in this study: its sequence is not recognised")
    return reasons


def _readable(series: pd.DataFrame, patient_pattern: str | None) -> pd.Series:
    reasons = series["reason"].where(series["status"] != "ok", "")
    no_patient = (series["status"] == "ok") & (series["patient_id"] == "")
    # the pattern itself may quote an id, which a run with pseudonyms must not show
    mend = "cohort.patient_pattern is not found in the path" if patient_pattern else "give cohort.patient_pattern"
    return reasons.mask(no_patient, f"no patient id: {mend}")


def _selected(series: pd.DataFrame, rules: Cohort) -> pd.Series:
    """Why the study's patterns and exclude file leave a series out; empty: it stays."""
    reasons = pd.Series("", index=series.index)
    for column, pattern in rules.include.items():
        miss = ~found_in(series, column, pattern, "cohort.include / exclude")
        if column != "path":  # a NIfTI file has no such field, so it cannot fail the test
            miss &= (series["format"] == "dicom") | (series[column] != "")
        reasons = reasons.mask((reasons == "") & miss, f"{column} lacks /{pattern}/")
    for column, pattern in rules.exclude.items():
        hit = found_in(series, column, pattern, "cohort.include / exclude")
        reasons = reasons.mask((reasons == "") & hit, f"{column} has /{pattern}/")
    excluded = _excluded_ids(rules)
    for column in ("patient_id", "series_id") if excluded else ():
        why = series[column].map(plain_text).map(excluded)
        reasons = reasons.mask((reasons == "") & why.notna(), "exclude file: " + why.fillna(""))
    return reasons


def _excluded_ids(rules: Cohort) -> dict[str, str]:
    """Patient or series id -> reason, from the user's exclude file."""
    if rules.exclude_file is None:
        return {}
    path = Path(rules.exclude_file)
    if not path.is_file():
        raise CohortError(f"there is no exclude_file {path}")
    table = read_text_table(path)
    id_columns = [c for c in ("patient_id", "series_id") if c in table.columns]
    if not id_columns:
        raise CohortError(f"{path.name} needs a column patient_id or series_id, and may have one named reason")
    reason = table["reason"] if "reason" in table.columns else pd.Series("listed", index=table.index)
    return {plain_text(i): r for c in id_columns for i, r in zip(table[c], reason, strict=True) if i}


def _narrow(series: pd.DataFrame, reasons: pd.Series, step: str, flow: Flow) -> pd.DataFrame:
    kept = flow.narrow(series, reasons, step, "series")
    if kept.empty:
        why = clauses(
            (
                f"{n} x {reason}{_of_patients(series.loc[reasons == reason, 'patient_id'])}"
                for reason, n in counts(reasons).items()
            ),
            _SHOWN,
        )
        raise CohortError(f"of {len(series)} series none is left at the step '{step}': {why}. See series.csv.")
    return kept


def _of_patients(ids: pd.Series) -> str:
    """The first few patient ids in brackets; nothing where no series has one."""
    ids = sorted(set(ids) - {""})
    more = ", ..." if len(ids) > _SHOWN else ""
    return f" (patient {', '.join(ids[:_SHOWN])}{more})" if ids else ""


def _labelled(
    exams: pd.DataFrame, labels: pd.DataFrame, listed: set[str], where: str, flow: Flow, scanned: bool
) -> pd.DataFrame:  # fmt: skip
    """Exams of patients with a known value of one target at least; without scans, exams are rows of features."""
    labelled, near = set(different(labels["patient_id"])), near_ids(exams["patient_id"], listed)

    def reason(patient: str) -> str:
        if patient in labelled:
            return ""
        if patient in listed:
            return "no known target value"
        if patient in near:
            return reason_of(*near[patient])
        return f"patient is not {where}"

    kept = flow.narrow(exams, exams["patient_id"].map(reason), "labelled exams", "exams")
    for patient in sorted(listed - set(exams["patient_id"])):
        lacks = "a usable scan" if scanned else "features"
        flow.leave_out("labelled exams", f"labelled patient without {lacks}", patient)
    if kept.empty:
        who, where = ("scanned patient", "scans") if scanned else ("patient with features", "features")
        raise CohortError(
            f"no {who} has a known value of a target"
            if listed & set(exams["patient_id"])
            else no_overlap(exams["patient_id"], listed, where)
        )
    return kept


def _with_values(cohort: pd.DataFrame, table: pd.DataFrame, rules: Cohort, flow: Flow) -> pd.DataFrame:
    """Add site and clinical columns of the label table."""
    columns = [*([rules.site_column] if rules.site_column else []), *rules.clinical]
    values = patient_values(table, rules.patient_column, columns)
    mine = table[table[rules.patient_column].isin(cohort["patient_id"])]
    for name in columns:  # an age may be that of each exam, so no error
        several = mine[mine[name] != ""].groupby(rules.patient_column)[name].nunique()
        for patient in several.index[several > 1]:
            flow.leave_out("label table", f"rows of a patient differ in column {name}; the first counts", patient)
    site = values[rules.site_column] if rules.site_column else pd.Series(dtype=str)
    cohort.insert(2, "site", cohort["patient_id"].map(site))
    for name in rules.clinical:
        mark = decimal_mark(different(table[name]), f"clinical column {name}", rules.decimal)
        cohort[f"clinical:{name}"] = cohort["patient_id"].map(clinical_numbers(values[name], mark))
    return cohort


def _columns_read(rules: Cohort, targets: Mapping[str, Target]) -> list[str]:
    """Columns of the label table that this study reads, beside the ids."""
    dates = [rules.dates.reference_column, rules.dates.treatment_column, rules.dates.scan_column] if rules.dates else []
    named = [rules.side_column, rules.site_column, rules.sequenced_column, *rules.clinical, *dates]
    for name, target in targets.items():
        named += [target.left, target.right, target.column or ("" if target.genes or target.left else name)]
    return [column for column in named if column]


def _sides(table: pd.DataFrame, rules: Cohort, source: str, flow: Flow) -> pd.Series | None:
    """Which sides each row of the label table is about; None when the study does not ask."""
    column = rules.side_column
    if column is None:
        return None
    if column not in table.columns:
        raise CohortError(f"side_column {unknown_name(column, table.columns)}")
    sides = row_sides(table[column], source)
    for patient in table.loc[sides == "", rules.patient_column]:
        flow.leave_out("label table", f"label row without a side in column {column}", patient)
    return sides


def _check_classes(labels: pd.DataFrame, study: Study) -> None:
    """Refuse targets of which a class has no patient: nothing can be learned of it."""
    troubles = []
    for name, target in study.targets.items():
        mine = labels[labels["target"] == name]
        who = "sides" if mine["side"].ne("").any() else "patients"
        counts = {label: int((mine["label"] == label).sum()) for label in label_names(target)}
        lacking = [label for label, n in counts.items() if n == 0]
        if lacking and target.classes:
            others = listed(f"{n} in {label}" for label, n in counts.items() if n) or "none in the others"
            troubles.append(
                f"target {name} has no {who} in {listed(lacking)}, and {others}. Check targets.{name}.classes, or take "
                f"out what has no {who} and name its cells in targets.{name}.unknown."
            )
        elif lacking:
            if target.genes:
                check = f"targets.{name}.genes, .hotspots and .variants, and cohort.sequenced"
            elif target.above is not None:
                check = f"targets.{name}.above {target.above:g}"
            else:
                check = f"targets.{name}.positive {target.positive} and .negative {target.negative}"
            troubles.append(
                f"target {name} has {counts['positive']} positive and {counts['negative']} negative {who}, so there is "
                f"nothing to tell apart. Check {check}, or remove it."
            )
    if troubles:
        raise CohortError("\n".join(troubles))
