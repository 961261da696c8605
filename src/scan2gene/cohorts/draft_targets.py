"""The targets of a drafted study: those that are predicted, and in comments those that could be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from scan2gene.cohorts.draft_text import cell, scalar, study_name, unique
from scan2gene.cohorts.genomics import GROUPS
from scan2gene.cohorts.guess_columns import DESCRIBES, GUESSED, MIN_MINORITY, OPEN, TargetGuess
from scan2gene.cohorts.guess_several import number_columns, one_class
from scan2gene.cohorts.seen import Seen, classes_text, several_classes
from scan2gene.core.levels import MIN_CLASS_PATIENTS
from scan2gene.core.text import counted, listed

MAX_OTHERS = 20  # columns that stand as comments
MAX_NUMBERS = 10  # of them columns of numbers


def target_lines(
    seen: Seen, chosen: Sequence[TargetGuess], others: Sequence[TargetGuess], several: Sequence[TargetGuess]
) -> list[str]:
    """The section `targets`, comments included.

    Args:
        seen: What the draft is made from.
        chosen: Targets that are predicted.
        others: Further columns with two classes.
        several: From `other_classes`.
    """
    ready = [t for t in others[:MAX_OTHERS] if not t.doubts or DESCRIBES not in t.doubts]
    shown = [*ready, *(t for t in others[:MAX_OTHERS] if t not in ready)]
    against = [_against(seen, t) for t in several]
    numbers = _numbers(seen, chosen)
    every = (*chosen, *shown, *(t for t in against if t), *numbers)
    names = iter(unique(study_name(t.name or t.column, "target") for t in every))
    found = [f"  {line}" for t in chosen for line in _lines(t, next(names), seen.mutations)]
    if shown:
        found.append("  # other columns with two classes:")
        found += [f"  # {_line(t, next(names), seen.mutations)}" for t in shown]
    if len(others) > MAX_OTHERS:
        found.append(f"  # and {len(others) - MAX_OTHERS} more: {', '.join(t.column for t in others[MAX_OTHERS:])}")
    if several:
        found.append("  # columns with more than two classes, and how one class against the others is written; all of")
        found.append("  # them are drafted by `scan2gene new ... --target COLUMN`:")
    for target, one in zip(several, against, strict=True):
        doubt = "".join(f"; {d}" for d in target.doubts)
        found.append(f"  #   {target.column}: {classes_text(target)}{doubt}")
        found += [f"  # {_line(one, next(names), seen.mutations)}"] if one else []
    if numbers:
        found.append("  # numbers: which are above a limit, here the median; choose a limit that means something:")
        found += [f"  # {_line(t, next(names), seen.mutations)}" for t in numbers]
    return found


def target_warnings(chosen: Sequence[TargetGuess], several: Sequence[TargetGuess]) -> list[str]:
    """What a person must decide about the targets."""
    found = []
    for t in chosen:
        if t.above is not None:
            found.append(f"target {t.column}: the limit {t.above:g} is only the median: see the line marked EDIT")
        elif t.classes:
            few = [f"{value} ({counted(n, 'patient')})" for value, n in _small_classes(t)]
            if few:
                found.append(
                    f"target {t.column}: classes with fewer than the {MIN_CLASS_PATIENTS} patients that figures of a "
                    f"class need: {listed(few)}. Join them with another class, or name their cells in unknown"
                )
        else:
            words = f"target {t.column}: whether {t.positive[0]!r} or {t.negative[0]!r} is the positive class"
            if OPEN in t.doubts:
                found.append(f"{words} cannot be told, and both are equally frequent: see the line marked EDIT")
            elif GUESSED in t.doubts:
                found.append(f"{words} is not told by the words: the rarer, {t.positive[0]!r}, is taken")
    ready = [t for t in several if not t.doubts]
    if ready:
        told = listed(f"{t.column} ({len(t.classes)})" for t in ready)
        found.append(f"columns with more than two classes stand in the draft as comments only: {told}")
    return found


def other_classes(seen: Seen, taken: Sequence[TargetGuess]) -> list[TargetGuess]:
    """Columns with several classes that stand as comments: those that are no target already."""
    return several_classes(seen, taken)[:MAX_OTHERS]


def _against(seen: Seen, target: TargetGuess) -> TargetGuess | None:
    """One class of several against the others: the rarest that can be divided."""
    rows = seen.table[seen.table[seen.patients.column].isin(seen.scanned)]
    by_size = sorted(zip(target.counts, target.classes, strict=True), key=lambda one: one[0])
    value = next((value for n, (_, value) in by_size if n >= MIN_MINORITY), by_size[-1][1][1])
    return one_class(rows, seen.patients.column, target.column, value)


def _numbers(seen: Seen, chosen: Sequence[TargetGuess]) -> list[TargetGuess]:
    """Columns of numbers that are no target yet."""
    if seen.mutations:
        return []
    found = number_columns(seen.table, seen.patients.column, seen.scanned)
    taken = {t.column for t in chosen}
    return list(islice((t for t in found if t.column not in taken), MAX_NUMBERS))


def _small_classes(target: TargetGuess) -> list[tuple[str, int]]:
    return [(v, n) for (_, v), n in zip(target.classes, target.counts, strict=True) if n < MIN_CLASS_PATIENTS]


def _lines(target: TargetGuess, name: str, mutations: bool) -> Iterator[str]:
    """One target that is predicted; of several classes each has a line of its own."""
    if not target.classes:
        edit = "; EDIT: choose a limit that means something" if target.above is not None else ""
        yield _line(target, name, mutations) + edit
        return
    told = "".join(f"; {d}" for d in target.doubts)
    yield f"{scalar(name)}:   # {counted(sum(target.counts), 'patient')}{told}"
    if name != target.column:
        yield f"  column: {scalar(target.column)}"
    yield "  classes:"
    for (key, value), n in zip(target.classes, target.counts, strict=True):
        few = "" if n >= MIN_CLASS_PATIENTS else f", fewer than the {MIN_CLASS_PATIENTS} that figures of a class need"
        yield f"    {scalar(key)}: [{cell(value)}]   # {n}{few}"
    unknown = ", ".join(map(cell, (*target.unknown, *target.unscanned)))
    if unknown:
        told = f"   # of patients without scans: {', '.join(target.unscanned)}" if target.unscanned else ""
        yield f"  unknown: [{unknown}]{told}"


def _line(target: TargetGuess, name: str, mutations: bool) -> str:
    """One target on one line: its key, its values, and behind them the counts and what is doubtful."""
    told = "".join(f"; {d}" for d in target.doubts)
    if target.above is not None:
        counts = f"{target.counts[0]} above, {target.counts[1]} not"
    else:
        counts = f"{target.counts[0]} / {target.counts[1]}{' sides' if target.sides else ''}"
    if mutations:
        genes = ", ".join(map(scalar, GROUPS.get(target.column, (target.column,))))
        return f"{scalar(name)}: {{genes: [{genes}]}}   # {counts}{told}"
    keys = [f"column: {scalar(target.column)}"] if name != target.column else []
    if target.sides:
        keys = [f"left: {scalar(target.sides[0])}", f"right: {scalar(target.sides[1])}"]
    if target.above is not None:
        keys.append(f"above: {target.above:.6g}")
    for key, cells in (("positive", target.positive), ("negative", target.negative), ("unknown", target.unknown)):
        keys += [f"{key}: [{', '.join(map(cell, cells))}]"] if cells else []
    rule = "; positive by meaning" if target.by_meaning and target.positive and not target.name else ""
    return f"{scalar(name)}: {{{', '.join(keys)}}}   # {counts}{rule}{told}"
