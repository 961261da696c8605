"""What a comparison of score tables found: results.json and one offline page."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scan2gene import __version__
from scan2gene.core.errors import RunError
from scan2gene.core.files import write_text
from scan2gene.core.levels import ALPHA, CHANCE, CONFIDENCE
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.text import counted, difference_text, estimate_text, interval_text, number_text, p_number, p_text
from scan2gene.evaluate.compare import DRAWS, SEED, Judged, Pair
from scan2gene.evaluate.verdict_words import slope_in_words
from scan2gene.report.figures import ForestRow, forest
from scan2gene.report.inputs import Scored
from scan2gene.report.use import error_in_words, large_in_words
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.permutation import PERMUTATIONS
from scan2gene.stats.power import too_few
from scan2gene.tasks.outputs import displayed

SETTINGS = {"level": CONFIDENCE, "bootstrap": DRAWS, "permutations": PERMUTATIONS, "seed": SEED}
MARKS = {"better": "▲", "worse": "▼", "chance": "●", "unknown": "○"}  # shape says what colour says
WORDS = {
    "better": "is better than chance",
    "worse": "lies below chance",
    "chance": "is not distinguishable from chance",
}
FEW = 10  # patients of the rarer class below which an interval is only a rough guide
_LABEL = 32  # characters of a run's name in the figure


def write_comparison(out: Path, runs: Sequence[Judged], pairs: Sequence[Pair]) -> None:
    """Write results.json and report.html.

    Args:
        out: Folder, made where it is not there.
        runs: From `compare`.
        pairs: From `compare`.

    Raises:
        RunError: The folder is a study's run directory, whose files have these names.
    """
    if RunDirectory(out).study_json.exists():
        raise RunError(f"{out} is the run directory of a study and has a report of its own. Name another folder.")
    RunDirectory(out).results.write(results(runs, pairs))
    write_text(RunDirectory(out).report.path, page(runs, pairs))


def results(runs: Sequence[Judged], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The figures, fit for JSON: intervals unadjusted, verdicts by the corrected P value."""
    return {
        "runs": [
            {
                "file": run.file,
                "target": run.target,
                "n": run.n,
                "n_units": run.n_units,
                "n_positive": run.n_positive,
                "auroc": run.auroc.value,
                "auroc_low": run.auroc.low,
                "auroc_high": run.auroc.high,
                "p_chance": run.p_chance,
                "p_chance_holm": run.p_holm,
                "verdict": judged(run)[1],
                "delong_low": run.delong.low if run.delong else None,
                "delong_high": run.delong.high if run.delong else None,
                "further": {name: vars(figure) for name, figure in run.further.items()},
                "notes": list(run.notes),
            }
            for run in runs
        ],
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "target": pair.target,
                "n": pair.n,
                "difference": pair.difference.value,
                "low": pair.difference.low,
                "high": pair.difference.high,
                "p": pair.p,
                "p_holm": pair.p_holm,
                "p_delong": pair.p_delong,
                "verdict": between(pair),
                "notes": list(pair.notes),
            }
            for pair in pairs
        ],
        "settings": SETTINGS,
    }


def against_chance(auroc: Estimate, p: float | None) -> tuple[str, str]:
    """Kind and words of an AUROC against chance.

    Args:
        auroc: With its unadjusted interval; without one nothing is decided.
        p: Two-sided, corrected for all comparisons (Holm).
    """
    if auroc.value is None or auroc.low is None or auroc.high is None or p is None:
        return "unknown", f"cannot be estimated, because {auroc.reason or 'no interval was computed'}"
    kind = "chance" if p >= ALPHA else "better" if auroc.value > CHANCE else "worse"
    return kind, WORDS[kind]


def judged(run: Judged) -> tuple[str, str]:
    """Kind and words of a run against chance, by its corrected P value; as in a study, not of too few in a class."""
    by_sample = run.n_positive is None or run.n_units != run.n
    few = run.few if by_sample else too_few(run.n_positive or 0, run.n_units)
    few = few if run.auroc.value is not None else ""
    return against_chance(Estimate(None, reason=few) if few else run.auroc, run.p_holm)


def between(pair: Pair) -> str:
    """What may be said of two runs, by the P value that is corrected for all pairs."""
    if pair.p_holm is None or pair.difference.value is None:
        return f"cannot be estimated, because {pair.difference.reason or 'no interval was computed'}"
    if pair.p_holm >= ALPHA:
        return "no difference is shown"
    return f"{pair.a if pair.difference.value > 0 else pair.b} is better"


def told(runs: Sequence[Judged], pairs: Sequence[Pair]) -> list[str]:
    """The answer for the console: a line per run, then per pair."""
    lines = []
    for run in runs:
        said = _described(run, len(runs))
        notes = "".join(f"; {note}" for note in run.notes)
        lines.append(
            f"{_name(run.target, runs)}: {run.file} {said['words']}{f'; {f}' if (f := said['figures']) else ''}{notes}"
        )
    for pair in pairs:
        found = pair.difference
        by = "" if found.value is None else f" by {difference_text(found)}"
        patients = counted(pair.n, "patient")
        lines.append(f"{_name(pair.target, runs)}: {pair.a} against {pair.b}{by}, {patients}: {between(pair)}")
    return lines


def page(runs: Sequence[Judged], pairs: Sequence[Pair]) -> str:
    """One HTML page without scripts; it loads nothing and names no patient."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number_text, "p": p_number}
    environment.globals |= {"interval": interval_text, "difference": difference_text, "p_text": p_text}
    source = importlib.resources.files("scan2gene.report").joinpath("compare.html.j2").read_text(encoding="utf-8")
    targets = list(dict.fromkeys(run.target for run in runs))
    return environment.from_string(source).render(
        targets=[
            {
                "name": _name(target, runs),
                "said": [_described(run, len(runs)) for run in runs if run.target == target],
                "pairs": [{"pair": p, "verdict": between(p)} for p in pairs if p.target == target],
            }
            for target in targets
        ],
        runs=runs,
        pairs=pairs,
        better=sum(judged(r)[0] == "better" for r in runs),
        marks=MARKS,
        forest=_forest(runs, targets),
        settings=SETTINGS,
        version=__version__,
    )


def _name(target: str, runs: Sequence[Judged]) -> str:
    """A target as it is shown: one class of another target against the rest as `displayed` has it."""
    of_class = any(run.n_positive is None and target.startswith(f"{run.target}:") for run in runs)
    return displayed(target) if of_class else target


def _described(run: Judged, tested: int) -> dict[str, Any]:
    """One run in words: verdict, figures, and whatever keeps it from meaning more."""
    kind, words = judged(run)
    scored = _scored(run)
    who = f"{counted(run.n, 'test patient')}{scored.of_sides}"
    who += f", {run.n_positive} positive" if run.n_positive is not None else ""
    name = "AUROC" if run.n_positive is not None else "macro AUROC"
    figures = "" if run.auroc.value is None else f"{name} {estimate_text(run.auroc)}, {who}"
    notes = [*(_cautions(run, kind, tested) if figures else ()), *run.notes]
    return {"run": run, "kind": kind, "words": words, "figures": figures, "notes": notes,
            "calibration": _calibration(run)}  # fmt: skip


def _cautions(run: Judged, kind: str, tested: int) -> Iterator[str]:
    low, high = run.auroc.low, run.auroc.high
    misses = low is not None and high is not None and (low > CHANCE or high < CHANCE)
    if kind == "chance" and misses and tested > 1:
        yield f"Its own interval misses {CHANCE:g}; that is not enough, with {tested} tested."
    elif kind == "chance" and misses:
        yield f"Its interval just misses {CHANCE:g}, which its P value does not confirm."
    rarer = FEW if run.n_positive is None else min(run.n_positive, run.n_units - run.n_positive)
    if rarer < FEW:
        unit = "side" if run.n_units != run.n else "patient"
        yield f"Only {counted(rarer, unit)} in the rarer class: a rough guide."
    if high is not None and high < CHANCE:
        yield f"Where there is nothing to learn, one interval in 20 misses {CHANCE:g} by luck."
        yield "If it lies far below, look whether positive and negative are swapped."


def _calibration(run: Judged) -> str:
    found = run.further
    if found["slope"].value is None:
        return f"Cannot be estimated, because {found['slope'].reason or 'the fit has no end'}."
    parts = (slope_in_words(found["slope"]), large_in_words(found["intercept"]),
             error_in_words(found["ece"], found["ece_if_calibrated"]))  # fmt: skip
    return " ".join(p for p in parts if p)


def _scored(run: Judged) -> Scored:
    return Scored(run.auroc, run.n, run.n_positive, run.n_units)


def _forest(runs: Sequence[Judged], targets: Sequence[str]) -> str:
    rows = []
    for target in targets:
        rows.append(ForestRow(_name(target, runs)))
        rows += [ForestRow(_end(run.file), _scored(run)) for run in runs if run.target == target]
    return forest(rows, "AUROC with 95 % intervals")


def _end(name: str) -> str:
    """The end of a long name, by which runs of one file differ."""
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"
