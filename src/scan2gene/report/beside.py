"""Files beside the page: its tables as CSV and LaTeX, its figures as SVG, plots of each run."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.core.files import write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.core.tables import write_csv
from scan2gene.report.latex import booktabs
from scan2gene.report.paper import Paper
from scan2gene.report.svg import picture, standalone
from scan2gene.report.tables import Table
from scan2gene.tasks.outputs import displayed_in

FOLDERS = ("report/tables", "report/figures", "report/checklists", "report/paper", "report/cards")


@dataclass(frozen=True)
class Report:
    """A page and what lies beside it.

    Args:
        html: The page.
        tables: By file name, without suffix.
        figures: File name, without suffix -> figure as on the page.
        plots: Run -> file name, without suffix -> figure.
        stamp: What every file must say, such as that the study leaks; empty for nothing.
        paper: Methods, checklists and cards.
    """

    html: str
    tables: Mapping[str, Table]
    figures: Mapping[str, str]
    plots: Mapping[str, Mapping[str, str]]
    stamp: str = ""
    paper: Paper = field(default_factory=lambda: Paper({}, {}, {}))


def figures(page: dict[str, Any]) -> dict[str, str]:
    """Every drawn figure of the page by the name of its file."""
    found = [(f"auroc-{split}", svg) for split, svg in page["forests"]]
    found += [(f"comparison-{a['split']}", a["figure"]) for a in page["across"]]
    found += [(f"{kind}-{split}-{target}-{run}", svg) for run, kind, split, target, svg in _of_panels(page)]
    found += page["use"]["figures"]
    found += [(f"convergence-{t['split']}-{t['run']}", t["svg"]) for t in page["training"] if t["svg"]]
    found += [(f"accuracy-{t['split']}-{t['run']}", t["accuracy"]) for t in page["training"] if t["accuracy"]]
    found += [(f"cases-{c['split']}-{c['target']}-{c['run']}", c["svg"]) for c in page["cases"]]
    found += [(f"embeddings-{m['split']}-{m['run']}-{n}", v) for m in page["maps"] for n, v in m["figures"].items()]
    for store in page["stores"]:
        for number, uri in enumerate(store["pictures"], 1):
            title = f"Example exam {number} before and after preprocessing, recipe {store['id']}"
            found.append((f"preprocessing-{store['id']}-{number}", picture(uri, *_png_size(uri), title)))
        for number, step, uri in store["step_pictures"]:
            title = f"Before and after {step.replace('_', ' ')}, recipe {store['id']}"
            found.append((f"step-{store['id']}-{number}-{step}", picture(uri, *_png_size(uri), title)))
        for role, uri in store["kept"]:
            title = f"Slices that were kept of {role}, recipe {store['id']}"
            found.append((f"slices-kept-{store['id']}-{role}", picture(uri, *_png_size(uri), title)))
    for group in page["looking"].get("groups", []):
        for number, exam in enumerate(group["exams"], 1):
            title = f"Where {group['run']} looks, {group['target']}, {group['split']}, {exam['kind'].lower()} {number}"
            name = f"looking-{group['split']}-{group['target']}-{group['run']}-{number}"
            size = (exam["strip"].width, exam["strip"].height)
            found.append((name, picture(exam["picture"], *size, title)))
    for shown in page["augmentation"]:
        title = f"A training exam as prepared and in its first epochs, run {shown['run']}"
        found.append((f"augmentation-{shown['run']}", picture(shown["picture"], *_png_size(shown["picture"]), title)))
    found += [("flow", page["cohort"]["flow"]), *page["acquisition"]["histograms"]]
    return named(found)


def _png_size(uri: str) -> tuple[int, int]:
    """Width and height, which stand in the first bytes of a PNG."""
    head = base64.b64decode(uri.partition(",")[2][:32])
    width, height = struct.unpack(">II", head[16:24])
    return width, height


def plots(page: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The figures about each run, by run."""
    found: dict[str, list[tuple[str, str]]] = {}
    for t in page["training"]:
        for kind, svg in (("convergence", t["svg"]), ("accuracy", t["accuracy"])):
            if svg:
                found.setdefault(t["run"], []).append((f"{kind}-{t['split']}", svg))
    for a in page["across"]:
        for run, svg in a["by_run"].items():
            found.setdefault(run, []).append((f"comparison-{a['split']}", svg))
    for run, kind, split, target, svg in _of_panels(page):
        found.setdefault(run, []).append((f"{kind}-{split}-{target}", svg))
    for c in page["cases"]:
        found.setdefault(c["run"], []).append((f"cases-{c['split']}-{c['target']}", c["svg"]))
    return {run: named(pairs) for run, pairs in found.items()}


def _of_panels(page: dict[str, Any]) -> Iterable[tuple[str, str, str, str, str]]:
    """(run, kind, split, target, figure)."""
    for panel in page["panels"]:
        for run in panel["runs"]:
            for kind, svg in run["figures"].items():
                yield run["run"], kind, panel["split"], panel["target"], svg


def named(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict whose keys are fit for files, and differ where capitals do not count: a second one gets a number."""
    made: dict[str, Any] = {}
    taken: set[str] = set()
    for given, value in pairs:
        name = given.replace(":", "-")  # of a class of a target
        new, number = name, 1
        while new.casefold() in taken:
            number += 1
            new = f"{name}-{number}"
        taken.add(new.casefold())
        made[new] = value
    return made


def named_readably(report: Report, study: Study) -> Report:
    """A report whose texts and figures name each class of a target as `displayed` has it; CSV stays as it is."""

    def text(value: Any) -> Any:
        return type(value)(displayed_in(value, study.targets)) if isinstance(value, str) else value

    def table(value: pd.DataFrame) -> pd.DataFrame:
        return value.rename(columns=text).map(text)

    shown = {
        name: replace(t, caption=text(t.caption), printed=table(t.csv if t.printed is None else t.printed))
        for name, t in report.tables.items()
    }
    paper = replace(report.paper, texts={name: text(t) for name, t in report.paper.texts.items()},
                    tables={name: table(t) for name, t in report.paper.tables.items()})  # fmt: skip
    plots = {run: {name: text(svg) for name, svg in drawn.items()} for run, drawn in report.plots.items()}
    figures = {name: text(svg) for name, svg in report.figures.items()}
    return replace(report, html=text(report.html), tables=shown, figures=figures, plots=plots, paper=paper)


def write_beside(out: Path, report: Report) -> list[Path]:
    """Write tables, figures and plots; files of an older report go.

    Args:
        out: The run directory.
        report: From `make_report`.

    Returns:
        What was written.
    """
    written = []
    for name, table in report.tables.items():
        path = out / "report" / "tables" / name
        write_csv(path.with_name(f"{name}.csv"), table.csv.assign(leaky=report.stamp) if report.stamp else table.csv)
        shown = table.csv if table.printed is None else table.printed
        caption = f"{report.stamp}. {table.caption}" if report.stamp else table.caption
        write_text(path.with_name(f"{name}.tex"), booktabs(shown, caption, name))
        written += [path.with_name(f"{name}.csv"), path.with_name(f"{name}.tex")]
    for name, text in report.paper.texts.items():
        write_text(out / "report" / name, text)
        written.append(out / "report" / name)
    for name, items in report.paper.tables.items():
        write_csv(out / "report" / name, items.assign(leaky=report.stamp) if report.stamp else items)
        written.append(out / "report" / name)
    drawn = {out / "report" / "figures" / f"{name}.svg": svg for name, svg in report.figures.items()}
    for run, of_run in report.plots.items():
        drawn |= {RunDirectory(out).experiment(run).plots.path / f"{name}.svg": svg for name, svg in of_run.items()}
    for path, svg in drawn.items():
        write_text(path, standalone(svg, report.stamp.partition(":")[0]))
    written += drawn
    folders = [*(out / f for f in FOLDERS), *(out / "experiments").glob("*/plots")]
    for old in {p for folder in folders for p in folder.glob("*") if p.is_file()} - set(written):
        old.unlink()
    return written
