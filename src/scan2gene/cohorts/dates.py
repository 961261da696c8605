"""Dates of scans, biopsies and treatments: which exams are of the right time, and which one is taken."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.labels import MISSING, place_of
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_cohort import Cohort, Dates
from scan2gene.core.text import clauses

_EXCEL_DAY_ZERO = datetime.date(1899, 12, 30)  # so that serial numbers after February 1900 fall right
_MONTHS = ("%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%y")
_SHOWN = 5
Day = datetime.date | float  # a calendar day, or days since an event of the table's choice


def parse_day(text: Any, written: str | None = None) -> Day | None:
    """A day out of a cell.

    Args:
        text: 20200304, 2020-03-04 (a time may follow), 4-Mar-2020, 13/03/2020, or a number.
        written: `Dates.written`: settles 03/04/2020 and plain numbers.

    Returns:
        A date; a number of days since some event; or None where the cell says "not known".

    Raises:
        ValueError: What is wrong with the cell, or which key settles it.
    """
    cell = str(text).strip()
    if text is None or cell.lower() in MISSING:
        return None
    if re.fullmatch(r"(19|20)\d{6}(\.0)?", cell) and written != "days":
        return _date(int(cell[:4]), int(cell[4:6]), int(cell[6:8]))
    if re.fullmatch(r"[-+]?\d+(\.\d+)?", cell):
        number = float(cell)
        return _EXCEL_DAY_ZERO + datetime.timedelta(days=int(number)) if written == "excel" else number
    whole = re.fullmatch(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ].*)?", cell)
    if whole:
        return _date(*(int(part) for part in whole.groups()))
    parts = re.fullmatch(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})(?: .*)?", cell)
    if parts:
        one, two, year = map(int, parts.groups())
        return _day_and_month(one, two, year, written)
    for form in _MONTHS:
        try:
            return datetime.datetime.strptime(cell, form).date()
        except ValueError:
            continue
    raise ValueError("is no date that can be read; write it as 2020-03-04, or name it in cohort.unknown")


def _date(year: int, month: int, day: int) -> datetime.date:
    try:
        return datetime.date(year, month, day)
    except ValueError:
        raise ValueError("is no day of the calendar") from None


def _day_and_month(one: int, two: int, year: int, written: str | None) -> datetime.date:
    if written not in ("dmy", "mdy"):
        if one <= 12 and two <= 12 and one != two:
            raise ValueError("may be day/month or month/day; say cohort.dates.written: dmy or mdy")
        written = "mdy" if two > 12 else "dmy"
    day, month = (one, two) if written == "dmy" else (two, one)
    return _date(year, month, day)


def in_time(exams: pd.DataFrame, table: pd.DataFrame, rules: Cohort, source: str, flow: Flow) -> pd.DataFrame:
    """Keep the exams of the right time, as `rules.dates` says.

    Args:
        exams: patient_id, exam_id, date.
        table: The label table; its index is the line in `source`.
        rules: The study's cohort.
        source: File name of the table, for messages.
        flow: Gets what is left out.

    Returns:
        The exams that stay, with a column `days` where there is a reference: scan minus
        reference. An exam whose distance to the window is not known is left out; one whose
        treatment date is not known stays.

    Raises:
        CohortError: An unreadable or ambiguous cell, or different days for one patient.
    """
    dates = rules.dates
    if dates is None:
        return exams
    known = {
        column: _by_patient(table, rules.patient_column, column, dates, source)
        for column in (dates.scan_column, dates.reference_column, dates.treatment_column)
        if column
    }
    told = dates.scan_column
    scanned = exams["patient_id"].map(known[told]) if told else exams["date"].map(_scan_day)
    reasons = pd.Series("", index=exams.index)
    if dates.reference_column:
        days = _apart(scanned, exams["patient_id"].map(known[dates.reference_column]), dates.reference_column)
        exams = exams.assign(days=days)
        if dates.window_days:
            low, high = dates.window_days
            column = dates.reference_column
            unknown = f"the day of the scan or its {column} is not known"
            reasons = reasons.mask(days.isna(), unknown)
            outside = days.map(lambda d: f"scan is {_told(d, column)}, outside [{low:g}, {high:g}]")
            reasons = reasons.mask((days < low) | (days > high), outside)
    if dates.treatment_column:
        column = dates.treatment_column
        after = _apart(scanned, exams["patient_id"].map(known[column]), column)
        late = after.map(lambda d: f"after treatment: scan is {_told(d, column)}")
        reasons = reasons.mask((reasons == "") & (after > 0), late)
    kept = flow.narrow(exams, reasons, "exams of the right time", "exams")
    if kept.empty:
        why = clauses((f"{n} x {r}" for r, n in flow.steps[-1]["left_out"].items()), _SHOWN)
        raise CohortError(f"no exam is of the right time (cohort.dates): {why}.")
    return kept


def _told(days: float, column: str) -> str:
    return f"{abs(days):g} days {'after' if days > 0 else 'before'} {column}" if days else f"on the day of {column}"


def _scan_day(text: Any) -> Day | None:
    """The header's date; a damaged one is not known."""
    try:
        return parse_day(text)
    except ValueError:
        return None


def _by_patient(table: pd.DataFrame, patient_column: str, column: str, dates: Dates, source: str) -> dict[str, Day]:
    """patient_id -> the day in a column."""
    if column not in table.columns:
        raise CohortError(f"cohort.dates: column {unknown_name(column, table.columns)}")
    found: dict[str, tuple[Day, int]] = {}
    troubles = []
    for line, patient, cell in zip(table.index, table[patient_column], table[column], strict=True):
        try:
            day = parse_day(cell, dates.written)
        except ValueError as error:
            troubles.append(f"{place_of(source, line)}, {column} {cell!r} {error}")
            continue
        if day is None:
            continue
        before = found.setdefault(patient, (day, line))
        if before[0] != day:
            troubles.append(
                f"patient {patient} has two different {column} at {place_of(source, before[1])} and "
                f"{place_of(source, line)}. "
                f"Delete one row, or list {patient} in exclude.csv"
            )
    if troubles:
        more = f"\nand {len(troubles) - _SHOWN} more" if len(troubles) > _SHOWN else ""
        raise CohortError(".\n".join(troubles[:_SHOWN]) + "." + more)
    return {patient: day for patient, (day, _) in found.items()}


def _apart(scanned: pd.Series, other: pd.Series, column: str) -> pd.Series:
    """Days from `other` to the scan; NaN where one is not known."""
    found = []
    for scan, day in zip(scanned, other, strict=True):
        if _missing(scan) or _missing(day):
            found.append(float("nan"))
        elif isinstance(scan, datetime.date) and isinstance(day, datetime.date):
            found.append(float((scan - day).days))
        elif isinstance(scan, datetime.date) or isinstance(day, datetime.date):
            raise CohortError(
                f"cohort.dates: {column} and the day of the scan are written differently, one as a date and one as a "
                f"number ({scan} and {day}). Excel's serial numbers need written: excel; days since an event need "
                "scan_column with days since the same event."
            )
        else:
            found.append(float(scan - day))
    return pd.Series(found, index=scanned.index, dtype=float)


def _missing(day: Any) -> bool:
    return day is None or day != day


def one_exam(exams: pd.DataFrame, rules: Cohort, flow: Flow) -> pd.DataFrame:
    """Of a patient's exams all, the first, or the one nearest to the reference, as `rules.exams` says.

    Raises:
        CohortError: A patient has several exams and the date of one is not known.
    """
    if rules.exams == "all":
        return exams
    reasons = pd.Series("", index=exams.index)
    for patient, group in exams.groupby("patient_id"):
        if len(group) < 2:
            continue
        if rules.exams == "nearest":
            order = group["days"].abs()
        else:
            order = group["date"].map(_scan_day).map(lambda d: d.toordinal() if isinstance(d, datetime.date) else None)
        if order.isna().any():
            raise CohortError(
                f"cohort.exams: {rules.exams} needs the date of every exam; patient {patient} has {len(group)} exams, "
                "one without. Say exams: all, or list the other series in exclude_file."
            )
        keys = pd.DataFrame({"order": order.astype(float), "date": group["date"].fillna(""), "exam": group["exam_id"]})
        taken = keys.sort_values(["order", "date", "exam"]).index[0]
        reasons[group.index.drop(taken)] = f"another exam of the patient is the {rules.exams} one"
    return flow.narrow(exams, reasons, "one exam per patient", "exams")
