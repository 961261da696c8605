"""Models side by side: what each started from, its figures, size and cost.

Bold where the best is really better; nothing is bold where the study's answer was fixed beforehand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA
from scan2gene.core.started import Started, started
from scan2gene.core.study import headline, headline_first
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import SLICE_LEVEL
from scan2gene.core.text import duration, estimate_text, listed, magnitude, number_text, p_number
from scan2gene.evaluate.compare_runs import COMPARED, COMPARED_WHOLE
from scan2gene.report.inputs import Inputs, baseline_columns, estimate_of, split_text
from scan2gene.report.latex import Bold
from scan2gene.report.results import METRIC_NAMES, WHOLE_NAMES, Scores
from scan2gene.report.tables import Table
from scan2gene.stats.intervals import Estimate

HEADERS = {metric: METRIC_NAMES[metric][0] for metric in COMPARED}
HEADERS |= {metric: WHOLE_NAMES[metric][0] for metric in COMPARED_WHOLE}


def models(inputs: Inputs, found: Scores) -> list[dict[str, Any]]:
    """One table per split and target.

    Args:
        inputs: The run directory.
        found: Every figure.

    Returns:
        Of each table: split, what it is, target, rows, `said`, sentences on who is best, and
        `compared`, the differences behind them.
    """
    tables = []
    for split in inputs.study.splits:
        begun = {run.name: started(inputs.files, run.name, split.name) for run in inputs.study.runs}
        for target in inputs.questions:
            every = inputs.comparisons[inputs.comparisons[["best", "run_id"]].isin(list(begun)).all(axis=1)]
            compared = every[(every["split"] == split.name) & (every["target"] == target)]
            best = {metric: compared[compared["metric"] == metric] for metric in compared["metric"].unique()}
            shown, fixed = headline_first(inputs.study), headline(inputs.study)
            rows = [_row(inputs, run, split.name, target, found, begun[run.name]) for run in shown]
            for row in rows:
                row["bold"] = [m for m in COMPARED if m in best and not fixed and _is_bold(best[m], row["run"])]
            said = [_sentence(m, best[m], fixed) for m in COMPARED if m in best] or _nothing(rows)
            tables.append(
                {
                    "split": split.name,
                    "what": split_text(inputs.study, split.name),
                    "target": target,
                    "rows": rows,
                    "said": said,
                    "fixed": fixed,
                    "compared": [_compared(row, inputs) for row in compared.to_dict("records")],
                    "slices": _of_slices(inputs, split.name, target),
                }
            )
    return tables


def best_of_wholes(inputs: Inputs) -> list[str]:
    """Sentences on who is best, or whom the fixed run beats, on each target of several classes as a whole."""
    table = inputs.comparisons[inputs.comparisons["target"].isin(inputs.several)]
    return [
        f"{target}, {split}: {_sentence(metric, family, headline(inputs.study))}"
        for (split, target, metric), family in table.groupby(["split", "target", "metric"], sort=False)
    ]


def _of_slices(inputs: Inputs, split: str, target: str) -> list[str]:
    """The AUROC of single slices, run by run, with its interval over patients."""
    table = inputs.metrics
    mine = (table["split"] == split) & (table["target"] == target) & (table["variant"] == SLICE_LEVEL)
    rows = table[mine & (table["metric"] == "auroc")].to_dict("records")
    return [f"{row['run_id']} {estimate_text(estimate_of(row))}" for row in rows]


def _row(inputs: Inputs, run: Run, split: str, target: str, found: Scores, begun: Started) -> dict[str, Any]:
    figures = [found.get((run.name, split, target, metric)) for metric in COMPARED]
    cuts = [
        row["threshold"]
        for row in inputs.thresholds
        if (row["run_id"], row["split"], row["target"]) == (run.name, split, target)
    ]
    seconds = inputs.training_seconds(run.name, split)
    columns = baseline_columns(run)
    return {
        "run": run.name,
        "model": f"clinical: {', '.join(columns)}" if columns else run.model.name,
        "weights": inputs.hide(" or ".join(begun.weights)),
        "frozen": begun.frozen,
        "cells": [f.estimate if f else Estimate(None, reason="no test patients") for f in figures],
        "threshold": float(np.median(cuts)) if cuts else None,
        "thresholds": (min(cuts), max(cuts)) if len(set(cuts)) > 1 else None,
        "parameters": begun.parameters,
        "trained": begun.trained,
        "seconds": seconds,
        "time": "not recorded" if seconds is None else duration(seconds),
    }


def _nothing(rows: list[dict[str, Any]]) -> list[str]:
    """Why a table has no figures; empty where it has some."""
    cells = [cell for row in rows for cell in row["cells"]]
    if not cells or any(cell.value is not None for cell in cells):
        return []
    reasons = dict.fromkeys(cell.reason for cell in cells if cell.reason)
    return [f"Not estimated, because {reason}." for reason in reasons]


def _is_bold(family: pd.DataFrame, run: str) -> bool:
    """The best run, where it differs from every other."""
    return bool((family["p_holm"] < ALPHA).all()) and run == family["best"].iloc[0]


def _sentence(metric: str, family: pd.DataFrame, fixed: str = "") -> str:
    best = family["best"].iloc[0]
    if best == fixed:
        return f"{HEADERS[metric]}: {fixed} is {_against_each(family)}."
    equal = family["difference"].abs() < 1e-12
    if equal.any():
        return f"{HEADERS[metric]}: {_of_equals([best, *family.loc[equal, 'run_id']], family[~equal])}."
    others, apart = len(family), int((family["p_holm"] < ALPHA).sum())
    if apart == others:
        told = "and better than every other run" if others > 1 else "and better than the other run"
    elif apart:
        told = f"better than {apart} of {others} other runs, and not told apart from the rest"
    else:
        told = f"but not told apart from {f'any of {others} other runs' if others > 1 else 'the other run'}"
    return f"{HEADERS[metric]}: {best} is highest, {told}."


def _against_each(family: pd.DataFrame) -> str:
    """Which runs a fixed one is better or worse than."""
    apart, gain = family["p_holm"] < ALPHA, family["difference"] > 0
    groups = {"better than": apart & gain, "worse than": apart & ~gain, "not shown to differ from": ~apart}
    return "; ".join(f"{words} {listed(family.loc[rows, 'run_id'])}" for words, rows in groups.items() if rows.any())


def _of_equals(best: list[str], rest: pd.DataFrame) -> str:
    """Several runs with the highest figure, and whether they are told apart from the rest."""
    highest = f"{listed(best)} are equal{' and highest' if len(rest) else ''}"
    apart = int((rest["p_holm"] < ALPHA).sum())
    if rest.empty:
        return highest
    if apart == len(rest):
        return f"{highest}, and better than {'every other run' if apart > 1 else 'the other run'}"
    told = f"better than {apart} of {len(rest)} other runs, and" if apart else "but"
    return f"{highest}, {told} not told apart from {'the rest' if apart or len(rest) > 1 else 'the other run'}"


def _compared(row: dict[str, Any], inputs: Inputs) -> dict[str, Any]:
    values = {k: None if pd.isna(row[k]) else float(row[k]) for k in ("difference", "low", "high", "p", "p_holm")}
    reason = "" if pd.isna(row["reason"]) else inputs.hide(str(row["reason"]))
    return {
        "metric": HEADERS[row["metric"]],
        "best": row["best"],
        "run": row["run_id"],
        "n": int(row["n"]),
        "estimate": Estimate(values["difference"], values["low"], values["high"], reason),
        "p": p_number(values["p"]),
        "p_holm": p_number(values["p_holm"]),
        "apart": values["p_holm"] is not None and values["p_holm"] < ALPHA,
    }


def parameter_count(value: int | None) -> str:
    """How many parameters a network has, such as 46.2 M."""
    return "not recorded" if value is None else magnitude(value)


def tables(page_tables: list[dict[str, Any]], comparisons: pd.DataFrame) -> list[Table]:
    """The tables beside the page."""
    found = []
    for table in page_tables:
        csv, printed = [], []
        for row in table["rows"]:
            names = {"run": row["run"], "model": row["model"], "weights": row["weights"]}
            figures: dict[str, Any] = {}
            for metric, cell in zip(COMPARED, row["cells"], strict=True):
                ends = {f"{metric}_low": cell.low, f"{metric}_high": cell.high}
                figures |= {metric: cell.value, **ends, f"{metric}_best": metric in row["bold"]}
            csv.append(
                names
                | {"frozen": row["frozen"], **figures, "threshold": row["threshold"]}
                | {"parameters": row["parameters"], "trained": row["trained"], "training_seconds": row["seconds"]}
            )
            shown = {
                HEADERS[m]: Bold(estimate_text(c)) if m in row["bold"] else estimate_text(c)
                for m, c in zip(COMPARED, row["cells"], strict=True)
            }
            cut = "not chosen" if row["threshold"] is None else number_text(row["threshold"])
            printed.append(
                {"Run": row["run"], "Model": row["model"], "Weights": row["weights"], **shown, "Threshold": cut}
                | {"Parameters": parameter_count(row["parameters"]), "Training": row["time"]}
            )
        caption = (
            f"Models for {table['target']} with 95 % interval, test patients of {table['split']} ({table['what']})"
            + ("" if table["fixed"] else "; bold: better than every other run (paired patient bootstrap, Holm)")
        )
        name = f"models-{table['split']}-{table['target']}"
        found.append(Table(name, caption, pd.DataFrame(csv), pd.DataFrame(printed, dtype=object)))
    fixed = next((table["fixed"] for table in page_tables), "")
    caption = f"{fixed or 'The best run of each metric'} against every other, on the patients that both have"
    return [*found, Table("comparisons", caption, comparisons)]
