"""Guess which series of an exam are its contrast phases: before contrast agent, first after it, and so on."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pandas as pd

from scan2gene.imaging.sequence import TIME_POINT

MAX_PHASES = 10  # more are a time series, and no role each
_SHARE = 0.5  # of the exams with several series must be told apart by one rule
_LAST = math.inf
# words, in names whose underscores became spaces
_PRE = re.compile(r"(?<![a-z])(?:pre(?!s|v)\w*|nativ\w*|unenh\w*|non.?con\w*|no.contrast|w/o|without)")
_POST = re.compile(r"(?<![a-z])(?:post|early)[a-z]*\D{0,12}(\d{1,3})?")
_LATE = re.compile(r"(?<![a-z])(?:late|delayed)(?![a-z])")
_CONTRAST = re.compile(r"(?<![a-z])(?:pre|post|dyn|dce|ph|phase|pass|contrast|early|late|delayed)(?![a-z])")
_NUMBER = re.compile(r"\d+(?=(?:st|nd|rd|th)?(?![a-z0-9]))")
_IN_TIME = {"TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "AcquisitionTime", "DimensionIndexValues",
            "volume", ""}  # fmt: skip


def phases(series: pd.DataFrame, several: Callable[[pd.DataFrame], bool]) -> tuple[pd.Series, bool]:
    """Which phase each series is.

    Args:
        series: Series that may be phases, with columns `who`, `exam_id`, `called` (a file's name or a description),
            `guess`, `series_id`, `told_apart_by` and `sequence_rule`.
        several: Whether the series of an exam leave open which one is meant.

    Returns:
        "pre", "post1", "post2", ..., or "phase1", ... where nothing says that one is before contrast agent; empty
        where a series is not told apart. And whether they are the volumes of one series, not series of their own.
    """
    exams = [rows for _, rows in series.groupby(["who", "exam_id"])]
    for by_volume in (False, True):
        numbers = [_by_volume(rows) if by_volume else _by_name(rows) for rows in exams]
        told = [len(n) > 1 and len(set(n.values())) == len(n) for n in numbers]
        asked = [several(rows) for rows in exams]
        ranks = sorted({value for n, clear in zip(numbers, told, strict=True) if clear for value in n.values()})
        clear = sum(t and a for t, a in zip(told, asked, strict=True))
        if clear and clear >= _SHARE * sum(asked) and len(ranks) <= MAX_PHASES:
            first = int(ranks[0] > 0)
            names = {v: f"{'phase' if first else 'post'}{k + first}" if v else "pre" for k, v in enumerate(ranks)}
            found = {i: names[v] for n in numbers for i, v in n.items() if v in names}
            return pd.Series(found, dtype=object).reindex(series.index).fillna(""), by_volume
    return pd.Series("", index=series.index), False


def _by_name(rows: pd.DataFrame) -> dict[object, float]:
    """Row -> place in time as its name says: 0 is before contrast agent."""
    texts = {i: re.sub(r"[_/]", " ", str(text)).lower() for i, text in rows["called"].items()}
    counted = rows["sequence_rule"].astype(str).str.contains(TIME_POINT).any() or (rows["guess"] == "dce").any()
    if not counted and not any(_CONTRAST.search(text) for text in texts.values()):
        return {}
    places: dict[object, float] = {i: 0.0 for i, text in texts.items() if _PRE.search(text)}
    families: dict[str, dict[object, float]] = {}  # names that differ by one number
    for i in [i for i in texts if i not in places]:
        for mark in _NUMBER.finditer(texts[i]):
            rest = re.sub("^(?:st|nd|rd|th)", "", texts[i][mark.end() :])
            families.setdefault(f"{texts[i][: mark.start()]}#{rest}", {})[i] = float(mark[0])
    largest = max(families.values(), key=lambda family: len(set(family.values())), default={})
    if len(set(largest.values())) > 1:
        shift = float(bool(places) and not min(largest.values()))  # beside `pre`, number 0 comes after it
        places |= {i: number + shift for i, number in largest.items()}
    for i in [i for i in texts if i not in places]:
        post = _POST.search(texts[i])
        if _LATE.search(texts[i]) or post:
            places[i] = float(post[1] or 1) if post and not _LATE.search(texts[i]) else _LAST
    left = [i for i in texts if i not in places]
    if len(left) == 1 and set(places.values()) == {0.0}:  # beside `pre` alone, the other comes after it
        places[left[0]] = 1.0
    return places


def _by_volume(rows: pd.DataFrame) -> dict[object, float]:
    """Row -> place among the volumes of the one series or 4D file that has several, in the scanner's order."""
    keys = rows["told_apart_by"].astype(str).map(lambda text: {mark.partition("=")[0] for mark in text.split("; ")})
    parts = rows["series_id"].astype(str).str.extract(r"^(.*)[/#](\d+)$")
    parts = parts[keys.map(lambda found: found <= _IN_TIME)].dropna()
    parts = parts[parts.groupby(0)[1].transform("size") > 1]
    return {i: float(n) for i, n in parts[1].items()} if parts[0].nunique() == 1 else {}
