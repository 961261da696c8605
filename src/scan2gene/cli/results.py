"""Verbs of what is trained: apply a run, compare scores, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scan2gene.cli.options import Out
from scan2gene.cli.tables import print_applied


def apply(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A finished run directory.")],
    scans: Annotated[list[Path], typer.Argument(metavar="SCANS", help="Folders or files with DICOM or NIfTI.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder; default apply/<name of SCANS> in the run directory.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="One run of the study; default: every network.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Whose networks; default: the first split.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Predict also what is unlike the training exams.")] = False,
    study: Annotated[
        Path | None, typer.Option("--study", help="Study file whose cohort part finds the exams; default: the run's.")
    ] = None,
    clinical: Annotated[
        Path | None,
        typer.Option("--clinical", help="Table with columns such as age; default: age and sex of the headers."),
    ] = None,
) -> None:
    """Predict exams without labels, and refuse those unlike the training exams. Not for clinical use."""
    from scan2gene.commands.apply import apply as apply_run
    from scan2gene.commands.apply import told

    applied = apply_run(run_dir, scans, out, run=run, split=split, force=force, study=study, clinical=clinical)
    print_applied(applied.summary)
    for line in told(applied):
        typer.echo(line)
    typer.echo(f"Predictions: {applied.folder / 'predictions.csv'}")


def compare(
    scores: Annotated[
        list[Path], typer.Argument(metavar="SCORES...", help="CSV with patient_id, target, y_true, prob; or a run.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.json and report.html.")],
) -> None:
    """Judge tables of scores, also of other tools: against chance, and against each other."""
    from scan2gene.evaluate.compare import compare as compare_scores
    from scan2gene.evaluate.score_table import read_scores
    from scan2gene.report.compare import told, write_comparison

    runs, pairs = compare_scores(read_scores(scores))
    write_comparison(out, runs, pairs)
    for line in told(runs, pairs):
        typer.echo(line)
    typer.echo(f"Report: {out / 'report.html'}")


def external(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A finished run directory.")],
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="Study file of the other cohort; nothing is trained.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder; default external/<study name> in the run directory.")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="One run; default: every network.")] = None,
    split: Annotated[str | None, typer.Option("--split", help="Whose networks; default: the first split.")] = None,
    other_patients: Annotated[
        bool, typer.Option("--other-patients", help="Equal ids are other people; else they are left out.")
    ] = False,
) -> None:
    """Test a finished run on another labelled cohort, and say what is lost there and what differs."""
    from scan2gene.commands.external import external as test_there

    found = test_there(run_dir, study, out, run=run, split=split, other_patients=other_patients)
    for line in found.said:
        typer.echo(line)
    typer.echo(f"Report: {found.folder / 'report.html'}")


def audit(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_DIR_or_STUDY_or_TABLE", help="A run, a study, or a CSV with a split.")
    ],
    out: Out = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with status 1 where a leak is found.")] = False,
) -> None:
    """Say whether anything leaks, what else could give the answer, and what each target's verdict is."""
    from scan2gene.commands.audit import audit as audited
    from scan2gene.commands.audit import is_leak

    if source.suffix in (".yaml", ".yml"):
        from scan2gene.stages.pipeline import run as run_study

        source = run_study(source, out, "audit")
    told = audited(source)
    for line in told:
        typer.echo(line)
    if strict and any(map(is_leak, told)):
        raise typer.Exit(1)
