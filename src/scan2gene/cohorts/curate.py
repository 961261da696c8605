"""Curation: series and labels joined to exams; everything left out has a reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.labels import clinical_numbers, patient_values, read_label_table, read_text_table, target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Cohort, Role, Study, unknown_name
from scan2gene.core.tables import EXCLUSION_COLUMNS
from scan2gene.imaging.dicom import KEYWORDS

_SHOWN = 5  # how many reasons a message quotes


@dataclass(frozen=True)
class Curated:
    """What curation gives.

    Args:
        cohort: One row per exam: patient_id, exam_id, site, date, `role:<name>` columns
            with series_id, `clinical:<name>` columns with numbers.
        labels: Long: patient_id, side, target, value, source.
        exclusions: Columns `EXCLUSION_COLUMNS`.
        flow: The flow diagram's boxes, top to bottom: step, kept, unit, left_out.
    """

    cohort: pd.DataFrame
    labels: pd.DataFrame
    exclusions: pd.DataFrame
    flow: list[dict[str, Any]]


def curate(study: Study, series: pd.DataFrame) -> Curated:
    """Join the series index and the label table.

    Args:
        study: Its `cohort` and `targets` parts are used.
        series: `index`'s table.

    Raises:
        CohortError: Contradicting or unreadable labels (all are listed), ambiguous roles,
            nothing left, or a target with one class only.
    """
    rules = study.cohort
    if series.empty:
        raise CohortError("there is no DICOM or NIfTI file below cohort.scans")
    out: list[dict[str, str]] = []
    flow = [{"step": "series found", "kept": len(series), "unit": "series", "left_out": {}}]
    series = with_patients(series.fillna(""), rules)
    for step, keep in (("readable, regular volumes", _readable), ("selected by the study", _selected)):
        series = _narrow(series, keep(series, rules), step, out, flow)
    series = _assign_roles(series, rules.roles, out, flow)
    exams = _exams(series, rules.roles, out, flow)

    table = read_label_table(Path(rules.labels), rules.patient_column)
    excluded = _excluded_ids(rules)
    known = {
        *series["patient_id"],
        *series["series_id"],
        *table[rules.patient_column],
        *(row["series_id"] for row in out),
    }
    for identity in sorted(excluded.keys() - known - {row["patient_id"] for row in out}):
        out.append(_exclusion("exclude file", identity, "", "", "in the exclude file, but nothing has this id"))
    table = table[~table[rules.patient_column].isin(excluded.keys())]
    labels = target_labels(table, rules.patient_column, study.targets, Path(rules.labels).name)
    cohort = _join_labels(exams, labels, table, rules, out, flow)
    labels = labels[labels["patient_id"].isin(cohort["patient_id"])].reset_index(drop=True)
    _check_classes(labels, study)
    exclusions = pd.DataFrame(out, columns=list(EXCLUSION_COLUMNS)).fillna("")
    return Curated(cohort, labels, exclusions, flow)


def with_patients(series: pd.DataFrame, rules: Cohort) -> pd.DataFrame:
    """Fill patient_id from the path where the study says how."""
    if rules.patient_pattern:
        # searched from the scan folder down, so that a pattern never hits the folders above it
        roots = "|".join(re.escape(str(p)) for p in sorted(rules.scans, key=len, reverse=True))
        below = series["path"].str.replace(f"^(?:{roots})", "", regex=True)
        pattern = re.compile(rules.patient_pattern)
        if not pattern.groups:
            raise CohortError("cohort.patient_pattern needs one group in brackets around the patient id")
        found = [(match := pattern.search(path)) and match[1] for path in below]
        series = series.assign(patient_id=[f or own for f, own in zip(found, series["patient_id"], strict=True)])
    return series


def _readable(series: pd.DataFrame, rules: Cohort) -> pd.Series:
    reasons = series["reason"].where(series["status"] != "ok", "")
    no_patient = (series["status"] == "ok") & (series["patient_id"] == "")
    return reasons.mask(no_patient, "no patient id: give cohort.patient_pattern")


def _selected(series: pd.DataFrame, rules: Cohort) -> pd.Series:
    """Why the study's patterns and exclude file leave a series out; empty: it stays."""
    reasons = pd.Series("", index=series.index)
    for column in [*rules.include, *rules.exclude]:
        if column not in series.columns:
            raise CohortError(f"cohort.include / exclude: column {unknown_name(column, series.columns)}")
    for column, pattern in rules.include.items():
        miss = ~series[column].str.contains(pattern, case=False, regex=True)
        if column in KEYWORDS:  # a NIfTI file has no such field, so it cannot fail the test
            miss &= series["format"] == "dicom"
        reasons = reasons.mask((reasons == "") & miss, f"{column} lacks /{pattern}/")
    for column, pattern in rules.exclude.items():
        hit = series[column].str.contains(pattern, case=False, regex=True)
        reasons = reasons.mask((reasons == "") & hit, f"{column} has /{pattern}/")
    for identity, why in _excluded_ids(rules).items():
        hit = (series["patient_id"] == identity) | (series["series_id"] == identity)
        reasons = reasons.mask((reasons == "") & hit, f"exclude file: {why}")
    return reasons


def _excluded_ids(rules: Cohort) -> dict[str, str]:
    """Patient or series id -> reason, from the user's exclude file."""
    if rules.exclude_file is None:
        return {}
    path = Path(rules.exclude_file)
    if not path.is_file():
        raise CohortError(f"there is no exclude_file {path}")
    table = read_text_table(path)
    table = table.apply(lambda column: column.str.strip())
    id_columns = [c for c in ("patient_id", "series_id") if c in table.columns]
    if not id_columns:
        raise CohortError(f"{path.name} needs a column patient_id or series_id, and may have one named reason")
    reason = table["reason"] if "reason" in table.columns else pd.Series("listed", index=table.index)
    return {i: r for c in id_columns for i, r in zip(table[c], reason, strict=True) if i}


def _narrow(
    series: pd.DataFrame, reasons: pd.Series, step: str, out: list[dict[str, str]], flow: list[dict[str, Any]]
) -> pd.DataFrame:
    gone = series[reasons != ""].assign(reason=reasons[reasons != ""])
    for row in gone.itertuples():
        out.append(_exclusion(step, row.patient_id, row.exam_id, row.series_id, row.reason))
    kept = series[reasons == ""]
    if kept.empty:
        why = "; ".join(f"{n} x {reason}" for reason, n in list(_counts(gone["reason"]).items())[:_SHOWN])
        raise CohortError(f"of {len(series)} series none is left at the step '{step}': {why}. See series.csv.")
    flow.append({"step": step, "kept": len(kept), "unit": "series", "left_out": _counts(gone["reason"])})
    return kept


def _assign_roles(
    series: pd.DataFrame, roles: Mapping[str, Role], out: list[dict[str, str]], flow: list[dict[str, Any]]
) -> pd.DataFrame:
    """Add `role`; a series that plays none is left out, one that fits two stops curation."""
    fits = pd.DataFrame(index=series.index)
    for name, role in roles.items():
        match = pd.Series(True, index=series.index)
        for column, pattern in role.match.items():
            if column not in series.columns:
                raise CohortError(f"role {name}: column {unknown_name(column, series.columns)}")
            match &= series[column].str.contains(pattern, case=False, regex=True)
        fits[name] = match
    twice = fits.sum(axis=1) > 1
    if twice.any():
        row = series[twice].iloc[0]
        names = ", ".join(fits.columns[fits.loc[row.name].to_numpy(bool)])
        raise CohortError(
            f"{int(twice.sum())} series fit more than one role, first {row['series_id']} "
            f"({row['SeriesDescription'] or 'no description'}): {names}. Make the roles' patterns exclude each other."
        )
    none = ~fits.any(axis=1)
    series = _narrow(series, none.map({True: "plays no role in this study", False: ""}), "with a role", out, flow)
    return series.assign(role=fits.idxmax(axis=1)[series.index] if len(series) else "")


def _exams(
    series: pd.DataFrame, roles: Mapping[str, Role], out: list[dict[str, str]], flow: list[dict[str, Any]]
) -> pd.DataFrame:
    """One row per exam that has every required role; one series per role, the one with most slices."""
    series = _nifti_beside_dicom(series)
    rows: list[dict[str, Any]] = []
    lacking: list[str] = []
    for (patient, exam), group in series.groupby(["patient_id", "exam_id"], sort=True):
        row: dict[str, Any] = {"patient_id": patient, "exam_id": exam, "date": group["StudyDate"].max() or None}
        slices = group["shape"].str.rpartition("x")[2].astype(int)
        ranked = group.assign(slices=slices).sort_values(["slices", "path"], ascending=[False, True])
        for role in roles:
            candidates = ranked[ranked["role"] == role]
            row[f"role:{role}"] = candidates["series_id"].iloc[0] if len(candidates) else None
            for other in candidates["series_id"].iloc[1:]:
                out.append(
                    _exclusion("one series per role", patient, exam, other, f"another series was taken as {role}")
                )
        missing = [r for r, rule in roles.items() if not rule.optional and row[f"role:{r}"] is None]
        if missing:
            lacking.append(f"exam lacks {', '.join(missing)}")
            out.append(_exclusion("complete exams", patient, exam, "", lacking[-1]))
        else:
            rows.append(row)
    flow.append(
        {
            "step": "complete exams",
            "kept": len(rows),
            "unit": "exams",
            "left_out": _counts(pd.Series(lacking, dtype=str)),
        }
    )
    if not rows:
        raise CohortError(
            "no exam has every required role. "
            + "; ".join(f"{n} x {why}" for why, n in _counts(pd.Series(lacking, dtype=str)).items())
            + ". Look at series.csv and mend the patterns under cohort.roles. "
            "The NIfTI files of one exam must lie in one folder."
        )
    exams = pd.DataFrame(rows)
    # several patients' NIfTI files may lie in one folder; an exam id names one patient's exam
    shared = exams.groupby("exam_id")["patient_id"].transform("nunique") > 1
    exams["exam_id"] = exams["exam_id"].where(~shared, exams["exam_id"] + "#" + exams["patient_id"])
    return exams


def _nifti_beside_dicom(series: pd.DataFrame) -> pd.DataFrame:
    """A NIfTI (a mask, say) belongs to the DICOM exam of its patient that lies beside or below it."""
    exam = series["exam_id"].copy()
    dicom = series[series["format"] == "dicom"]
    for row in series[series["format"] == "nifti"].itertuples():
        folder = row.exam_id.rstrip("/") + "/"
        near = dicom[(dicom["patient_id"] == row.patient_id) & dicom["path"].str.startswith(folder)]
        if near["exam_id"].nunique() == 1:
            exam[row.Index] = near["exam_id"].iloc[0]
    return series.assign(exam_id=exam)


def _join_labels(
    exams: pd.DataFrame,
    labels: pd.DataFrame,
    table: pd.DataFrame,
    rules: Cohort,
    out: list[dict[str, str]],
    flow: list[dict[str, Any]],
) -> pd.DataFrame:
    columns = [*([rules.site_column] if rules.site_column else []), *rules.clinical]
    values = patient_values(table, rules.patient_column, columns)
    listed, labelled = set(table[rules.patient_column]), set(labels["patient_id"])
    reasons = exams["patient_id"].map(
        lambda p: (
            "" if p in labelled else "no known target value" if p in listed else "patient is not in the label table"
        )
    )
    gone = exams[reasons != ""].assign(reason=reasons[reasons != ""])
    for row in gone.itertuples():
        out.append(_exclusion("labelled", row.patient_id, row.exam_id, "", row.reason))
    cohort = exams[reasons == ""].reset_index(drop=True)
    for patient in sorted(listed - set(exams["patient_id"])):
        out.append(_exclusion("labelled", patient, "", "", "labelled patient without a usable scan"))
    left = _counts(gone["reason"])
    flow.append({"step": "labelled exams", "kept": len(cohort), "unit": "exams", "left_out": left})
    flow.append({"step": "patients", "kept": cohort["patient_id"].nunique(), "unit": "patients", "left_out": {}})
    if cohort.empty:
        raise CohortError(
            f"no scanned patient has a label. Scans have ids such as {exams['patient_id'].iloc[0]!r}, "
            f"the label table such as {next(iter(sorted(listed)), 'none')!r}; see cohort.patient_pattern."
        )
    site = values[rules.site_column] if rules.site_column else pd.Series(dtype=str)
    cohort.insert(2, "site", cohort["patient_id"].map(site))
    for name in rules.clinical:
        cohort[f"clinical:{name}"] = cohort["patient_id"].map(clinical_numbers(values[name]))
    return cohort


def _check_classes(labels: pd.DataFrame, study: Study) -> None:
    troubles = []
    for name, target in study.targets.items():
        values = labels.loc[labels["target"] == name, "value"]
        positive, negative = int((values == 1).sum()), int((values == 0).sum())
        if not positive or not negative:
            troubles.append(
                f"target {name} has {positive} positive and {negative} negative patients, so there is nothing to tell "
                f"apart. Check targets.{name}.positive {target.positive} and .negative {target.negative}, or remove it."
            )
    if troubles:
        raise CohortError("\n".join(troubles))


def _exclusion(stage: str, patient: str, exam: str, series: str, reason: str) -> dict[str, str]:
    return dict(zip(EXCLUSION_COLUMNS, (stage, patient, exam, series, reason), strict=True))


def _counts(reasons: pd.Series) -> dict[str, int]:
    return {str(k): int(v) for k, v in reasons.value_counts().items()}
