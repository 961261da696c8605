"""Networks side by side over all targets: mean accuracy, AUROC and loss on test patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from scan2gene.core.text import number_text
from scan2gene.report.inputs import ORIGINAL, Inputs
from scan2gene.report.svg import BLUE, GREY, INK, RULE, VERMILLION, line, short, svg, text

PANELS = (("accuracy", "Accuracy"), ("auroc", "AUROC"), ("log_loss", "Loss"))
_LABELS, _WIDTH, _GAP, _ROW, _TOP = 190.0, 190.0, 62.0, 24.0, 34.0


def across(inputs: Inputs) -> list[dict[str, Any]]:
    """Of every split with two runs at least: a figure for each run, which marks it, and one that marks none."""
    found = []
    for split in inputs.study.splits:
        rows, what = _rows(inputs, split.name)
        if len(rows) > 1:
            title = f"{what} by run, test patients of {split.name}"
            figures = {run: _figure(rows, title, run) for run in rows}
            found.append({"split": split.name, "what": what, "figure": _figure(rows, title), "by_run": figures})
    return found


def _rows(inputs: Inputs, split: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Run -> metric -> (value, low, high), of runs that predict all targets; and what the figures are."""
    several = len(inputs.study.targets) > 1
    whole = inputs.wholes.assign(metric=inputs.wholes["metric"].replace("auroc_macro", "auroc"))
    table = inputs.means if several else whole if inputs.several else inputs.metrics
    table = table[(table["split"] == split) & (table["variant"] == ORIGINAL)]
    rows: dict[str, dict[str, Any]] = {}
    for run in inputs.study.runs:
        if run.targets and set(run.targets) != set(inputs.study.targets):
            continue
        mine = table[table["run_id"] == run.name].set_index("metric")
        if len(mine):
            cells = mine[["value", "low", "high"]].astype(float)
            rows[run.name] = {m: tuple(cells.loc[m]) for m, _ in PANELS if m in cells.index}
    what = f"Mean over {len(inputs.study.targets)} targets" if several else next(iter(inputs.study.targets))
    return rows, what


def _figure(rows: dict[str, dict[str, Any]], title: str, marked: str = "") -> Markup:
    bottom = _TOP + _ROW * len(rows)
    body, told = [], []
    for n, run in enumerate(rows):
        body.append(text(0, _TOP + _ROW * (n + 0.5) + 4, short(run, 27), weight=600 if run == marked else 400))
    for place, (metric, name) in enumerate(PANELS):
        left = _LABELS + place * (_WIDTH + _GAP)
        shown = {run: cells[metric] for run, cells in rows.items() if metric in cells and pd.notna(cells[metric][0])}
        highest = max([v for cells in shown.values() for v in cells if pd.notna(v)], default=1.0)
        top = 1.0 if metric != "log_loss" else max(highest, 0.7)  # a coin has 0.69
        body.append(text(left, 14, name, weight=600))
        for v in (0, top / 2, top):
            x = left + v / top * _WIDTH
            body += [line(x, _TOP - 8, x, bottom, RULE), text(x, bottom + 16, f"{v:.2g}", "middle", GREY, 12)]
        for n, run in enumerate(rows):
            body += _mark(shown.get(run), left, _TOP + _ROW * (n + 0.5), top, VERMILLION if run == marked else BLUE)
        best = sorted(shown.items(), key=lambda item: item[1][0] if metric == "log_loss" else -item[1][0])
        told.append(f"{name}: " + ", ".join(f"{run} {number_text(cells[0])}" for run, cells in best))
    return svg(_LABELS + 3 * (_WIDTH + _GAP), bottom + 24, title, "; ".join(told), body)


def _mark(cells: Sequence[float] | None, left: float, y: float, top: float, colour: str) -> list[str]:
    if cells is None:
        return [text(left, y + 4, "not estimated", fill=GREY, size=12)]
    value, low, high = cells
    at = left + value / top * _WIDTH
    marks = []
    if pd.notna(low) and pd.notna(high):
        marks.append(line(left + low / top * _WIDTH, y, left + high / top * _WIDTH, y, colour, width=2.5))
    marks.append(f'<circle cx="{at:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>')
    return [*marks, text(left + _WIDTH + 8, y + 4, number_text(value), fill=INK, size=12, cls="num")]
