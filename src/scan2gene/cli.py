"""Command line: one thin verb per stage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scan2gene import __version__
from scan2gene.core.errors import Scan2GeneError

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer(
    name="scan2gene",
    help="From MRI scans and a label table to networks, figures and a report. Research software, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; default runs/<study name>.")]

Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key, e.g. train.epochs=3; may be repeated."),
]

SCHEMA = "study.schema.json"
_LINES = 20  # kinds of series, and rejects, that `index` prints; its table has them all
INTERRUPTED = 130  # exit status after Ctrl-C, as a shell has it

_VERBS = {
    "curate": "Index the scans and join them with the labels: cohort.csv, labels.csv, exclusions.csv.",
    "preprocess": "Make model-ready volumes.",
    "split": "Divide patients into parts and folds.",
    "train": "Train every model on every fold.",
    "predict": "Write the prediction table.",
    "evaluate": "Compute metrics with intervals.",
    "explain": "Map where each network looks, and score the maps.",
    "report": "Write report.html.",
}


@app.command()
def run(
    study: StudyFile,
    out: Out = None,
    changes: Changes = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Check the study and say what would be done.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run; an error where none was begun. It goes on without, too.")
    ] = False,
) -> None:
    """Do every stage of a study that is not done yet, up to the report."""
    from scan2gene.pipeline import dry_run
    from scan2gene.pipeline import run as run_study

    if dry:
        for stage, what in dry_run(study, out, changes or ()).items():
            typer.echo(f"{stage:<11}{what}")
        return
    folder = run_study(study, out, changes=changes or (), resume=resume)
    _print_results(folder)


@app.command()
def plan(study: StudyFile, out: Out = None, changes: Changes = None) -> None:
    """Say what a study can show and what it will cost, before anything is trained."""
    from scan2gene.plan import plan as make_plan
    from scan2gene.plan import told

    for line in told(make_plan(study, out, changes or ())):
        typer.echo(line)


@app.command()
def search(study: StudyFile, out: Out = None, changes: Changes = None) -> None:
    """Help another process with the searches of a study: do trials until none is left."""
    from scan2gene.pipeline import join_search

    typer.echo(f"{join_search(study, out, changes or ())} folds searched")


@app.command()
def index(
    scans: Annotated[list[Path], typer.Argument(help="Folders or files with DICOM or NIfTI.")],
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
    for row in bad[:_LINES].itertuples():
        typer.echo(f"rejected  {row.path}: {row.reason}")
    if len(bad) > _LINES:
        typer.echo(f"rejected  {len(bad) - _LINES} more; column reason of {out} has them")
    if len(bad) < len(table):
        _print_kinds(table[table["status"] == "ok"])
    typer.echo(f"{len(table)} series, {len(table) - len(bad)} ok; written to {out}")


@app.command()
def qc(
    source: Annotated[Path, typer.Argument(metavar="STUDY_or_RUN_DIR", help="A study file, or its run directory.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Page; default qc.html in the run directory.")] = None,
    prepared: Annotated[bool, typer.Option("--prepared", help="Show prepared volumes, not the scans.")] = False,
    run: Annotated[Path | None, typer.Option("--run", help="Run directory; default runs/<study name>.")] = None,
) -> None:
    """Show every exam on one offline page, flag what looks odd, and set exams aside."""
    from scan2gene.qc import qc as write_qc
    from scan2gene.qc import summary

    page, counts = write_qc(source, out, prepared, run)
    typer.echo(f"{page} ({page.stat().st_size / 1e6:.1f} MB): {summary(counts)}")


def _stage_verb(stage: str, description: str) -> None:
    def verb(study: StudyFile, out: Out = None, changes: Changes = None) -> None:
        from scan2gene.pipeline import run as run_study

        run_study(study, out, stage, changes or ())

    app.command(stage, help=f"{description} Stages before it are done first where needed.")(verb)


for _stage, _description in _VERBS.items():
    _stage_verb(_stage, _description)


@app.command()
def new(
    recipe: Annotated[str | None, typer.Argument(help="Name of a recipe; `scan2gene new list` shows them.")] = None,
    scans: Annotated[
        Path | None, typer.Option(help="Folder with scans: draft the study from them and --labels.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Label table; default: participants.tsv of a BIDS folder.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict; may be repeated. Default: guessed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default <recipe>.yaml.")] = None,
) -> None:
    """Write a commented study file: a recipe, or a draft from --scans and --labels."""
    from scan2gene.recipes import recipe_text, recipes

    if recipe == "list":
        for name, title in recipes().items():
            typer.echo(f"{name:<20}{title}")
        return
    if (recipe is None) == (scans is None):
        raise Scan2GeneError("give either the name of a recipe (`scan2gene new list`), or --scans FOLDER --labels FILE")
    path = out or Path(f"{recipe or 'study'}.yaml")
    if path.exists():
        raise Scan2GeneError(f"{path} exists and is not overwritten. Name another file with -o.")
    if scans is not None:
        from scan2gene.cohorts.draft import draft_study

        table = labels or scans / "participants.tsv"
        if labels is None and scans.is_dir() and not table.is_file():
            raise Scan2GeneError(f"{scans} is no BIDS folder with a participants.tsv: give --labels FILE as well")
        text = draft_study(scans, table, path, target or ())
        told = f"Read its comments, then: scan2gene curate {path}"
    else:
        text = recipe_text(recipe or "")
        told = f"Change the lines marked EDIT, then: scan2gene run {path}"
    schema = path.with_name(SCHEMA)
    path.write_text(f"# yaml-language-server: $schema={SCHEMA}\n{text}", encoding="utf-8")
    schema.write_text(_schema(), encoding="utf-8")
    typer.echo(f"{path} written, and {schema.name} beside it, with which editors complete and check. {told}")


@app.command()
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


@app.command()
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
        from scan2gene.pipeline import curated_as_bids

        made = curated_as_bids(source, out, run)
    for patient, role, reason in made.failed:
        typer.echo(f"not written  {patient} {role}: {reason}")
    typer.echo(f"{made.volumes} volumes of {made.patients} patients written to {out}, {len(made.failed)} not")


@app.command()
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
) -> None:
    """Predict exams without labels, and refuse those unlike the training exams. Not for clinical use."""
    from scan2gene.new_exams import apply as apply_run
    from scan2gene.new_exams import told

    applied = apply_run(run_dir, scans, out, run=run, split=split, force=force, study=study)
    _print_applied(applied.summary)
    for line in told(applied):
        typer.echo(line)
    typer.echo(f"Predictions: {applied.folder / 'predictions.csv'}")


@app.command()
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


@app.command()
def audit(
    source: Annotated[
        Path, typer.Argument(metavar="RUN_DIR_or_STUDY_or_TABLE", help="A run, a study, or a CSV with a split.")
    ],
    out: Out = None,
) -> None:
    """Say whether anything leaks, what else could give the answer, and what each target's verdict is."""
    from scan2gene.audit import audit as audited

    if source.suffix in (".yaml", ".yml"):
        from scan2gene.pipeline import run as run_study

        source = run_study(source, out, "audit")
    for line in audited(source):
        typer.echo(line)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for scans and results.")] = Path("runs/demo"),
    patients: Annotated[int, typer.Option(min=20, help="Synthetic patients.")] = 80,
    effect: Annotated[float, typer.Option(min=0, help="Planted effect; 0 is a cohort without any signal.")] = 2.0,
    seed: Annotated[int, typer.Option(min=0)] = 1,
) -> None:
    """Run the main job on synthetic patients whose best reachable AUROC is known."""
    from scan2gene.demo import run_demo

    folder, best = run_demo(out, patients, effect, seed)
    _print_results(folder)
    typer.echo(f"No classifier can exceed an expected AUROC of {best:.3f} on these synthetic patients.")


@app.command()
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


store = typer.Typer(help="The prepared volumes of a run.", no_args_is_help=True)
app.add_typer(store, name="store")


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


weights = typer.Typer(help="Released weights that networks can start from.", no_args_is_help=True)
app.add_typer(weights, name="weights")
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
    from scan2gene.train.start import described

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


@weights.command("stand-in")
def stand_in(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of `scan2gene weights list`.")],
    weights_dir: WeightsDir = None,
) -> None:
    """Write random numbers in the form of a released file, to try a study out; runs call it synthetic."""
    from scan2gene.models.fetch import card_of, locate, weights_folder
    from scan2gene.models.stand_in import write_stand_in

    folder = weights_folder(weights_dir)
    there = locate(name, folder)
    if there is not None:
        raise Scan2GeneError(f"{there} exists and is not overwritten. Give another folder with --weights-dir.")
    typer.echo(f"{write_stand_in(name, folder / card_of(name).file)} written: random numbers, NOT the released weights")


@app.command()
def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    typer.echo(_schema())


def _schema() -> str:
    from scan2gene.core.study import Study

    return json.dumps(Study.model_json_schema(), indent=2)


def _print_kinds(series: pd.DataFrame) -> None:
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
    table = Table("series", *columns, caption=f"{len(kinds) - _LINES} kinds more" if len(kinds) > _LINES else None)
    for texts, count in kinds[:_LINES].items():
        table.add_row(str(count), *[Text(str(text)) for text in texts])
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _print_results(folder: Path) -> None:
    """AUROC of every run and target, and where the report lies."""
    from rich.console import Console
    from rich.table import Table

    from scan2gene.core.tables import read_csv

    metrics = read_csv(folder / "metrics.csv")
    study = json.loads((folder / "study.json").read_text())
    order = [run["name"] for run in study["runs"]]  # as the study lists them
    metrics = metrics[metrics["variant"] == "original"].sort_values(
        "run_id", key=lambda names: names.map(order.index), kind="stable"
    )
    table = Table("run", "split", "target", "patients", "positive", "AUROC", "95 % interval")
    for row in metrics[metrics["metric"] == "auroc"].itertuples():
        value = "cannot be estimated" if row.value != row.value else f"{row.value:.3f}"
        between = f"{row.low:.3f} to {row.high:.3f}" if row.low == row.low else str(row.reason)
        table.add_row(row.run_id, row.split, row.target, f"{row.n:.0f}", f"{row.n_positive:.0f}", value, between)
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    typer.echo(f"Report: {folder / 'report.html'}")


def _print_applied(summary: pd.DataFrame) -> None:
    """Every exam's ensemble, or why it has none."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("run", "patient", "exam", "target", "probability", "threshold", "decision", "status and reason")
    for row in summary.itertuples():
        exam = row.exam_id if len(row.exam_id) < 20 else f"...{row.exam_id[-16:]}"
        figures = ["" if v != v else f"{v:.3f}" for v in (row.prob, row.threshold)]
        why = f"{row.status}: {row.reason}" if row.reason else row.status
        cells = [row.run_id, row.patient_id, exam, row.target, *figures, row.decision, why]
        table.add_row(*[Text(str(cell)) for cell in cells])
    Console(width=None if sys.stdout.isatty() else 160).print(table)


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


if __name__ == "__main__":
    main()
