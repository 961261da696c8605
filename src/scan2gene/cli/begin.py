"""Verbs to begin with: a study file, its schema, a public cohort."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from scan2gene.core.errors import Scan2GeneError

SCHEMA = "study.schema.json"


def new(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe; `scan2gene new list` shows them.")] = None,
    scans: Annotated[
        Path | None, typer.Option(help="Folder with scans: draft the study from them and --labels.")
    ] = None,
    features: Annotated[
        list[Path] | None,
        typer.Option(help="Table with numbers about each patient, with --scans or in their place; may be repeated."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label table; default: participants.tsv of a BIDS folder.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict; may be repeated. Default: guessed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default <recipe>.yaml.")] = None,
) -> None:
    """Write a commented study file: a recipe, or a draft from --scans or --features, and --labels."""
    from scan2gene.recipes import recipe_text, recipes

    if recipe == "list":
        for name, title in recipes().items():
            typer.echo(f"{name:<20}{title}")
        return
    if (recipe is None) == (scans is None and not features):
        raise Scan2GeneError(
            "give either the name of a recipe (`scan2gene new list`), or --scans FOLDER or --features FILE with "
            "--labels FILE"
        )
    path = out or Path(f"{recipe or 'study'}.yaml")
    if path.exists():
        raise Scan2GeneError(f"{path} exists and is not overwritten. Name another file with -o.")
    if recipe is None:
        from scan2gene.cohorts.draft import draft

        text, warnings = draft(scans, _label_file(scans, labels), path, target or (), features or ())
        told = f"Read its comments, then: scan2gene curate {path}"
    else:
        text, warnings = recipe_text(recipe or ""), []
        told = f"Change the lines marked EDIT, then: scan2gene run {path}"
    schema = path.with_name(SCHEMA)
    path.write_text(f"# yaml-language-server: $schema={SCHEMA}\n{text}", encoding="utf-8")
    schema.write_text(_schema(), encoding="utf-8")
    for warning in warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(f"{path} written, and {schema.name} beside it, with which editors complete and check. {told}")


def _label_file(scans: Path | None, labels: Path | None) -> Path:
    """The label table, or that of a BIDS folder."""
    if labels is not None:
        return labels
    if scans is None:
        raise Scan2GeneError("give --labels FILE as well: the table of what is to be predicted")
    table = scans / "participants.tsv"
    if scans.is_dir() and not table.is_file():
        raise Scan2GeneError(f"{scans} is no BIDS folder with a participants.tsv: give --labels FILE as well")
    return table


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A public cohort, or `list`.")],
    patients: Annotated[str, typer.Option(help="How many, or a file with one id a line; default: all.")] = "",
    series: Annotated[
        str | None, typer.Option(metavar="PATTERN", help="Only series with this in their description.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder; default: the cohort's name.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="Another S3 server with the same buckets, such as http://host:9000.")
    ] = None,
) -> None:
    """Download a public cohort's MR exams, after showing size and licence; a stopped download goes on."""
    from scan2gene.cohorts.public import COHORTS

    if name == "list":
        for cohort, card in COHORTS.items():
            typer.echo(f"{cohort:<25}{'not fetched: ' if card.closed else ''}{card.title}")
        return
    from scan2gene.cohorts.fetch import ENDPOINT, fetch_cohort
    from scan2gene.cohorts.idc import told, wanted

    what = wanted(name, patients, series)
    folder = out or Path(what.name)
    for line in [*told(what), f"to {folder}"]:
        typer.echo(line)
    if not yes:
        if not sys.stdin.isatty():
            raise Scan2GeneError("nothing was downloaded: nobody can be asked here. With --yes it begins at once.")
        typer.confirm("Download?", abort=True)
    got = fetch_cohort(what, folder, endpoint or ENDPOINT)
    typer.echo(
        f"{got.series} series are whole: {got.files} files, {got.md5_checked} of them by their MD5, the others by size"
    )
    if got.broken:
        first = ": ".join(got.broken[0])
        raise Scan2GeneError(
            f"{len(got.broken)} series are not whole, first {first}. The same command tries them again."
        )
    typer.echo(f"Put the label table beside them as {folder / 'study.yaml'} says, then: scan2gene curate STUDY")


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    typer.echo(_schema())


def _schema() -> str:
    from scan2gene.core.study import Study

    return json.dumps(Study.model_json_schema(), indent=2)
