"""Verbs of the prepared volumes of a run: `scan2gene store ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scan2gene.core.errors import Scan2GeneError

store = typer.Typer(help="The prepared volumes of a run.", no_args_is_help=True)


@store.callback()
def _store() -> None:
    """The prepared volumes of a run."""


@store.command()
def verify(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory, such as runs/my-study.")],
    prune: Annotated[bool, typer.Option("--prune", help="Delete what is stale or unreferenced.")] = False,
) -> None:
    """Check every stored volume against its manifest; exit status 1 when one is damaged or missing."""
    from scan2gene.preprocess.verify import verify_store

    findings = verify_store(run_dir, prune)
    for finding in findings:
        deleted = "  (deleted)" if prune and not finding.wrong else ""
        typer.echo(f"{finding.what:<13} {finding.path}: {finding.why}{deleted}")
    wrong = sum(finding.wrong for finding in findings)
    if wrong:
        raise Scan2GeneError(
            f"{wrong} of the store's files are not as written. Delete what is damaged and preprocess again."
        )
    typer.echo("every stored volume is as it was written")
