"""Verbs of a study: all of it, one stage, its plan, its searches, and the demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from scan2gene.cli.options import Changes, Out, StudyFile
from scan2gene.cli.tables import print_results
from scan2gene.core.text import number_text


def run(
    study: StudyFile,
    out: Out = None,
    changes: Changes = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Check the study and say what would be done.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run; an error where none was begun. It goes on without, too.")
    ] = False,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0, help="From index to report; networks that do not fit are named. 0: no limit."),
    ] = None,
) -> None:
    """Do every stage of a study that is not done yet, up to the report."""
    from scan2gene.stages.pipeline import dry_run
    from scan2gene.stages.pipeline import run as run_study

    if dry:
        for stage, what in dry_run(study, out, changes or ()).items():
            typer.echo(f"{stage:<11}{what}")
        return
    folder = run_study(study, out, changes=changes or (), resume=resume, minutes=minutes)
    print_results(folder)


def plan(
    study: StudyFile,
    out: Out = None,
    changes: Changes = None,
    limit: Annotated[float, typer.Option(min=1, help="Seconds for the timing of all runs together.")] = 60,
) -> None:
    """Say what a study can show and what it will cost, before anything is trained."""
    from scan2gene.commands.plan import plan as make_plan
    from scan2gene.commands.plan import told

    for line in told(make_plan(study, out, changes or (), limit)):
        typer.echo(line)


def search(study: StudyFile, out: Out = None, changes: Changes = None) -> None:
    """Help another process with the searches of a study: do trials until none is left."""
    from scan2gene.stages.pipeline import join_search

    typer.echo(f"{join_search(study, out, changes or ())} folds searched")


def fit(
    run_dir: Annotated[Path, typer.Argument(help="Run directory, prepared at least.")],
    run: Annotated[str, typer.Argument(help="Name of one of its runs.")],
    fold: Annotated[str, typer.Argument(help="SPLIT/FOLD, such as cv/1; SPLIT/REPEAT/FOLD where a split is repeated.")],
) -> None:
    """Do one fit of a prepared run directory, so that a cluster may do others; `run` then goes on from there."""
    from scan2gene.stages.pipeline import fit_once

    typer.echo("trained" if fit_once(run_dir, run, fold) else "done before")


def stage_verb(stage: str, description: str) -> Callable[..., None]:
    """A verb that does a study up to one stage."""

    def verb(study: StudyFile, out: Out = None, changes: Changes = None) -> None:
        from scan2gene.stages.pipeline import run as run_study

        run_study(study, out, stage, changes or ())

    verb.__doc__ = f"{description} Stages before it are done first where needed."
    return verb


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scans and results.")] = Path("runs/demo"),
    patients: Annotated[int, typer.Option(min=20, help="Synthetic patients.")] = 80,
    effect: Annotated[float, typer.Option(min=0, help="Planted effect; 0 is a cohort without any signal.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Run the main job on synthetic patients whose best reachable AUROC is known."""
    from scan2gene.commands.demo import run_demo

    folder, best = run_demo(out, patients, effect, seed)
    print_results(folder)
    typer.echo(f"No classifier can exceed an expected AUROC of {number_text(best)} on these synthetic patients.")
