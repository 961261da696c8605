"""Names, values and comments of a drafted study file, written so that YAML reads back what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

import yaml

from scan2gene.core.text import slug

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_/ ().+-]*[A-Za-z0-9)]|[A-Za-z]")
_TRUTH = {"y", "n", "yes", "no", "on", "off", "true", "false"}  # of some YAML reader
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]+")


def scalar(text: str) -> str:
    """A text as a YAML scalar that stays a text, quoted where it has to be; as a key or in a list, on one line."""
    if _WORD.fullmatch(text) and text.lower() not in _TRUTH and yaml.safe_load(text) == text:
        return text
    return single(text) if text.isprintable() else yaml.safe_dump(text, default_style='"', width=10**9).strip()


def cell(text: str) -> str:
    """A cell of the label table: as `scalar`, short whole numbers as they are."""
    return text if re.fullmatch(r"0|-?[1-9]\d{0,5}", text) else scalar(text)


def single(text: str) -> str:
    """A text in single quotes, for patterns."""
    return "'" + text.replace("'", "''") + "'"


def study_name(text: str, default: str = "study") -> str:
    """A name that a study file accepts."""
    return slug(text, "_.-").strip("-_.") or default


def unique(names: Iterable[str]) -> list[str]:
    """The names, those that occur again with a number behind."""
    taken: set[str] = set()
    found = []
    for name in names:
        number, free = 2, name
        while free in taken:
            free, number = f"{name}-{number}", number + 1
        taken.add(free)
        found.append(free)
    return found


def one_line(text: str) -> str:
    """A line without the breaks and control characters that a comment must not hold."""
    return _UNWRITABLE.sub(" ", text)
