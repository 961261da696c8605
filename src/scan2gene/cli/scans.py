"""Verbs of scans: list them, look at them, write them as BIDS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scan2gene.cli.tables import LINES, print_kinds
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.text import file_size


def index(
    scans: Annotated[list[Path], typer.Argument(help="Folders or files with DICOM, NIfTI, NRRD ...")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write.")] = Path("series.csv"),
) -> None:
    """List every series below some folders, rejects with their reason."""
    from scan2gene.core.tables import write_csv
    from scan2gene.imaging.index import index as index_scans

    table = index_scans(scans, out.with_name(f".{out.name}.progress"))
    if table.empty:
        raise Scan2GeneError(
            f"there is no DICOM or NIfTI file below {', '.join(map(str, scans))}; {out} is not written."
        )
    write_csv(out, table)
    bad = table[table["status"] != "ok"]
    for row in bad[:LINES].itertuples():
        typer.echo(f"rejected  {row.path}: {row.reason}")
    if len(bad) > LINES:
        typer.echo(f"rejected  {len(bad) - LINES} more; column reason of {out} has them")
    for note, count in table.loc[table["note"] != "", "note"].value_counts().items():
        typer.echo(f"note      {count} series: {note} (column note of {out})")
    if len(bad) < len(table):
        print_kinds(table[table["status"] == "ok"])
    typer.echo(f"{len(table)} series, {len(table) - len(bad)} ok; written to {out}")


def qc(
    source: Annotated[Path, typer.Argument(metavar="STUDY_or_RUN_DIR", help="A study file, or its run directory.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page; default qc.html in the run directory.")] = None,
    prepared: Annotated[bool, typer.Option("--prepared", help="Show prepared volumes, not the scans.")] = False,
    run: Annotated[Path | None, typer.Option("--run", help="Run directory; default runs/<study name>.")] = None,
) -> None:
    """Show every exam on one offline page, flag what looks odd, and set exams aside."""
    from scan2gene.commands.qc import qc as write_qc
    from scan2gene.commands.qc import summary

    page, counts = write_qc(source, out, prepared, run)
    typer.echo(f"{page} ({file_size(page.stat().st_size)}): {summary(counts)}")


def preview(
    exam: Annotated[str, typer.Argument(help="A NIfTI file, a folder with one DICOM series, or a path of series.csv.")],
    study: Annotated[
        Path | None, typer.Argument(metavar="[STUDY.yaml]", help="Whose steps to show; default those of breast-brca.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="A run of the study that has steps of its own.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="A further role of the exam, as mask=FILE.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write.")] = Path("preview.html"),
) -> None:
    """Show what each preprocessing step does to one exam: slices and histograms on one offline page."""
    from scan2gene.core.files import write_text
    from scan2gene.preprocess.step_page import preview_page

    write_text(out, preview_page(exam, study, run, role or []))
    typer.echo(f"{out} written")


def bids(
    source: Annotated[
        Path, typer.Argument(metavar="STUDY_or_RUN_DIR", help="A study file, or a run directory curated at least.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make.")],
    run: Annotated[Path | None, typer.Option("--run", help="Run directory; default runs/<study name>.")] = None,
) -> None:
    """Write the chosen series of a curated cohort as a BIDS dataset."""
    if source.is_dir():
        from scan2gene.cohorts.bids import export_bids

        made = export_bids(source, out)
    else:
        from scan2gene.stages.pipeline import curated_as_bids

        made = curated_as_bids(source, out, run)
    for patient, role, reason in made.failed:
        typer.echo(f"not written  {patient} {role}: {reason}")
    typer.echo(f"{made.volumes} volumes of {made.patients} patients written to {out}, {len(made.failed)} not")
