"""Sentences with their sources and citations, and how they are set: as Markdown, LaTeX and plain text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scan2gene.report.latex import escaped

_MARKS = re.compile(r"([\\`*_\[\]<>#|~^{}@])")


@dataclass(frozen=True)
class Said:
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


def watched(monitor: str) -> str:
    """What early stopping watches, in words: "auroc:IDH" -> "validation AUROC of IDH"."""
    metric, _, target = monitor.partition(":")
    name = {"auroc": "AUROC", "mcc": "MCC", "npv": "NPV", "f1": "F1"}.get(metric, metric.replace("_", " "))
    return f"validation {name}{f' of {target}' if target else ''}"


def listed(words: Sequence[str], last: str = "and") -> str:
    """a; a and b; a, b and c."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def counted(number: int, one: str, many: str = "") -> str:
    """A number with its noun: 1 exam, 1,200 exams."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def spread(values: Iterable[int]) -> str:
    """12, or 11 to 13."""
    low, high = min(values := list(values)), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def share(part: float) -> str:
    """0.2 as 20 %."""
    return f"{100 * part:.3g} %"


def markdown(words: str) -> str:
    """Text that Markdown prints as it stands, on one line."""
    return _MARKS.sub(r"\\\1", " ".join(words.split()))


def as_markdown(said: Iterable[Said]) -> str:
    """Sentences with citations that pandoc reads: [@Efron1987]."""
    return " ".join(_ended(markdown(s.text), "; ".join(f"@{c}" for c in s.cites), " [", "]") for s in said)


def as_latex(said: Iterable[Said]) -> str:
    r"""Sentences with `\cite`."""
    return " ".join(_ended(escaped(s.text), ",".join(s.cites), r"~\cite{", "}") for s in said)


def as_text(said: Iterable[Said], numbers: dict[str, int]) -> str:
    """Sentences with numbers of references, [1, 2]; new keys are numbered on."""
    found = []
    for s in said:
        marks = [str(numbers.setdefault(c, len(numbers) + 1)) for c in s.cites]
        found.append(_ended(s.text, ", ".join(marks), " [", "]"))
    return " ".join(found)


def _ended(text: str, marks: str, before: str, after: str) -> str:
    """A sentence with its citations before the full stop."""
    return f"{text.removesuffix('.')}{before}{marks}{after}." if marks else text
