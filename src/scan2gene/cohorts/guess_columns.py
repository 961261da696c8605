"""Guess what the columns of a label table are: targets, age, site, dates; and what must not be used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from scan2gene.cohorts.labels import MISSING, SEXES, canonical, parse_number

MIN_MINORITY = 5  # fewer patients of the rarer class cannot be divided into parts
# positive, negative: pairs in which the first is what one looks for
_PAIRS = (
    ("1", "0"), ("yes", "no"), ("y", "n"), ("true", "false"), ("t", "f"), ("positive", "negative"), ("pos", "neg"),
    ("mutated", "wildtype"), ("mutated", "wild type"), ("mutated", "wild-type"), ("mutated", "not_mutated"),
    ("mutated", "not mutated"), ("mutated", "unmutated"), ("mutant", "wildtype"), ("mutant", "wild-type"),
    ("mutant", "wild type"), ("mutant", "wt"), ("mut", "wt"), ("mutation", "wildtype"), ("mutation", "no mutation"),
    ("methylated", "unmethylated"), ("amplified", "not amplified"), ("amplified", "non-amplified"),
    ("codeleted", "intact"), ("codeleted", "non-codeleted"), ("present", "absent"), ("gain", "no gain"),
)  # fmt: skip
_WILD = {"wildtype", "wild type", "wild-type", "wt", "not_mutated"}
_CHANGED = re.compile(r"(?<![a-z_])(mutated|mutant)(?![a-z])|(?<![a-z])p\.")  # beside wild type: 'IDH1 p.R132H'
_UNSURE = {"nos/nec", "nos", "nec", "indeterminate", "equivocal", "borderline", "inconclusive", "not tested", "failed"}
# words of a column's name
_AGE = re.compile(r"(?<![a-z])age(?![a-z])")
_NOT_AGE = re.compile(r"death|contact|follow|last|mammo|stage|recurrence|bone")
_SITE = re.compile(r"(?<![a-z])(site|institution|institute|hospital|cent(er|re)|clinic|tss)(?![a-z])")
_NOT_SITE = re.compile(r"tumou?r|lesion|location|metast|biopsy|disease|surg")
_DATE = re.compile(r"(?<![a-z])(date|day|days)(?![a-z])")
_LATER = re.compile(
    r"surviv|death|dead|alive|vital|recur|progress|follow|outcome|response|(?<![a-z])(os|pfs|dfs|rfs|pcr|censor\w*|"
    r"psp\w*|event\w*|therapy|treatment|chemo\w*|radiation|surgery)(?![a-z])"
)
_NOT_TARGET = re.compile(
    r"(?<![a-z])(sex|gender|fold|split|test|train|race|ethnicity|side|laterality|image|scan|slices?|spacing|manufacturer"
    r"|scanner|coil|cohort|project|available|id|pid|mri|position|rows|columns|matrix|field)(?![a-z])"
)


@dataclass(frozen=True)
class TargetGuess:
    """A column with two classes.

    Args:
        column: Its name.
        positive: Values, as they stand in the table.
        negative: Values.
        unknown: Values that mean "not known" here.
        counts: Scanned patients: positive, negative.
        doubts: Why it is not chosen by itself; empty where it may be.
    """

    column: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    unknown: tuple[str, ...]
    counts: tuple[int, int]
    doubts: tuple[str, ...]


def guess_targets(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> list[TargetGuess]:
    """Columns with two classes among scanned patients, best balanced first, doubtful ones last."""
    rows = table[table[patient_column].isin(list(scanned))]
    found = [guess_target(rows, patient_column, c) for c in table.columns if c and c != patient_column]
    targets = [t for t in found if t is not None and min(t.counts) > 0]
    return sorted(targets, key=lambda t: (len(t.doubts), -min(t.counts), -max(t.counts)))


def guess_target(rows: pd.DataFrame, patient_column: str, column: str) -> TargetGuess | None:
    """What a column's two classes are; None where it has not two.

    Args:
        rows: Label rows of scanned patients.
        patient_column: Column of patient ids.
        column: To look at.
    """
    values = rows[column].map(canonical)
    spelled = dict(zip(values, rows[column], strict=True))
    known = set(values) - MISSING
    pair = next((p for p in _PAIRS if set(p) <= known and known - set(p) <= _UNSURE), None)
    unknown = tuple(sorted(spelled[v] for v in known & _UNSURE))
    doubts = _doubts(column)
    wild, rest = known & _WILD, known - _UNSURE - _WILD
    if pair is None and len(wild) == 1 and len(rest) > 1 and all(_CHANGED.search(v) for v in rest):
        classes: tuple[list[str], list[str]] = (sorted(rest), sorted(wild))
    elif pair is None:
        if len(known - _UNSURE) != 2:
            return None
        counts = values[values.isin(known - _UNSURE)].value_counts()
        classes = ([str(counts.index[1])], [str(counts.index[0])])
        doubts.append("which value is the positive one is a guess: the rarer")
    else:
        classes = ([pair[0]], [pair[1]])
    by_patient = values.map(dict.fromkeys(classes[0], 1) | dict.fromkeys(classes[1], 0)).groupby(rows[patient_column])
    contradicting = int((by_patient.nunique() > 1).sum())
    if contradicting:
        doubts.append(f"{contradicting} patients have contradicting rows")
    first = by_patient.first()
    sizes = (int((first == 1).sum()), int((first == 0).sum()))
    if min(sizes) < MIN_MINORITY:
        doubts.append(f"only {min(sizes)} of the rarer class")
    positive, negative = (tuple(spelled[v] for v in cells) for cells in classes)
    return TargetGuess(column, positive, negative, unknown, sizes, tuple(doubts))


def _doubts(column: str) -> list[str]:
    words = f"{plain(column)} {column.lower()}"
    found = []
    if _NOT_TARGET.search(words) or (_SITE.search(words) and not _NOT_SITE.search(words)):
        found.append("describes the patient or the scan rather than the disease")
    if _LATER.search(words):
        found.append("known only after the scan: an outcome, or a treatment")
    return found


def guess_age(table: pd.DataFrame, taken: Sequence[str]) -> tuple[str | None, list[str], list[str]]:
    """The column of ages, cells in it that must mean "not known", and remarks on columns that cannot serve.

    Age is the one column offered as a clinical baseline by itself; others may be made from the
    outcome or become known later, and a person must decide.
    """
    remarks: list[str] = []
    for column in table.columns:
        words = plain(column)
        if column in taken or not _AGE.search(words) or _NOT_AGE.search(words):
            continue
        known = table[column][~table[column].str.lower().isin(MISSING)]
        numbers = known.map(parse_number)
        strange = sorted(set(known[numbers.isna()]))
        if numbers.notna().any() and numbers.dropna().between(0, 120).all():
            if all(re.fullmatch(r"\W{2,}|[A-Za-z]{2,4}", cell) for cell in strange):
                return column, strange, remarks
            remarks.append(f"{column} holds cells that are no numbers, such as {strange[0]!r}")
    return None, [], remarks


def guess_sex(table: pd.DataFrame) -> tuple[str | None, str]:
    """The column of sexes if it holds two numbers or their words, else a remark."""
    for column in table.columns:
        if re.search(r"(?<![a-z])(sex|gender)(?![a-z])", plain(column)):
            known = set(table[column].map(canonical)) - MISSING
            if len(known) == 2 and (known <= {"0", "1", "2"} or known <= set(SEXES)):
                return column, ""
            return None, f"{column} does not hold two sexes, in words or as numbers"
    return None, ""


def guess_site(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> tuple[str, dict[str, int]] | None:
    """A column that names institutions, and how many scanned patients each has."""
    rows = table[table[patient_column].isin(list(scanned))].drop_duplicates(patient_column)
    for column in table.columns:
        words = plain(column)
        if column == patient_column or not _SITE.search(words) or _NOT_SITE.search(words):
            continue
        counts = rows.loc[~rows[column].str.lower().isin(MISSING), column].value_counts()
        if 2 <= len(counts) <= max(2, len(rows) / 3):
            return column, {str(k): int(v) for k, v in counts.items()}
    return None


def date_columns(table: pd.DataFrame) -> list[str]:
    """Columns whose names speak of dates or days, except those of the time after the scan."""
    return [c for c in table.columns if _DATE.search(plain(c)) and not _LATER.search(plain(c).replace("surgery", ""))]


def plain(column: str) -> str:
    """A column's name in lower case, camelCase and underscores taken apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", column).lower()
