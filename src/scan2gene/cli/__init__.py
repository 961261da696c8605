"""Command line: one thin verb per stage. What only work needs is imported in the verb, so that help answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from scan2gene import __version__
from scan2gene.cli import begin, results, scans, store, studies, weights
from scan2gene.core.errors import Scan2GeneError

VERBS: dict[str, Callable[..., None]] = {  # in the order of `scan2gene --help`
    "run": studies.run,
    "plan": studies.plan,
    "search": studies.search,
    "fit": studies.fit,
    "index": scans.index,
    "qc": scans.qc,
    "curate": studies.stage_verb(
        "curate", "Index the scans and join them with the labels: cohort.csv, labels.csv, exclusions.csv."
    ),
    "preprocess": studies.stage_verb("preprocess", "Make model-ready volumes."),
    "split": studies.stage_verb("split", "Divide patients into parts and folds."),
    "train": studies.stage_verb("train", "Train every model on every fold."),
    "predict": studies.stage_verb("predict", "Write the prediction table."),
    "evaluate": studies.stage_verb("evaluate", "Compute metrics with intervals."),
    "explain": studies.stage_verb("explain", "Map where each network looks, and score the maps."),
    "report": studies.stage_verb("report", "Write report.html."),
    "new": begin.new,
    "fetch": begin.fetch,
    "bids": scans.bids,
    "apply": results.apply,
    "external": results.external,
    "compare": results.compare,
    "audit": results.audit,
    "demo": studies.demo,
    "preview": scans.preview,
    "schema": begin.schema,
}
GROUPS = {"store": store.store, "weights": weights.weights}

INTERRUPTED = 130  # exit status after Ctrl-C, as a shell has it

app = typer.Typer(
    name="scan2gene",
    help="From MRI scans and a label table to networks, figures and a report. Research software, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _verb in VERBS.items():
    app.command(_name)(_verb)
for _name, _group in GROUPS.items():
    app.add_typer(_group, name=_name)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    os.environ["SCAN2GENE_DEBUG"] = "1" if debug else ""


def main() -> None:
    """Entry point: an error is one message and exit status 1; --debug, anywhere, shows the trace."""
    if "--debug" in sys.argv[2:]:
        sys.argv.remove("--debug")
        sys.argv.insert(1, "--debug")
    try:
        app()
    except Scan2GeneError as error:
        if os.environ.get("SCAN2GENE_DEBUG"):
            raise
        sys.exit(f"error: {error}")
    except ModuleNotFoundError as error:
        if os.environ.get("SCAN2GENE_DEBUG") or error.name not in ("torch", "lightning_fabric", "sklearn"):
            raise
        sys.exit(f"error: {error.name} is not installed. Networks need: pip install 'scan2gene[train]'")
    except (KeyboardInterrupt, SystemExit) as stop:
        if isinstance(stop, SystemExit) and stop.code != INTERRUPTED:
            raise
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        if os.environ.get("SCAN2GENE_DEBUG"):
            raise
        sys.exit(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "))
    except Exception as error:
        if os.environ.get("SCAN2GENE_DEBUG"):
            raise
        sys.exit(
            f"error: unexpected {type(error).__name__}: {error}\nThis is a fault of scan2gene; --debug shows where."
        )
