"""Reporting checklists, pre-filled with what a run knows; what it cannot know is left as a named gap.

A value here is a fact of the run for the authors to use. Whether a paper reports an item, and does so well,
is for its authors and readers to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scan2gene.core.text import capitalised, listed
from scan2gene.report.known import Fill, Known
from scan2gene.report.references import in_words
from scan2gene.report.statements import markdown

FILLED, PARTLY, OPEN = "filled", "partly filled", "open"
TO_WRITE = "to be written by the authors"
COLUMNS = ("item", "section", "asks", "status", "value", "source", TO_WRITE.replace(" ", "_"))


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Args:
        number: As in the paper.
        section: Of a manuscript.
        asks: What it asks for, in our words.
        fill: What the run knows of it; None where it can know nothing.
        gap: What the authors must write even then; "" where the run knows it all.
        otherwise: What is known where `fill` finds nothing, because it was not done.
    """

    number: str
    section: str
    asks: str
    fill: Fill | None = None
    gap: str = ""
    otherwise: str = ""


@dataclass(frozen=True)
class Checklist:
    """A published checklist.

    Args:
        name: Of its files.
        title: For people.
        reference: Key of `REFERENCES`.
        items: In the order of the paper.
    """

    name: str
    title: str
    reference: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Answer:
    """What a run says of an item: `value` with its `source`, and what is `left` for the authors."""

    item: Item
    value: str
    source: str
    left: str

    @property
    def status(self) -> str:
        """Filled, partly filled or open."""
        return OPEN if not self.value else PARTLY if self.left else FILLED


def answers(checklist: Checklist, known: Known) -> list[Answer]:
    """Every item of a checklist with what the run knows of it."""
    found = []
    for item in checklist.items:
        said = item.fill(known) if item.fill else None
        if said:
            found.append(Answer(item, said.text, said.source, item.gap))
        elif item.otherwise:
            found.append(Answer(item, item.otherwise, "study.yaml; files of the run", ""))
        else:
            found.append(Answer(item, "", "", item.gap or item.asks))
    return found


def table(found: Sequence[Answer]) -> pd.DataFrame:
    """A row for each item."""
    rows = [(a.item.number, a.item.section, a.item.asks, a.status, a.value, a.source, a.left) for a in found]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def counts(found: Sequence[Answer]) -> dict[str, int]:
    """How many items are filled, partly filled and open, and how many there are."""
    by_status = Counter(a.status for a in found)
    return {status: by_status[status] for status in (FILLED, PARTLY, OPEN)} | {"all": len(found)}


def in_a_sentence(title: str, found: Sequence[Answer]) -> str:
    """CLAIM 2024: 20 of 44 items filled from the run, 14 in part; 10 are for the authors."""
    n = counts(found)
    return (
        f"{title}: {n[FILLED]} of {n['all']} items filled from the run, {n[PARTLY]} in part; "
        f"{n[OPEN]} are for the authors alone."
    )


def as_markdown(checklist: Checklist, found: Sequence[Answer], study: str, stamp: str) -> str:
    """The checklist as a text to be filled on.

    Args:
        checklist: It.
        found: From `answers`.
        study: Its name.
        stamp: What every file must say; empty for nothing.
    """
    lines = [f"# {checklist.title}, {markdown(study)}", *([f"**{markdown(stamp)}.**"] if stamp else [])]
    lines += [
        markdown(in_a_sentence(checklist.title, found)),
        f"Items are numbered as in {markdown(in_words(checklist.reference))} Their texts are ours and short. "
        "Filled means that the run knows the answer; the manuscript must still say it.",
    ]
    section = ""
    for a in found:
        if a.item.section != section:
            section = a.item.section
            lines.append(f"## {section}")
        box = "x" if a.status == FILLED else " "
        said = f"\n  {markdown(a.value)} *From: {markdown(a.source)}.*" if a.value else ""
        gap = "." if a.left == a.item.asks else f":** {markdown(a.left)}"
        left = f"\n  **{capitalised(TO_WRITE)}{gap}{'**' if gap == '.' else ''}" if a.left else ""
        lines.append(f"- [{box}] **{a.item.number}.** {markdown(a.item.asks)}{said}{left}")
    return "\n\n".join(lines) + "\n"


def on_page(checklist: Checklist, found: Sequence[Answer]) -> dict[str, Any]:
    """What the page shows of a checklist."""
    open_ = [a.item.number for a in found if a.status == OPEN]
    return {
        "name": checklist.name,
        "title": checklist.title,
        "sentence": in_a_sentence(checklist.title, found),
        "open": listed(open_),
        "reference": in_words(checklist.reference),
        "rows": [
            {"number": a.item.number, "asks": a.item.asks, "status": a.status}
            | {"value": a.value, "source": a.source, "left": a.left, "said": a.left == a.item.asks}
            for a in found
        ],
    }
