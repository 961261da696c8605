"""The tables that verbs print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from scan2gene.core.text import interval_text, number_text

if TYPE_CHECKING:
    import pandas as pd

LINES = 20  # kinds of series, and rejects, that `index` prints; its table has them all


def print_kinds(series: pd.DataFrame) -> None:
    """What series are called and how many are called so: what the patterns of a study have to match."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    files = series["path"].map(lambda path: Path(path).name.partition("#")[0])
    called = series["SeriesDescription"].where(
        series["format"] == "dicom", files.str.replace(r"\d{3,}", "*", regex=True)
    )
    columns = {"sequence": series["sequence"], "plane": series["plane"], "format": series["format"], "called": called}
    kinds = series.assign(**columns).value_counts(list(columns), sort=False).sort_values(ascending=False, kind="stable")
    table = Table("series", *columns, caption=f"{len(kinds) - LINES:,} more kinds" if len(kinds) > LINES else None)
    for texts, count in kinds[:LINES].items():
        table.add_row(str(count), *[Text(str(text)) for text in texts])
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def print_results(folder: Path) -> None:
    """AUROC of every run and target, and where the report lies."""
    from rich.console import Console
    from rich.table import Table

    from scan2gene.core.rundir import RunDirectory
    from scan2gene.core.study import BEST
    from scan2gene.core.tables import MEAN
    from scan2gene.evaluate.power_tables import without_small_classes
    from scan2gene.tasks.outputs import displayed

    metrics = without_small_classes(RunDirectory(folder).metrics.read())
    study = RunDirectory(folder).study_json.read()
    order = [run["name"] for run in study["runs"]]  # as the study lists them, its answer first
    order.sort(key=lambda name: name != BEST)
    metrics = metrics[metrics["variant"] == "original"].sort_values(
        "run_id", key=lambda names: names.map(order.index), kind="stable"
    )
    table = Table("run", "split", "target", "patients", "positive", "AUROC", "95 % interval")
    said: set[str] = set()  # ten networks share their reasons
    for row in metrics[metrics["metric"].isin(["auroc", "auroc_macro"])].itertuples():
        mean = row.target == MEAN
        target = f"{row.target}, mean over classes" if row.metric == "auroc_macro" else displayed(row.target)
        few = str(row.reason) if row.value != row.value else ""
        value = "cannot be estimated" if few else number_text(row.value)
        between = few or (interval_text(row.low, row.high) if row.low == row.low else str(row.reason))
        between, said = "as above" if few and few in said else between, said | {few}
        positive = "" if mean or row.metric == "auroc_macro" else f"{row.n_positive:.0f}"
        table.add_row(
            row.run_id, row.split, target, _who(row.n, row.n if mean else row.n_units), positive, value, between
        )
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    typer.echo(f"Report: {folder / 'report.html'}")


def _who(patients: float, units: float) -> str:
    """Patients, and their sides where those are what is positive."""
    return f"{patients:.0f}" + (f" ({units:.0f} sides)" if units != patients else "")


def print_applied(summary: pd.DataFrame) -> None:
    """Every exam's ensemble, or why it has none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "patient", "exam", "target", "probability", "threshold", "decision", "status and reason")
    for row in summary.itertuples():
        exam = row.exam_id if len(row.exam_id) < 20 else f"...{row.exam_id[-16:]}"
        figures = ["" if v != v else number_text(v) for v in (row.prob, row.threshold)]
        why = f"{row.status}: {row.reason}" if row.reason else row.status
        target = row.target if row.label == "positive" else f"{row.target}: {row.label}"
        cells = [row.run_id, row.patient_id, exam, target, *figures, row.decision, why]
        table.add_row(*[Text(str(cell)) for cell in cells])
    Console(width=None if sys.stdout.isatty() else 160).print(table)
