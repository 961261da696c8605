"""A study file drafted from scans and a label table, every guess with what was seen."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import find_exams
from scan2gene.cohorts.draft_targets import other_classes, target_lines, target_warnings
from scan2gene.cohorts.draft_text import one_line, scalar, single, study_name
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.guess_columns import (
    date_columns,
    guess_age,
    guess_sex,
    guess_site,
)
from scan2gene.cohorts.guess_features import TableGuess, guess_tables, look_at_tables, table_lines
from scan2gene.cohorts.guess_roles import MANDATORY, RARE, RoleGuess, literal
from scan2gene.cohorts.label_table import sheets
from scan2gene.cohorts.roles import contested, found_in
from scan2gene.cohorts.seen import Seen, choose_targets, look
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort, Role
from scan2gene.core.text import listed

MAX_ROLES = 4
_PROCEDURES = r"BIOPSY|LOCALI[SZ]ATION|WIRE|CLIP"


def draft_study(scans: Path, labels: Path, out: Path, targets: Sequence[str] = ()) -> str:
    """Text of a study file that `load_study` reads, comments included; see `draft`."""
    return draft(scans, labels, out, targets)[0]


def draft(
    scans: Path | None, labels: Path, out: Path, targets: Sequence[str] = (), tables: Sequence[Path] = ()
) -> tuple[str, list[str]]:  # fmt: skip
    """Draft a study.

    Args:
        scans: Folder with DICOM or NIfTI; None: a study of tables of features.
        labels: CSV, TSV or Excel table, or a MAF.
        out: Where the file will lie; its paths are written relative to that folder.
        targets: Columns to predict; none: up to three are guessed.
        tables: Tables of features.

    Returns:
        Text of a study file that `load_study` reads, comments included; and what a person must look at first.

    Raises:
        CohortError: No readable scan, no column with the patients, no role, no target.
    """
    seen = look(scans, labels, targets) if scans else look_at_tables(tables, labels, targets)
    chosen, others = choose_targets(seen, targets)
    used = _used_roles(seen) if scans else []
    contests = _contested(seen, used) if scans else []
    columns = [c for t in chosen for c in t.sides or (t.column,)]
    features = guess_tables(tables, labels, seen, columns, [_relative(table, out) for table in tables])
    classes = other_classes(seen, [*chosen, *others])
    lines = [
        *_head_lines(seen, out, [t.column for t in chosen], used, features),
        "cohort:",
        *([f"  scans: [{scalar(_relative(scans, out))}]"] if scans else []),
        *_cohort_lines(seen, labels, out, columns),
        *(["  roles:                       # patterns on columns of series.csv"] if scans else []),
        *(f"    # WARNING: {text}" for text in contests),
        *_role_lines(seen, used),
        "",
        f"targets:                       # positive / negative, or each class, among {_patients_of(scans)}",
        *target_lines(seen, chosen, others, classes),
        "",
        *(["features:                      # tables of numbers, a row per patient"] if features else []),
        *(line for guess in features for line in table_lines(guess)),
        *([""] if features else []),
        *_open_lines(seen, bool(scans)),
    ]
    lost = seen.patients.told if seen.patients.found < seen.patients.scanned else ()
    warnings = [*lost, *contests, *target_warnings(chosen, classes), *(w for guess in features for w in guess.warnings)]
    return "\n".join(map(one_line, lines)) + "\n", warnings


def _patients_of(scans: Path | None) -> str:
    return "scanned patients" if scans else "patients with features"


def _used_roles(seen: Seen) -> list[RoleGuess]:
    """The roles that are drafted; others stand as comments."""
    roles = [g for g in seen.roles if g.pattern]
    if not any(g.kind == "intensity" for g in roles):
        raise CohortError("nothing tells what the series are; write roles by hand, from `scan2gene new classify-3d`")
    used = [g for g in roles if g.patients >= RARE * len(seen.scanned) or g is roles[0]]
    images = [g for g in used if g.kind == "intensity"][:MAX_ROLES]
    return images + [g for g in used if g.kind == "label"][:1]


def _head_lines(
    seen: Seen, out: Path, targets: Sequence[str], used: Sequence[RoleGuess], features: Sequence[TableGuess]
) -> list[str]:  # fmt: skip
    sequences = ", ".join(g.name for g in used if g.kind == "intensity")
    names = [*([f"{sequences} MRI"] if used else []), *(f"the table {guess.name}" for guess in features)]
    question = f"Can {', '.join(targets)} be predicted from {listed(names)}?"
    given = f"{seen.n_series} series" if used else f"features of {seen.patients.scanned} patients"
    return [
        f"# Drafted by `scan2gene new` from {given} and {len(seen.table)} label rows. What follows is",
        "# guessed; beside every guess stands what was seen. Check it, then:",
        f"#   scan2gene curate {out.name}     who is in, who is not and why",
        f"#   scan2gene plan {out.name}       what these patients can show, and what it will cost",
        f"#   scan2gene run {out.name}",
        f"name: {scalar(study_name(out.stem))}",
        f"question: {scalar(question)}",
        "seed: 2026",
        "",
    ]


def _contested(seen: Seen, used: Sequence[RoleGuess]) -> list[str]:
    """What decides between several series of an exam that fit one of the drafted roles."""
    roles = {g.name: Role(match=dict([(g.column, g.pattern), *g.also]), kind=g.kind, optional=True) for g in used}
    rules = Cohort(scans=["scans"], labels="labels", roles=roles, exclude=_exclude_rules(seen))
    series = seen.series[seen.series["patient_id"].isin(seen.scanned)]
    try:
        return contested(find_exams(rules, series, Flow())[2])
    except CohortError as error:
        return [f"these roles make no exam: {error}"]


def _cohort_lines(seen: Seen, labels: Path, out: Path, targets: list[str]) -> list[str]:
    guess = seen.patients
    lines = [f"  {'mutations' if seen.mutations else 'labels'}: {scalar(_relative(labels, out))}"]
    if seen.mutations:
        lines.append("  # sequenced: cases_sequenced.txt   # ids of all who were sequenced; else who has a row counts")
    if seen.sheet:
        lines.append(f"  sheet: {scalar(seen.sheet)}                 # of {', '.join(sheets(labels))}")
    lines += [f"  # {line}" for line in guess.told]
    if guess.others:
        lines.append("  # other columns with such ids: " + ", ".join(f"{c} ({n})" for c, n in guess.others))
    lines.append(f"  patient_column: {scalar(guess.column)}")
    if guess.label_id_pattern:
        lines.append(f"  label_id_pattern: {single(guess.label_id_pattern)}   # group 1, in a cell of the table")
    if guess.patient_pattern:
        lines.append(f"  patient_pattern: {single(guess.patient_pattern)}   # group 1, in the path of a scan")
    site = guess_site(seen.table, guess.column, seen.scanned)
    if site:
        told = ", ".join(f"{k} {v}" for k, v in list(site[1].items())[:6])
        lines.append(f"  site_column: {scalar(site[0])}   # {told}{' and others' if len(site[1]) > 6 else ''}")
    else:
        lines.append("  # site_column: hospital      # no column was recognised as an institution")
    lines += _clinical_lines(seen, targets)
    lines += _exclude_lines(seen)
    several = _patients_with_several_exams(seen)
    if several:
        lines.append(
            f"  # exams: first               # patients with several exams: {several}; all their exams are kept"
        )
    dated = [c for c in date_columns(seen.table) if c not in targets][:6]
    if dated and len(seen.series):
        lines.append(f"  # dates: {{reference_column: {scalar(dated[0])}, window_days: [-90, 0]}}")
        lines.append(f"  #   columns with dates or days: {', '.join(dated)}")
    if any(g.kind == "label" for g in seen.roles):
        lines.append("  # min_lesion: {role: mask, volume_mm3: 100}")
    lines.append("  # exclude_file: exclude.csv  # patient_id or series_id, and reason")
    return lines


def _clinical_lines(seen: Seen, targets: list[str]) -> list[str]:
    age, unknown, remarks = guess_age(seen.table, targets)
    sex, why = guess_sex(seen.table)
    columns = [c for c in (age, sex) if c and c not in targets]
    lines = [f"  # {remark}" for remark in [*remarks, why] if remark]
    if unknown:
        cells = ", ".join(map(single, unknown))
        lines.append(f"  unknown: [{cells}]   # cells of {age} that are no numbers: 'not known', wherever they stand")
    if columns:
        named = ", ".join(map(scalar, columns))
        return [*lines, f"  clinical: [{named}]   # known before the scan; add no column that was not"]
    return [*lines, "  # clinical: [age]            # no column of ages in numbers was found"]


def _patients_with_several_exams(seen: Seen) -> int:
    dicom = seen.series[(seen.series["format"] == "dicom") & seen.series["patient_id"].isin(seen.scanned)]
    dicom = dicom[~found_in(dicom, "StudyDescription", _PROCEDURES, "exclude")]
    return int(dicom.groupby("patient_id")["exam_id"].nunique().gt(1).sum())


def _exclude_rules(seen: Seen) -> dict[str, str]:
    """Patterns of series that no study wants."""
    rules = {}
    if 0 < found_in(seen.series, "StudyDescription", _PROCEDURES, "exclude").sum() < len(seen.series):
        rules["StudyDescription"] = _PROCEDURES
    if 0 < _burned_in(seen) < len(seen.series):
        rules["BurnedInAnnotation"] = "^YES$"
    if seen.patients.exclude_path:
        rules["path"] = seen.patients.exclude_path
    return rules


def _burned_in(seen: Seen) -> int:
    marked = seen.series.get("BurnedInAnnotation", pd.Series(dtype=str)).astype(str).str.upper().eq("YES")
    return int(marked.sum())


def _exclude_lines(seen: Seen) -> list[str]:
    lines = []
    text = seen.series["StudyDescription"]
    rules = _exclude_rules(seen)
    if "StudyDescription" in rules:
        hit = found_in(seen.series, "StudyDescription", _PROCEDURES, "exclude")
        lines.append(f"  # {hit.sum()} series: " + ", ".join(f"{t!r}" for t in text[hit].unique()[:3]))
    if "BurnedInAnnotation" in rules:
        lines.append(f"  # {_burned_in(seen)} series with text burned into their pixels, which may be a name")
    if "path" in rules:
        lines.append("  # exams whose rows of the label table are not taken")
    if rules:
        lines.append("  exclude: {" + ", ".join(f"{c}: {single(p)}" for c, p in rules.items()) + "}")
    described = text[text != ""].value_counts()
    if len(described) > 1:
        told = "; ".join(f"{n} x {t!r}" for t, n in described.head(5).items())
        lines.append(f"  # include: {{StudyDescription: {single(literal(str(described.index[0])))}}}   # {told}")
    return lines


def _role_lines(seen: Seen, used: Sequence[RoleGuess]) -> list[str]:
    lines = []
    if any(guess.name == "post1" or guess.name == "phase1" for guess in used):
        lines += [
            "    # pre, post1, post2 ...: contrast phases in the order of their names or numbers. Check that this is",
            "    # their order in time, and that they are no visits or maps. phase1, phase2 ...: nothing says which is",
            "    # before contrast agent",
        ]
    if any(re.match(r"image-\d", guess.name) for guess in used):
        lines.append("    # numbered files: sequences, or contrast phases (then 0000 is the one before contrast agent)")
    for guess in seen.roles:
        role = guess in used
        optional = guess.patients < MANDATORY * len(seen.scanned) and guess is not used[0]
        extra = (", kind: label" if guess.kind == "label" else "") + (", optional: true" if optional else "")
        told = f"{guess.patients} of {len(seen.scanned)} patients, {guess.series} series; {guess.why}"
        match = ", ".join(f"{c}: {single(p)}" for c, p in ((guess.column, guess.pattern), *guess.also))
        text = f"{scalar(guess.name)}: {{match: {{{match}}}{extra}}}   # {told}"
        lines.append(f"    {'' if role else '# '}{text}")
    return lines


def _open_lines(seen: Seen, scanned: bool) -> list[str]:
    kept = "Preprocessing, splits, batch, augmentation and runs" if scanned else "Splits and runs"
    lines = [
        f"# {kept} are left open: they are chosen from the curated",
        "# cohort. `scan2gene plan` says what was chosen, why, and what it will cost; whatever is set here is kept.",
    ]
    if guess_site(seen.table, seen.patients.column, seen.scanned):
        lines += [
            "# splits:",
            "#   - {name: cv, kind: kfold, folds: 5}",
            "#   - {name: sites, kind: leave_one_site_out}   # every site tested by networks that never saw it",
        ]
    return lines


def _relative(path: Path, out: Path) -> str:
    return Path(os.path.relpath(path.resolve(), out.resolve().parent)).as_posix()
