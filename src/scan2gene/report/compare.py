"""What a comparison of score tables found: results.json and one offline page."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scan2gene import __version__
from scan2gene.core.errors import RunError
from scan2gene.core.files import write_json, write_text
from scan2gene.evaluate.compare import DRAWS, SEED, Judged, Pair
from scan2gene.report import verdict
from scan2gene.report.figures import ForestRow, forest
from scan2gene.report.page import MARKS
from scan2gene.report.use import error_in_words, large_in_words, slope_in_words
from scan2gene.report.verdict import Scored
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.levels import ALPHA, CHANCE, CONFIDENCE
from scan2gene.stats.permutation import PERMUTATIONS
from scan2gene.stats.power import too_few

SETTINGS = {"level": CONFIDENCE, "bootstrap": DRAWS, "permutations": PERMUTATIONS, "seed": SEED}
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
    if (out / "study.json").exists():
        raise RunError(f"{out} is the run directory of a study and has a report of its own. Name another folder.")
    write_json(out / "results.json", results(runs, pairs))
    write_text(out / "report.html", page(runs, pairs))


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


def judged(run: Judged) -> tuple[verdict.Kind, str]:
    """Kind and words of a run against chance, by its corrected P value; as in a study, not of too few in a class."""
    few = run.few if run.n_units != run.n else too_few(run.n_positive, run.n_units)
    few = few if run.auroc.value is not None else ""
    return verdict.against_chance_by_p(Estimate(None, reason=few) if few else run.auroc, run.p_holm)


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
        said = _said(run, len(runs))
        notes = "".join(f"; {note}" for note in run.notes)
        lines.append(f"{run.target}: {run.file} {said['words']}{f'; {f}' if (f := said['figures']) else ''}{notes}")
    for pair in pairs:
        found = pair.difference
        lies = "" if found.value is None else f" by {found.value:+.3f}"
        spread = "" if found.low is None or found.high is None else f" ({found.low:+.3f} to {found.high:+.3f})"
        lines.append(f"{pair.target}: {pair.a} against {pair.b}{lies}{spread}, {pair.n} patients: {between(pair)}")
    return lines


def page(runs: Sequence[Judged], pairs: Sequence[Pair]) -> str:
    """One HTML page without scripts; it loads nothing and names no patient."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": verdict.number, "p": p_text}
    environment.globals |= {"interval": verdict.interval}
    source = importlib.resources.files("scan2gene.report").joinpath("compare.html.j2").read_text(encoding="utf-8")
    targets = list(dict.fromkeys(run.target for run in runs))
    return environment.from_string(source).render(
        targets=[
            {
                "name": target,
                "said": [_said(run, len(runs)) for run in runs if run.target == target],
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


def _said(run: Judged, tested: int) -> dict[str, Any]:
    """One run in words: verdict, figures, P value, and whatever keeps it from meaning more."""
    said = verdict.sentence(run.file, _scored(run))
    kind, words = judged(run)
    cautions = [said.caution] if said.caution else []
    if kind == "chance" and said.kind in ("better", "worse"):
        cautions.insert(0, f"Its own interval misses {CHANCE:g}; that is not enough, with {tested} tested." if
                        tested > 1 else f"Its interval just misses {CHANCE:g}, which its P value does not "
                        "confirm.")  # fmt: skip
    return {"run": run, "kind": kind, "words": words, "figures": said.figures, "notes": [*cautions, *run.notes],
            "calibration": _calibration(run)}  # fmt: skip


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
        rows.append(ForestRow(target))
        rows += [ForestRow(_end(run.file), _scored(run)) for run in runs if run.target == target]
    return forest(rows, "AUROC with 95 % intervals")


def _end(name: str) -> str:
    """The end of a long name, by which runs of one file differ."""
    return name if len(name) <= _LABEL else f"…{name[1 - _LABEL :]}"


def p_text(p: float | None) -> str:
    """A P value as it is printed."""
    if p is None:
        return "not estimated"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}"
