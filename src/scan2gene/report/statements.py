"""Sentences with their sources and citations, and how they are set: as Markdown, LaTeX and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from scan2gene.report.latex import escaped

_MARKS = re.compile(r"([\\`*_\[\]<>#|~^{}@])")


@dataclass(frozen=True)
class Statement:
    """One sentence that a run bears out.

    Args:
        topic: What it is about; checklists ask for it by this.
        text: The sentence, with its full stop.
        source: The files and study keys that it is read from.
        cites: Keys of `REFERENCES`.
    """

    topic: str
    text: str
    source: str
    cites: tuple[str, ...] = ()


def markdown(words: str) -> str:
    """Text that Markdown prints as it stands, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(words.split()))


def as_markdown(said: Iterable[Statement]) -> str:
    """Sentences with citations that pandoc reads: [@Efron1987]."""
    return " ".join(_ended(markdown(s.text), "; ".join(f"@{c}" for c in s.cites), " [", "]") for s in said)


def as_latex(said: Iterable[Statement]) -> str:
    r"""Sentences with `\cite`."""
    return " ".join(_ended(escaped(s.text), ",".join(s.cites), r"~\cite{", "}") for s in said)


def as_text(said: Iterable[Statement], numbers: dict[str, int]) -> str:
    """Sentences with numbers of references, [1, 2]; new keys are numbered on."""
    found = []
    for s in said:
        marks = [str(numbers.setdefault(c, len(numbers) + 1)) for c in s.cites]
        found.append(_ended(s.text, ", ".join(marks), " [", "]"))
    return " ".join(found)


def _ended(text: str, marks: str, before: str, after: str) -> str:
    """A sentence with its citations before the full stop."""
    return f"{text.removesuffix('.')}{before}{marks}{after}." if marks else text
