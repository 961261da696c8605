"""Guess where patient ids stand: which column of a label table, and where in the paths of scans."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scan2gene.cohorts.ids import near_ids
from scan2gene.core.text import listed

_DELIMITER = r"[-_. ]"
_MAX_PARTS = 6  # an id has at most so many parts between delimiters
_MAX_SUFFIXES = 4
_MAX_LEVELS = 4  # folders between the scan folder and a file, one of which may be called by the id
_MAX_FORMS = 5  # of ids, by their number of parts
_NEAR_SHARE = 0.3  # of the ids must differ in little, before a message says so
_SHOWN = 5  # ids in a comment
MEND_PATHS = "Give each patient's scans a folder called by the id, or write cohort.patient_pattern by hand"
_ALONE = ("(?<![A-Za-z0-9])", "(?![A-Za-z0-9])")


@dataclass(frozen=True)
class PatientGuess:
    """How scans and label rows find each other.

    Args:
        column: Of the label table.
        patient_pattern: For the paths; None where the headers' PatientID serves.
        label_id_pattern: For the table's cells; None where they are patient ids.
        exclude_path: Pattern of paths whose label rows `label_id_pattern` leaves out, or None.
        found: Scanned patients that are in the table.
        scanned: Scanned patients, as far as they can be told.
        told: Lines for a person: what was seen.
        others: Other columns that hold some of the ids: (column, how many).
    """

    column: str
    patient_pattern: str | None
    label_id_pattern: str | None
    exclude_path: str | None
    found: int
    scanned: int
    told: tuple[str, ...]
    others: tuple[tuple[str, int], ...]


def guess_patients(series: pd.DataFrame, below: Sequence[str], table: pd.DataFrame) -> PatientGuess | None:
    """Find the column that holds the scans' patients.

    Args:
        series: Readable rows of the index, text without nulls.
        below: Their paths from the scan folder down.
        table: The label table.

    Returns:
        None where no column has two ids in common with the scans.
    """
    spans = [set(_spans(path)) for path in below]
    own = [{i} if i else set() for i in series["patient_id"]]
    scores = []
    for column in table.columns:
        listed = set(table[column]) - {""}
        if not column or len(listed) < 2 or not any(re.search(r"\d", i) for i in listed):
            continue
        hits = [listed & (o | s) for o, s in zip(own, spans, strict=True)]
        found = set().union(*hits)
        if len(found) >= 2:
            scores.append((len(found), sum(map(bool, hits)), len(found) / len(listed), column))
    scores.sort(key=lambda s: (-s[0], -s[1], -s[2]))
    others = tuple((s[3], s[0]) for s in scores[1:4])
    if not scores:
        return _suffixed(series, table)
    column = scores[0][3]
    listed = set(table[column]) - {""}
    stems = _repeated_stems(listed)
    if stems:
        return _by_stem(series, below, table, column, stems, others)
    return _exact(series, below, table, column, others)


def _exact(series: pd.DataFrame, below: Sequence[str], table: pd.DataFrame, column: str, others: tuple) -> PatientGuess:
    listed = set(table[column]) - {""}
    known = [_first_of(listed, path) for path in below]
    pattern = None
    dicom = series["format"] == "dicom"
    headers = set(series.loc[dicom, "patient_id"])
    by_header = len(headers & listed)
    if by_header < 2 or not dicom.all():
        own = [i if d and i in listed else "" for i, d in zip(series["patient_id"], dicom, strict=True)]
        wanted = [o or k for o, k in zip(own, known, strict=True)]
        pattern = id_pattern(below, wanted, required=[not o for o in own])
    ids = {_found(pattern, path) or own for path, own in zip(below, series["patient_id"], strict=True)} - {""}
    where = "the headers' PatientID" if pattern is None else "the paths"
    if pattern and by_header >= 2:
        where = "the headers' PatientID and the paths of NIfTI files"
    told = [f"{len(ids & listed)} of {len(ids)} scanned patients are in this table; ids come from {where}"]
    told += _lost(ids, listed)
    lost = sum(not d and not _found(pattern, path) for path, d in zip(below, dicom, strict=True))
    if lost:
        told.append(f"{lost} NIfTI files have no patient: no one pattern finds the ids in all paths. {MEND_PATHS}")
    return PatientGuess(column, pattern, None, None, len(ids & listed), len(ids), tuple(told), others)


def _lost(ids: set[str], in_table: set[str]) -> list[str]:
    """Which scanned patients the table lacks, and what would have to be ignored to find them."""
    missing = sorted(ids - in_table)
    if not missing:
        return []
    lines = [f"not in the table: {listed(missing, most=_SHOWN)}"]
    for scan, (label, what) in list(near_ids(missing, in_table - ids).items())[:1]:
        lines.append(f"the table has {label} where the scans have {scan}: only {what} would have to be ignored")
    return lines


def near_column(series: pd.DataFrame, below: Sequence[str], table: pd.DataFrame) -> str:
    """A sentence on the column whose ids nearly are those of the scans; empty where there is none."""
    scanned = {span.partition(".")[0] for path in below for span in _spans(path)} | set(series["patient_id"]) - {""}
    listed = {c: set(table[c]) - {""} for c in table.columns if c}
    near = {c: near_ids(scanned, ids) for c, ids in listed.items()}
    column = max(near, key=lambda c: len(near[c]), default="")
    if not column or len(near[column]) < max(2, _NEAR_SHARE * min(len(listed[column]), len(below))):
        return ""
    scan, (label, what) = next(iter(near[column].items()))
    return (
        f" Column {column} has {len(near[column])} ids that differ from those of scans in {what} alone, such as "
        f"{label!r} and {scan!r}: write them alike, or take the id out of both with cohort.patient_pattern and "
        "cohort.label_id_pattern."
    )


def _by_stem(
    series: pd.DataFrame, below: Sequence[str], table: pd.DataFrame, column: str, stems: Counter, others: tuple
) -> PatientGuess:
    """A table with a row per exam, ids such as P1_11 and P1_21: a patient must not appear twice."""
    suffix, *rest = (s for s, _ in stems.most_common())
    ids = {i for i in table[column] if i.endswith(suffix)}
    patients = {i.removesuffix(suffix) for i in ids}
    known = [_first_of(patients, path) for path in below]
    own = series["patient_id"].isin(patients)
    pattern = None if own.all() else id_pattern(below, known, required=[not o for o in own])
    found = {_found(pattern, path) or i for path, i in zip(below, series["patient_id"], strict=True)} - {""}
    group = generalised(sorted(patients)) or ".+"
    left_out = rest[0] if len(rest) == 1 else f"(?:{'|'.join(rest)})"
    path_holds = any(re.search(left_out + _ALONE[1], path) for path in below)
    counted = ", ".join(f"{n} x {s}" for s, n in stems.most_common())
    told = (
        f"{len(found & patients)} of {len(found)} scanned patients are in this table",
        f"its ids end in {counted}: several exams of one patient. Rows with {suffix} are taken, so that a patient "
        "counts once",
    )
    exclude = left_out + _ALONE[1] if path_holds else None
    return PatientGuess(
        column, pattern, f"^({group}){re.escape(suffix)}$", exclude, len(found & patients), len(found), told, others
    )


def _suffixed(series: pd.DataFrame, table: pd.DataFrame) -> PatientGuess | None:
    """Headers that hold P1 where the table holds P1_11."""
    scanned = set(series["patient_id"]) - {""}
    for column in table.columns:
        near = near_ids(scanned, set(table[column]) - {""}) if column and scanned else {}
        pairs = {scan: label for scan, (label, what) in near.items() if what == "a suffix in the label table"}
        if len(pairs) < 2:
            continue
        ends = Counter(i[len(scan) :] for scan in pairs for i in table[column] if i.startswith(scan))
        suffix = ends.most_common(1)[0][0]
        counted = ", ".join(f"{n} x {s}" for s, n in ends.most_common(4))
        told = (f"its ids are the scans' with {counted} behind; rows with {suffix} are taken",)
        return PatientGuess(column, None, f"^(.+){re.escape(suffix)}$", None, len(pairs), len(scanned), told, ())
    return None


def _repeated_stems(ids: set[str]) -> Counter:
    """Suffix -> how often, where ids are patients with one of a few suffixes and some patient has two."""
    cut = [re.fullmatch(rf"(.*[A-Za-z0-9])({_DELIMITER}[A-Za-z0-9]+)", i) for i in ids]
    if not all(cut):
        return Counter()
    parts = [(c[1], c[2]) for c in cut if c]
    suffixes = Counter(s for _, s in parts)
    several = len({stem for stem, _ in parts}) < len(ids)
    return suffixes if several and 1 < len(suffixes) <= _MAX_SUFFIXES < len(ids) / 2 else Counter()


def id_pattern(below: Sequence[str], wanted: Sequence[str], required: Sequence[bool]) -> str | None:
    """A regular expression whose group 1 finds the id in a path.

    Args:
        below: Paths from the scan folder down.
        wanted: The id of each, empty where not known.
        required: Where the path must give the id, since the header does not.

    Returns:
        The simplest pattern that is right wherever the id is known, or None.
    """
    ids = sorted({i for i, r in zip(wanted, required, strict=True) if i and r})
    if not ids:
        return None
    # counted from the file, not from the scan folder: `apply` may be given the folder of one patient alone
    tries = [f"/([^/]+){'/[^/]+' * level}/[^/]*$" for level in range(_MAX_LEVELS)]
    for inner in filter(None, (generalised(ids), _forms(ids))):
        tries += [f"({inner})", f"{_ALONE[0]}({inner}){_ALONE[1]}", f"/({inner})/", f"/({inner})[^/]*$"]
    tries += [f"^{'/[^/]+' * level}/([^/]+)/" for level in range(_MAX_LEVELS)]
    if all(re.search(rf"(^|[/_])sub-{re.escape(i)}([/_]|$)", p) for p, i in zip(below, wanted, strict=True) if i):
        tries = ["sub-([A-Za-z0-9]+)", *tries]
    if all(i.startswith("sub-") for i in ids):
        tries = ["(sub-[A-Za-z0-9]+)", *tries]
    for pattern in tries:
        compiled = re.compile(pattern)
        found = ((m[1] if (m := compiled.search(path)) else "") for path in below)
        if all(f in ((i,) if r else (i, "")) for f, i, r in zip(found, wanted, required, strict=True) if i):
            return pattern
    return None


def _forms(ids: Sequence[str]) -> str | None:
    """Expressions of ids of a few forms, such as ACRIN-6698-102212 beside ISPY2-102011; the longest form first."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for identity in ids:
        groups.setdefault(tuple(re.findall(_DELIMITER, identity)), []).append(identity)
    if not 1 < len(groups) <= _MAX_FORMS:
        return None
    return "|".join(str(generalised(groups[form])) for form in sorted(groups, key=len, reverse=True))


def generalised(ids: Sequence[str]) -> str | None:
    """The narrowest simple expression that all ids have in common; None where their parts differ in number."""
    split = [re.split(f"({_DELIMITER})", i) for i in ids]
    if not split or len({len(parts) for parts in split}) > 1:
        return None
    return "".join(_part([parts[n] for parts in split]) for n in range(len(split[0])))


def _part(values: Sequence[str]) -> str:
    if len(set(values)) == 1:
        # not re.escape: it puts a backslash before a harmless dash
        return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", values[0])
    head = re.match(r"[A-Za-z]*", values[0])
    prefix = head[0] if head else ""
    if prefix and all(re.fullmatch(rf"{prefix}\d+", v) for v in values):
        return prefix + _repeated(r"\d", [v[len(prefix) :] for v in values])
    kind = r"\d" if all(v.isdigit() for v in values) else "[A-Za-z0-9]"
    if not all(v.isalnum() and v.isascii() for v in values):
        kind = r"[^/_.\s-]"
    return _repeated(kind, values)


def _repeated(kind: str, values: Sequence[str]) -> str:
    lengths = {len(v) for v in values}
    return f"{kind}{{{lengths.pop()}}}" if len(lengths) == 1 and min(map(len, values)) > 1 else f"{kind}+"


def _found(pattern: str | None, path: str) -> str:
    match = re.search(pattern, path) if pattern else None
    return match[1] if match else ""


def _first_of(ids: set[str], path: str) -> str:
    """The first id in a path, the longest of those that begin there; folders come before what lies in them."""
    return next((span for span in _spans(path) if span in ids), "")


def _spans(path: str) -> list[str]:
    """Every run of parts between delimiters in every folder and file name of a path."""
    found: list[str] = []
    for name in path.partition("#")[0].split("/"):
        parts = re.split(f"({_DELIMITER})", name)
        for begin in range(0, len(parts), 2):
            last = min(begin + 2 * _MAX_PARTS - 1, len(parts))
            found += ["".join(parts[begin:end]) for end in range(last, begin, -1) if (end - begin) % 2]
    return [span for span in found if span]
