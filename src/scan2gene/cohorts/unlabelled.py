"""Exams without labels: indexed, sorted by the study's rules, and hidden where it asks for pseudonyms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import find_exams
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.lesions import large_enough
from scan2gene.cohorts.roles import contested
from scan2gene.core.errors import CohortError
from scan2gene.core.files import value_hash
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study_cohort import Cohort
from scan2gene.core.tables import EXCLUSION_COLUMNS, ROLE_COLUMNS
from scan2gene.imaging.index import index
from scan2gene.imaging.patients import with_patients
from scan2gene.privacy.keyfile import write_private

HIDDEN_REASON = "cannot be used; the table beside the key file says why"
_SHOWN = 3  # reasons of one exam that a row quotes


@dataclass(frozen=True)
class Found:
    """New exams as they may be shown, and what reading them needs.

    Args:
        exams: With every required role, like cohort.csv.
        series: Their index.
        paths: series_id -> what `read_volume` opens.
        left_out: exam_id -> why it has no row in `exams`.
        listed: Every exam, those left out too: patient_id, exam_id, site.
        hidden: Ids are running numbers.
        warnings: Roles that several series of an exam fit.
    """

    exams: pd.DataFrame
    series: pd.DataFrame
    paths: dict[str, str]
    left_out: dict[str, str]
    listed: pd.DataFrame
    hidden: bool = False
    warnings: tuple[str, ...] = ()


def find_unlabelled(rules: Cohort, out: Path, key: Path | None = None) -> Found:
    """Index scans and sort them into exams; what cannot be used is listed with its reason.

    Args:
        rules: Of the study, with the new scans.
        out: Gets series.csv, roles.csv and exclusions.csv, unless ids are to be hidden.
        key: Key file of a study with pseudonyms; a table of who is who is written beside it.

    Raises:
        CohortError: The rules are ambiguous or wrong. That nothing is left is no error.
    """
    series = index(rules.scans, None if key else RunDirectory(out).unfinished_index.path)
    # one patient's folder may be all that is given, and its own name tell the patient
    above = [str(Path(p).parent) for p in rules.scans]
    series = with_patients(series.fillna(""), rules.patient_pattern, above)
    flow = Flow()
    paths = dict(zip(series["series_id"], series["path"], strict=True))
    exams = pd.DataFrame(columns=["patient_id", "exam_id", *[f"role:{r}" for r in rules.roles]])
    roles = pd.DataFrame(columns=list(ROLE_COLUMNS))
    try:
        _, exams, roles = find_exams(rules, series, flow)
        exams = large_enough(exams, paths, rules.min_lesion, flow, rules.mask_threshold)
    except CohortError:
        if not flow.steps or flow.steps[-1]["kept"]:  # not for want of exams: the rules are wrong
            if key:
                raise CohortError("the scans cannot be sorted into exams; see cohort.roles and the folders") from None
            raise
        exams = exams.iloc[:0]
    exams = exams.reset_index(drop=True)
    left_out = _left_out(flow, exams)
    listed = pd.concat([exams[["patient_id", "exam_id"]], left_out[["patient_id", "exam_id"]]], ignore_index=True)
    found = Found(
        exams, series, paths, dict(zip(left_out["exam_id"], left_out["reason"], strict=True)), listed.assign(site=None),
        warnings=tuple(contested(roles)),
    )  # fmt: skip
    if key:
        return _hidden(found, key, out)
    RunDirectory(out).series.write(series)
    RunDirectory(out).roles.write(roles)
    RunDirectory(out).exclusions.write(pd.DataFrame(flow.exclusions, columns=list(EXCLUSION_COLUMNS)))
    return found


def _left_out(flow: Flow, exams: pd.DataFrame) -> pd.DataFrame:
    """Exams that have no row in `exams`, and files that belong to no patient: patient_id, exam_id, reason."""
    used = set(exams[["patient_id", "exam_id"]].itertuples(index=False, name=None))
    used |= {(p, e.removesuffix(f"#{p}")) for p, e in used}  # as before two patients' exams were told apart
    people = set(exams["patient_id"])
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in sorted(flow.exclusions, key=lambda r: r["stage"] != "complete exams"):  # what is lacking comes first
        patient, exam = row["patient_id"], row["exam_id"] or row["series_id"]
        if (patient, exam) in used or (not row["exam_id"] and patient in people):
            continue
        told = reasons.setdefault((patient, exam), [])
        if row["reason"] not in told:
            told.append(row["reason"])
    taken = set(exams["exam_id"])
    rows = []
    for (patient, exam), told in sorted(reasons.items()):
        name = f"{exam}#{patient}" if exam in taken else exam  # several patients may share a folder or a study
        if name not in taken and (patient or name == exam):
            rows.append((patient, name, "; ".join(told[:_SHOWN])))
            taken.add(name)
    return pd.DataFrame(rows, columns=["patient_id", "exam_id", "reason"])


def _hidden(found: Found, key: Path, out: Path) -> Found:
    """The exams under running numbers, in the order of their paths; what they stand for is written beside the key."""
    roles = [c for c in found.exams.columns if c.startswith("role:")]
    first = {row["exam_id"]: min(found.paths[row[c]] for c in roles if isinstance(row[c], str))
             for row in found.exams.to_dict("records")}  # fmt: skip
    listed = found.listed.assign(path=found.listed["exam_id"].map(lambda e: first.get(e, e)))
    listed = listed.sort_values(["path", "exam_id"], ignore_index=True)
    numbers = {e: f"EXAM-{n:03d}" for n, e in enumerate(listed["exam_id"], start=1)}
    people = {p: f"PATIENT-{n:03d}" for n, p in enumerate(listed["patient_id"].unique(), start=1)}
    told = listed.assign(
        shown=listed["exam_id"].map(numbers), shown_patient=listed["patient_id"].map(people),
        reason=listed["exam_id"].map(found.left_out).fillna(""),
    )  # fmt: skip
    named = f"{key.stem}.apply-{out.resolve().name}-{value_hash(str(out.resolve()))[:4]}{key.suffix}"
    write_private(key.with_name(named), told.drop(columns="site"))

    def shown(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(patient_id=table["patient_id"].map(people), exam_id=table["exam_id"].map(numbers))

    return replace(
        found,
        exams=shown(found.exams).sort_values("exam_id", ignore_index=True),
        left_out={numbers[e]: HIDDEN_REASON for e in found.left_out},
        listed=shown(listed[["patient_id", "exam_id", "site"]]),
        hidden=True,
    )
