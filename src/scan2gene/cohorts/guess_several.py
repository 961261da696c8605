"""Guess which columns of a label table hold several classes, and which hold numbers that a limit could cut in two."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from scan2gene.cohorts.cells import MISSING, canonical, decimal_mark, different, each, parse_number
from scan2gene.cohorts.draft_text import unique
from scan2gene.cohorts.guess_classes import LEVELS, folded, level_of
from scan2gene.cohorts.guess_columns import (
    DATE,
    DESCRIBES,
    LATER,
    SIDE_WORDS,
    UNSURE,
    TargetGuess,
    doubts_of,
    guess_age,
    plain,
    sizes_of,
)
from scan2gene.core.errors import CohortError
from scan2gene.core.levels import MIN_CLASS_PATIENTS
from scan2gene.core.study_cohort import RESERVED_CLASSES

MIN_CLASSES, MAX_CLASSES = 3, 20  # of a column that is offered as a target of several classes
MAX_CODES = 7  # numbers that stand for classes, such as grades; of more the column may count something
FREE_TEXT = 45  # letters of a cell on average
CODES = "its cells are neither words nor numbers that follow each other from 0 or 1"
TEXT = "its cells look like free text"
# what a column of classes is about, by words of its name, the most meaningful first
_ABOUT = (
    re.compile(r"sub ?typ|molecular|molekular|intrinsic|luminal|pam ?50"),
    re.compile(r"diagnos|histolog|patholog|entit"),
    LEVELS,
    re.compile(r"(?<![a-z])(types?|typ|tipo|class(es)?|klassen?|classe|category|kategorie|labels?|target)(?![a-z])"),
)
_SUBTYPES = re.compile(r"luminal|lum ?[ab](?![a-z])|triple|tnbc|basal|her ?2")  # cells
# of columns with two classes these are rare
_NO_CLASS = re.compile(
    r"(?<![a-z])(dataset|source|collection|batch|reader|rater|observer|visit|session|year|month|country|menopaus\w*|bmi|"
    r"obesity|weight|height|gewicht|grosse|kps|karnofsky|ecog|smok\w*|parity|sequences?|phases?|times|quality|nr|mrn|"
    r"accession|repetition|window|mask|pixels?|voxels?)(?![a-z])|^(n|num|number|count|anzahl) (?!stage|stadium|grade)"
)
_GIVEN_LATER = re.compile(r"(?<![a-z])(agents?|drugs?|regimen|arm|dose|resection|eor)(?![a-z])")
_SIDES = frozenset({"both", "bilateral", "beidseits", "b"}).union(*(left | right for left, right in SIDE_WORDS))
_NOTHING = re.compile(r"[-?._/*\s]{2,}|[?._/*]")  # a cell such as --
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


def class_columns(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> list[TargetGuess]:
    """Columns with 3 to 20 classes among scanned patients, the most meaningful first and doubtful ones last."""
    found = []
    for column in table.columns:
        if not column or column == patient_column or guess_age(table[[column]], ())[0] or DATE.search(plain(column)):
            continue
        guess = classes_of(table, patient_column, scanned, column)
        if guess is not None and sum(guess.counts) >= 2 * len(guess.counts):
            found.append(guess)
    return sorted(found, key=lambda t: (len(t.doubts), _meaning(t), -min(t.counts)))


def classes_of(table: pd.DataFrame, patient_column: str, scanned: Sequence[str], column: str) -> TargetGuess | None:
    """The classes of one column; None where scanned patients have fewer than 3 or more than 20.

    Args:
        table: The label table.
        patient_column: Column of patient ids.
        scanned: Ids of scanned patients.
        column: To look at.
    """
    mine = table[patient_column].isin(list(scanned))
    spelled = {canonical(cell): cell for cell in reversed(different(table[column]))}
    here = {canonical(cell) for cell in different(table.loc[mine, column])}
    empty = MISSING | {canonical(cell) for cell in guess_age(table, ())[1]}  # a draft empties these in every column
    unsure = {c for c in spelled if c in UNSURE or _NOTHING.fullmatch(c)} - empty
    known = here - empty - unsure
    if not MIN_CLASSES <= len(known) <= MAX_CLASSES:
        return None
    values = each(table.loc[mine, column], canonical)
    by_patient = values.where(values.isin(known)).groupby(table.loc[mine, patient_column])
    counts = by_patient.first().value_counts()
    order = _ordered(known, counts, plain(column))
    doubts = _doubts(column, known, [int(counts.get(c, 0)) for c in order])
    contradicting = int((by_patient.nunique() > 1).sum())
    if contradicting:
        doubts.append(f"{contradicting} patients have contradicting rows")
    elsewhere = spelled.keys() - here - empty - unsure
    return TargetGuess(
        column, (), (), tuple(sorted(spelled[c] for c in unsure)), tuple(int(counts.get(c, 0)) for c in order),
        tuple(doubts), classes=tuple(zip(class_names(order), (spelled[c] for c in order), strict=True)),
        unscanned=tuple(sorted(spelled[c] for c in elsewhere)),
    )  # fmt: skip


def _ordered(known: set[str], counts: pd.Series, words: str) -> list[str]:
    """Numbers, grades and stages upwards, other classes by how frequent they are."""
    levels = {c: float(c) if _NUMBER.fullmatch(c) else level_of(c) if LEVELS.search(words) else 0.0 for c in known}
    ranked = len(set(levels.values())) == len(known)
    return sorted(known, key=lambda c: (levels[c] if ranked else -counts.get(c, 0), c))


def _doubts(column: str, known: set[str], counts: list[int]) -> list[str]:
    """Why a column of several classes is not drafted by itself."""
    doubts, words = doubts_of(column, known), plain(column)
    sides = all(_SIDES & set(re.findall(r"[^\W_]+", folded(c))) for c in known)
    if DESCRIBES not in doubts and (sides or _NO_CLASS.search(words)):
        doubts.append(DESCRIBES)
    if LATER not in doubts and _GIVEN_LATER.search(words):
        doubts.append(LATER)
    numbers = sorted(float(c) for c in known if _NUMBER.fullmatch(c))
    steps = [numbers[0] + n for n in range(len(known))] if numbers else []
    if numbers and (numbers != steps or numbers[0] not in (0, 1) or len(numbers) > MAX_CODES):
        doubts.append(CODES)
    if not numbers and sum(map(len, known)) > FREE_TEXT * len(known):
        doubts.append(TEXT)
    enough = sum(n >= MIN_CLASS_PATIENTS for n in counts)
    if enough < 2:
        doubts.append(f"{'only one' if enough else 'none'} of its classes has {MIN_CLASS_PATIENTS} patients")
    return doubts


def _meaning(target: TargetGuess) -> int:
    """How much a column's name and cells say of a disease: 0 most."""
    if sum(bool(_SUBTYPES.search(folded(cell))) for _, cell in target.classes) > 1:
        return 0
    words = plain(target.column)
    return next((n for n, pattern in enumerate(_ABOUT) if pattern.search(words)), len(_ABOUT))


def class_names(cells: Sequence[str]) -> list[str]:
    """Different names for classes, of small letters, digits and underscores: 'HR+ / HER2-' becomes hrpos_her2neg."""
    names = []
    for cell in cells:
        text = re.sub(r"^-(?=\d)", "minus ", folded(cell))
        text = re.sub(r"(?<=[\w)])-(?=$|[^\w-])", "neg", re.sub(r"(?<=[\w)])\++", "pos", text))
        name = re.sub(r"[^a-z0-9]+", "_", text)[:40].strip("_") or "class"
        names.append(f"{name}_class" if name in RESERVED_CLASSES else name)
    return [name.replace("-", "_") for name in unique(names)]


def one_class(rows: pd.DataFrame, patient_column: str, column: str, value: str) -> TargetGuess | None:
    """One class of a column against the others; None where no patient, or every one, has it."""
    values = rows[column].map(canonical)
    known = sorted(set(values) - MISSING - UNSURE)
    if canonical(value) not in known or len(known) < 2:
        return None
    spelled = dict(zip(values, rows[column], strict=True))
    classes = [canonical(value)], [v for v in known if v != canonical(value)]
    sizes, doubts = sizes_of(values, classes, rows[patient_column])
    positive, negative = (tuple(spelled[v] for v in cells) for cells in classes)
    unknown = tuple(sorted(spelled[v] for v in set(values) & UNSURE))
    found = TargetGuess(column, positive, negative, unknown, sizes, (*doubts_of(column, set(known)), *doubts))
    return replace(found, name=f"{column}-{positive[0]}")


def number_columns(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> Iterator[TargetGuess]:
    """Columns of more than 20 numbers that do not describe patient or scan, each with its median as the limit."""
    rows = table[table[patient_column].isin(list(scanned))]
    for column in table.columns:
        if not column or column == patient_column or DATE.search(plain(column)) or guess_age(rows[[column]], ())[0]:
            continue
        guess = numbers_of(rows, patient_column, column)
        if guess is not None and DESCRIBES not in guess.doubts:
            yield guess


def numbers_of(rows: pd.DataFrame, patient_column: str, column: str) -> TargetGuess | None:
    """A column of more than 20 different numbers, none of them an id, cut at the median of its patients.

    Args:
        rows: Label rows of scanned patients.
        patient_column: Column of patient ids.
        column: To look at.
    """
    unsure = {c for c in different(rows[column]) if canonical(c) in UNSURE or _NOTHING.fullmatch(canonical(c))}
    known = rows[~rows[column].isin(unsure) & ~rows[column].str.lower().isin(MISSING)]
    cells = different(known[column])
    try:
        mark = decimal_mark(cells, column)
    except CohortError:  # 1,200 may be two numbers: a person must say which
        return None
    numbers = each(known[column], lambda cell: parse_number(cell, mark)).astype(float)
    if numbers.isna().any() or numbers.nunique() <= MAX_CLASSES or _are_ids(cells):
        return None
    first = numbers.groupby(known[patient_column]).first()
    limit = float(f"{first.median():.6g}")
    counts = (int((first > limit).sum()), int((first <= limit).sum()))
    doubts = doubts_of(column, set()) or ([DESCRIBES] if _NO_CLASS.search(plain(column)) else [])
    found = TargetGuess(column, (), (), tuple(sorted(unsure)), counts, tuple(doubts), above=limit)
    return found if all(counts) else None


def _are_ids(cells: Sequence[str]) -> bool:
    """Whole numbers of one length and five digits at least, or running numbers."""
    if not all(re.fullmatch(r"\d+", cell) for cell in cells):
        return False
    numbers, lengths = {int(cell) for cell in cells}, {len(cell) for cell in cells}
    running = max(numbers) - min(numbers) < 1.2 * len(numbers)
    return running or (len(lengths) == 1 and min(lengths) >= 5)
