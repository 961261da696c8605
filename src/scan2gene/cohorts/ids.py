"""Patient ids of scans and of the label table: joined exactly, and explained where they almost agree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort

_ZEROS = r"(?<!\d)0+(?=\d)"
# What may differ -> how to see past it. Never applied to join: P1 and p01 may be two people.
_SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper and lower case": str.casefold,
    "zeros in front of a number": lambda i: re.sub(_ZEROS, "", i),
    "dots, dashes or underscores": lambda i: re.sub(r"[-_. ]", "", i),
    "spelling": lambda i: re.sub(r"[-_. ]", "", re.sub(_ZEROS, "", i.casefold())),
}
_MEND = {
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
    near: dict[str, tuple[str, str]] = {}
    for what, plain in _SPELLINGS.items():
        known: dict[str, list[str]] = {}
        for identity in sorted(listed):
            known.setdefault(plain(identity), []).append(identity)
        for identity in missing:
            alike = known.get(plain(identity), [])
            if len(alike) == 1 and identity not in near:
                near[identity] = (alike[0], what)
    for what, label_is_longer in (("a suffix in the label table", True), ("a suffix in the scans", False)):
        stems: dict[str, list[str]] = {}
        for identity in sorted(listed if label_is_longer else missing):
            for cut in re.finditer(r"[-_. ]", identity):
                stems.setdefault(identity[: cut.start()], []).append(identity)
        for identity in missing if label_is_longer else sorted(listed):
            for longer in stems.get(identity, []):
                pair = (identity, longer) if label_is_longer else (longer, identity)
                near.setdefault(pair[0], (pair[1], what))
    return near


def no_overlap(scanned: Iterable[str], listed: Iterable[str]) -> str:
    """What to say when no scanned patient is in the label table."""
    scanned, listed = sorted(set(scanned)), sorted(set(listed))
    near = near_ids(scanned, listed)
    head = (
        f"no scanned patient has a label. Scans have ids such as {scanned[0]!r}, "
        f"the label table such as {next(iter(listed), 'none')!r}"
    )
    if not near:
        return f"{head}; see cohort.patient_pattern and cohort.patient_column."
    scan, (label, what) = next(iter(near.items()))
    same = sum(w == what for _, w in near.values())
    mend = _MEND.get(what, "write the ids alike in scans and table")
    return (
        f"{head}. Of {len(scanned)} scanned patients {same} would be found if {what} did not count, such as scan "
        f"{scan!r} and label {label!r}; ids are never joined on a guess: {mend}."
    )
