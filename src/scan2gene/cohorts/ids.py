"""Patient ids of scans and of the label table: joined exactly, and explained where they almost agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.label_table import NO_ID
from scan2gene.core.characters import latin
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort

_ZEROS = r"(?<!\d)0+(?=\d)"
# What may differ -> how to see past it. Never applied to join: P1 and p01 may be two people.
_CUTS = frozenset("-_. ")
_NO_MARKS = str.maketrans("", "", "-_. 0")
ENCODING = "characters that look alike and are encoded differently"
_SPELLINGS: dict[str, Callable[[str], str]] = {
    ENCODING: latin,
    "upper and lower case": str.casefold,
    "zeros in front of a number": lambda i: re.sub(_ZEROS, "", i),
    "dots, dashes or underscores": lambda i: re.sub(r"[-_. ]", "", i),
    "spelling": lambda i: re.sub(r"[-_. ]", "", re.sub(_ZEROS, "", latin(i).casefold())),
}
_ALIKE = "write the ids alike in scans and table"
_NEAR = re.compile("which has (?P<label>.+); only (?P<what>.+) would have to be ignored")  # see `reason_of`
_MEND = {
    ENCODING: "type dashes and letters of one of them anew",
    "zeros in front of a number": "see cohort.patient_pattern and cohort.label_id_pattern, such as '0*(\\d+)'",
    "a suffix in the label table": "see cohort.label_id_pattern, such as '(.+)_\\d+'",
    "a suffix in the scans": "see cohort.patient_pattern",
}


def label_patients(table: pd.DataFrame, rules: Cohort, flow: Flow) -> pd.DataFrame:
    """The label table with patient ids taken out of its id cells by `label_id_pattern`.

    Raises:
        CohortError: The pattern has no group, or is found in no row.
    """
    if rules.label_id_pattern is None:
        return table
    pattern = re.compile(rules.label_id_pattern)
    if not pattern.groups:
        raise CohortError("cohort.label_id_pattern needs one group in brackets around the patient id")
    if table.empty:
        return table
    own = table[rules.patient_column]
    found = own.map(lambda cell: (match := pattern.search(cell)) and match[1])
    for cell in own[found.isna()]:
        flow.leave_out("label table", f"label row whose id lacks /{rules.label_id_pattern}/", cell)
    if found.isna().all():
        raise CohortError(f"cohort.label_id_pattern is found in no id of the label table, such as {own.iloc[0]!r}")
    return table.assign(**{rules.patient_column: found})[found.notna()]


def near_ids(scanned: Iterable[str], listed: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Scan id -> (the one label id that differs only so, what differs), for ids that are not in the table."""
    listed = set(listed)
    missing = sorted(set(scanned) - listed)
    if not missing:
        return {}
    lost, near = set(missing), dict[str, tuple[str, str]]()
    seen = {_skeleton(identity) for identity in missing}
    candidates = sorted(identity for identity in listed if _skeleton(identity) in seen)
    for what, plain in _SPELLINGS.items():
        known: dict[str, list[str]] = {}
        for identity in candidates:
            known.setdefault(plain(identity), []).append(identity)
        for identity in missing:
            alike = known.get(plain(identity), [])
            if len(alike) == 1 and identity not in near:
                near[identity] = (alike[0], what)
    longer: dict[str, str] = {}
    lengths = {len(identity) for identity in missing}
    for identity in listed:
        for length in lengths:
            if identity[length : length + 1] in _CUTS and identity[:length] in lost:
                longer[identity[:length]] = min(identity, longer.get(identity[:length], identity))
    for identity in missing:  # of several the first in order is named
        if identity in longer:
            near.setdefault(identity, (longer[identity], "a suffix in the label table"))
    for identity in missing:
        shorter = listed.intersection(identity[:at] for at, letter in enumerate(identity) if letter in _CUTS)
        if shorter:
            near.setdefault(identity, (min(shorter), "a suffix in the scans"))
    return near


def _skeleton(identity: str) -> str:
    """What any two ids have in common that one of `_SPELLINGS` makes equal; cheap, for tables of a million rows."""
    return latin(identity).translate(_NO_MARKS).casefold()


def reason_of(label: str, what: str) -> str:
    """Why a scanned patient is not in the label table, which has nearly this id."""
    shown = ascii(label) if what == ENCODING else label
    return f"patient is not in the label table, which has {shown}; only {what} would have to be ignored"


def lost_ids(exclusions: pd.DataFrame) -> list[str]:
    """What a person must hear of ids that were lost in joining, a line for each kind.

    Args:
        exclusions: Columns `EXCLUSION_COLUMNS`.
    """
    lines = []
    near: dict[str, dict[str, str]] = {}
    reasons = exclusions["reason"].unique()
    for reason in reasons:
        if found := _NEAR.search(reason):
            rows = exclusions[exclusions["reason"] == reason]
            near.setdefault(found["what"], {}).update(dict.fromkeys(rows["patient_id"], found["label"]))
    for what, pairs in near.items():
        scan, label = next(iter(pairs.items()))
        lines.append(
            f"{len(pairs)} patients are not in the label table, and would be if {what} did not count, such as "
            f"{ascii(scan) if what == ENCODING else repr(scan)} and label {label}: {_MEND.get(what, _ALIKE)}"
        )
    blank = [reason for reason in reasons if reason.startswith(NO_ID)]
    if blank:
        lines.append(f"{len(blank)} label rows without an id are left out, first {blank[0].rpartition(': ')[2]}")
    return lines


def no_overlap(scanned: Iterable[str], listed: Iterable[str], where: str = "scans") -> str:
    """What to say when no patient of the scans, or of tables of features, is in the label table."""
    scanned, listed = sorted(set(scanned)), sorted(set(listed))
    near = near_ids(scanned, listed)
    head = (
        f"no patient of the {where} has a label. The {where} have ids such as {scanned[0]!r}, "
        f"the label table such as {next(iter(listed), 'none')!r}"
    )
    if not near:
        patterns = "cohort.patient_pattern and " if where == "scans" else ""
        return f"{head}; see {patterns}cohort.patient_column."
    scan, (label, what) = next(iter(near.items()))
    same = sum(w == what for _, w in near.values())
    shown = [ascii(i) if what == ENCODING else repr(i) for i in (scan, label)]
    return (
        f"{head}. Of {len(scanned)} patients {same} would be found if {what} did not count, such as {shown[0]} of the "
        f"{where} and label {shown[1]}; ids are never joined on a guess: {_MEND.get(what, _ALIKE)}."
    )
