"""What a cell of a table holds: not known, a number, or a text that is compared with others."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import pandas as pd

from scan2gene.core.characters import plain_dashes, plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.text import listed

# Spellings of "not known" met in public cohorts; they become null, never 0.
MISSING = frozenset(
    {"", "na", "n/a", "nan", "none", "null", "unknown", "not available", "not reported", "[not available]",
     "missing", "[not evaluated]", "[not applicable]", "[unknown]", "[discrepancy]",
     "#n/a", "#value!", "#ref!", "#div/0!", "#num!", "#name?", "#null!"}
)  # fmt: skip
NO_STORED_VALUE = "(formula without a stored value)"  # after the formula, in place of the cell's value
MARKS = (".", ",")  # that may stand before the decimals
SHOWN = 5  # how many offending cells of one kind a message quotes

# zeros in front make a code, and so does an exponent without a dot or a sign (12E5)
_WHOLE = "(?:0|[1-9][0-9]*)"
_PLAIN_NUMBER = re.compile(
    rf"[-+]?(?:{_WHOLE}(?:\.[0-9]*)?|\.[0-9]+|{_WHOLE}\.[0-9]+e[-+]?[0-9]{{1,3}}|{_WHOLE}e[-+][0-9]{{1,3}})"
)
_APOSTROPHES = str.maketrans("\u2019\u02bc\u00b4\u2032`", "'''''")
_YEARS = re.compile(r"([0-9]+) years?(?: ([0-9]+) days?)?")
_UNIT = r"\s*(?:y|yrs?|years?)?\.?"


def _pattern(mark: str) -> re.Pattern[str]:
    """A number whose decimals follow `mark` and whose thousands are grouped, if at all, by the other mark."""
    decimal, thousands = re.escape(mark), re.escape("." if mark == "," else ",")
    grouped = rf"[1-9][0-9]{{0,2}}(?:(?:{thousands}[0-9]{{3}})+|(?: [0-9]{{3}})+|(?:'[0-9]{{3}})+)"
    plain = rf"(?:[0-9]+(?:{decimal}[0-9]+)?|{decimal}[0-9]+)"
    return re.compile(rf"([-+]?(?:{grouped}(?:{decimal}[0-9]+)?|{plain}(?:e[-+]?[0-9]{{1,3}})?)){_UNIT}")


_NUMBERS = {mark: _pattern(mark) for mark in MARKS}


@functools.lru_cache(maxsize=1 << 16, typed=True)
def canonical(value: object) -> str:
    """Comparable spelling: case, outer spaces and the kind of dash ignored, 1 = 1.0 = '1'.

    Only what is plainly a number is compared as one, to the last digit; 007, 1_0 and 12E5 are texts.
    """
    text = plain_dashes(plain_text(str(value))).lower()
    if not _PLAIN_NUMBER.fullmatch(text):
        return text
    digits = format(Decimal(text), "f")
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits in ("-0", "+0") else digits


@functools.lru_cache(maxsize=1 << 16)
def readings(cell: str) -> dict[str, float]:
    """The number of a cell by each mark (`MARKS`) that may stand before its decimals; empty where it is none.

    '54', '054Y', '54 yrs' and '48 years 131 days' (in years) read alike by both; '3,5' by one mark only;
    '1,200' and '1.200' by both and differently.
    """
    text = plain_dashes(plain_text(cell)).lower().translate(_APOSTROPHES)
    years = _YEARS.fullmatch(text)
    if years:
        return dict.fromkeys(MARKS, int(years[1]) + int(years[2] or 0) / 365.25)
    found = {}
    for mark, pattern in _NUMBERS.items():
        number = pattern.fullmatch(text)
        if number:
            digits = re.sub("[ ']", "", number[1]).replace("." if mark == "," else ",", "").replace(mark, ".")
            found[mark] = float(digits)
    return {mark: value for mark, value in found.items() if math.isfinite(value)}


def different(column: pd.Series) -> list[Any]:
    """The different cells of a column, in order; pandas' own text columns are slow to walk."""
    return list(pd.unique(column.to_numpy(dtype=object)))


def each(column: pd.Series, meaning: Callable[[Any], Any]) -> pd.Series:
    """`meaning` of every cell, worked out once for each different one."""
    return column.map({cell: meaning(cell) for cell in different(column)})


def decimal_mark(cells: Iterable[str], what: str, given: str | None = None) -> str | None:
    """Which mark stands before the decimals of a column, decided from all its cells.

    Args:
        cells: Of one column.
        what: The column, for messages.
        given: What the study says (`cohort.decimal`).

    Returns:
        '.' or ','; None where no cell depends on it.

    Raises:
        CohortError: Cells such as 1,200 may be two numbers, and no other cell settles it, or others disagree.
    """
    if given:
        return given
    read = {cell: readings(cell) for cell in dict.fromkeys(cells)}
    unclear = [cell for cell, found in read.items() if len(set(found.values())) > 1]
    if not unclear:
        return None
    settling = {next(iter(found)): cell for cell, found in read.items() if len(found) == 1}
    if len(settling) == 1:
        return next(iter(settling))
    shown = listed(map(repr, unclear), most=SHOWN)
    first = read[unclear[0]]
    why = (
        f"other cells disagree ({listed(map(repr, settling.values()))})" if settling
        else "no other cell settles it"
    )  # fmt: skip
    raise CohortError(
        f"{what}: {shown} can be read in two ways, {unclear[0]!r} as {first['.']:.10g} or as {first[',']:.10g}, and "
        f"{why}. Write these cells without a thousands mark, or say which mark stands before decimals, "
        "cohort.decimal: '.' or ','."
    )


def parse_number(cell: object, mark: str | None = None) -> float | None:
    """A number out of a cell, see `readings`; None where it holds none, or where it is unclear which.

    Args:
        cell: Text, or a number.
        mark: Which mark stands before decimals; None where the cell alone must tell.
    """
    if cell is None or str(cell).strip().lower() in MISSING:
        return None
    found = readings(str(cell))
    if mark is not None:
        return found.get(mark)
    values = set(found.values())
    return values.pop() if len(values) == 1 else None
