"""The targets of a drafted study: those that are predicted, and in comments those that could be."""

from __future__ import annotations

from collections.abc import Sequence

from scan2gene.cohorts.draft_text import cell, scalar, study_name, unique
from scan2gene.cohorts.genomics import GROUPS
from scan2gene.cohorts.guess_columns import (
    DESCRIBES,
    GUESSED,
    MIN_MINORITY,
    OPEN,
    ClassesGuess,
    TargetGuess,
    class_columns,
    one_class,
)
from scan2gene.cohorts.seen import Seen
from scan2gene.core.text import listed

MAX_OTHERS = 20  # columns that stand as comments


Classes = list[tuple[ClassesGuess, TargetGuess]]


def target_lines(
    seen: Seen, chosen: Sequence[TargetGuess], others: Sequence[TargetGuess], classes: Classes
) -> list[str]:
    """The section `targets`, comments included.

    Args:
        seen: What the draft is made from.
        chosen: Targets that are predicted.
        others: Further columns with two classes.
        classes: From `several_classes`.
    """
    ready = [t for t in others[:MAX_OTHERS] if not t.doubts or DESCRIBES not in t.doubts]
    shown = [*ready, *(t for t in others[:MAX_OTHERS] if t not in ready)]
    against = [one for _, one in classes]
    names = unique(study_name(t.name or t.column, "target") for t in (*chosen, *shown, *against))
    lines = [_line(t, name, seen.mutations) for t, name in zip((*chosen, *shown, *against), names, strict=True)]
    first, second = len(chosen), len(chosen) + len(shown)
    found = [f"  {line}" for line in lines[:first]]
    if shown:
        found.append("  # other columns with two classes:")
        found += [f"  # {line}" for line in lines[first:second]]
    if len(others) > MAX_OTHERS:
        found.append(f"  # and {len(others) - MAX_OTHERS} more: {', '.join(t.column for t in others[MAX_OTHERS:])}")
    if classes:
        found.append("  # columns with more than two classes, and how one class against the others is written:")
    for (guess, _), line in zip(classes, lines[second:], strict=True):
        counts = ", ".join(f"{value} {n}" for value, n in guess.counts.items())
        doubt = "".join(f"; {d}" for d in guess.doubts)
        found += [f"  #   {guess.column}: {counts}{doubt}", f"  # {line}"]
    return found


def target_warnings(chosen: Sequence[TargetGuess], classes: Classes) -> list[str]:
    """What a person must decide about the targets."""
    found = []
    for t in chosen:
        words = f"target {t.column}: whether {t.positive[0]!r} or {t.negative[0]!r} is the positive class"
        if OPEN in t.doubts:
            found.append(f"{words} cannot be told, and both are equally frequent: see the line marked EDIT")
        elif GUESSED in t.doubts:
            found.append(f"{words} is not told by the words: the rarer, {t.positive[0]!r}, is taken")
    several = [g for g, _ in classes if not g.doubts]
    if several:
        told = listed(f"{g.column} ({len(g.counts)})" for g in several)
        found.append(f"columns with more than two classes stand in the draft as comments only: {told}")
    return found


def several_classes(seen: Seen, taken: Sequence[TargetGuess]) -> Classes:
    """Columns with several classes, each with one class against the others: the rarest that can be divided.

    Args:
        seen: What the draft is made from.
        taken: Targets of two classes; their columns are left out.
    """
    column = seen.patients.column
    if seen.mutations:
        return []
    ready = {t.column for t in taken if not t.name}
    rows = seen.table[seen.table[column].isin(seen.scanned)]
    found = []
    for guess in class_columns(seen.table, column, seen.scanned)[:MAX_OTHERS]:
        if guess.column in ready:
            continue
        values = list(guess.counts)
        value = next((v for v in reversed(values) if guess.counts[v] >= MIN_MINORITY), values[0])
        one = one_class(rows, column, guess.column, value)
        if one is not None:
            found.append((guess, one))
    return found


def _line(target: TargetGuess, name: str, mutations: bool) -> str:
    """One target: its key, its values, and behind them the counts and what is doubtful."""
    counts = f"{target.counts[0]} / {target.counts[1]}{' sides' if target.sides else ''}"
    told = "".join(f"; {d}" for d in target.doubts)
    if mutations:
        genes = ", ".join(map(scalar, GROUPS.get(target.column, (target.column,))))
        return f"{scalar(name)}: {{genes: [{genes}]}}   # {counts}{told}"
    keys = [f"column: {scalar(target.column)}"] if name != target.column else []
    if target.sides:
        keys = [f"left: {scalar(target.sides[0])}", f"right: {scalar(target.sides[1])}"]
    for key, cells in (("positive", target.positive), ("negative", target.negative), ("unknown", target.unknown)):
        keys += [f"{key}: [{', '.join(map(cell, cells))}]"] if cells else []
    rule = "; positive by meaning" if target.by_meaning and not target.name else ""
    return f"{scalar(name)}: {{{', '.join(keys)}}}   # {counts}{rule}{told}"
