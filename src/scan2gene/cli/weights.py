"""Verbs of released weights: `scan2gene weights ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

weights = typer.Typer(help="Released weights that networks can start from.", no_args_is_help=True)
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="Folder of released weights; default ~/.cache/scan2gene/weights.")
]


@weights.command("list")
def list_weights(weights_dir: WeightsDir = None) -> None:
    """List the released files that are known, and which are at hand."""
    from scan2gene.models.fetch import locate, weights_folder
    from scan2gene.models.weights import WEIGHTS

    folder = weights_folder(weights_dir)
    for name, card in WEIGHTS.items():
        typer.echo(f"{name:<28}{'here' if locate(name, folder) else 'not here':<10}{card.model:<18}{card.file}")
        typer.echo(f"{'':<28}{card.licence}; {card.data}")
    typer.echo(f"Looked for in {folder}; `scan2gene weights fetch NAME` gets one.")


@weights.command()
def check(file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint.")]) -> None:
    """Say what a file of weights holds, without running what may be in it."""
    from scan2gene.models.start import described

    for line in described(file):
        typer.echo(line)


@weights.command("fetch")
def fetch_weights(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `scan2gene weights list`.")],
    weights_dir: WeightsDir = None,
    url: Annotated[str | None, typer.Option(help="Another place that has the same file.")] = None,
) -> None:
    """Download a released file, going on where an earlier download stopped."""
    from scan2gene.models.fetch import fetch, sha256, weights_folder

    path = fetch(name, weights_folder(weights_dir), url)
    typer.echo(f"{path}, sha256 {sha256(path)}")
