"""From the included patients to those analysed: each part of every split by class, and who is scored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scan2gene.core.text import count_range, counted, listed
from scan2gene.report.inputs import ORIGINAL, Inputs

MOST_TARGETS = 6  # in a box; the tables have all
ANALYSED = ("split", "target", "run", "tested", "label_unknown", "not_predicted", "analysed", "positive", "negative",
            "unit")  # fmt: skip


def analysed(inputs: Inputs) -> list[dict[str, Any]]:
    """Of each split, target and run: patients tested = label unknown + not predicted + analysed.

    Positive and negative are patients, or their sides where a target has them (`unit`).
    """
    wide = inputs.wide_labels()
    figures = inputs.metrics[(inputs.metrics["variant"] == ORIGINAL) & (inputs.metrics["metric"] == "auroc")]
    rows = []
    for row in figures.to_dict("records"):
        if row["target"] not in wide or row["run_id"] not in {run.name for run in inputs.study.runs}:
            continue
        of_split = inputs.split[(inputs.split["split"] == row["split"]) & (inputs.split["part"] == "test")]
        tested = of_split["patient_id"].unique()
        unknown = int(wide[row["target"]].reindex(tested).isna().sum())
        n, units, positive = int(row["n"]), int(row["n_units"]), int(row["n_positive"])
        rows.append({
            "split": row["split"], "target": row["target"], "run": row["run_id"], "tested": len(tested),
            "label_unknown": unknown, "not_predicted": len(tested) - unknown - n, "analysed": n,
            "positive": positive, "negative": units - positive, "unit": "patients" if units == n else "sides",
        })  # fmt: skip
    order = {run.name: place for place, run in enumerate(inputs.study.runs)}
    return sorted(rows, key=lambda r: order[r["run"]])


def boxes(inputs: Inputs, parts: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the lower part of the flow diagram shows of each split.

    Args:
        inputs: The run directory.
        parts: Of each split, classes by part (`cohort._class_by_part`).
        rows: From `analysed`.

    Returns:
        Of each split: head, its parts (name, lines), and lines of those analysed and of those not.
    """
    found = []
    for table in parts:
        split = table["split"]
        own = [r for r in rows if r["split"] == split]
        sizes = _sizes(inputs, split)
        named = [("training", "Training"), ("validation", "Validation"), ("test", "Test")]
        found.append({
            "split": split,
            "head": f"{split}: {table['what']}" + ("; patients in each fold" if table["folds"] > 1 else ""),
                "folds": table["folds"],
            "parts": [
                (f"{name}: {sizes[n]} patients", _classes(table["rows"], n)) for n, (_, name) in enumerate(named)
                if name != "Validation" or sizes[n] != "0"
            ],
            "analysed": _analysed(own),
            "not_analysed": _left(own),
        })  # fmt: skip
    return found


def _sizes(inputs: Inputs, split: str) -> list[str]:
    rows = inputs.split[inputs.split["split"] == split]
    counts = rows.groupby(["repeat", "fold", "part"])["patient_id"].nunique().unstack("part", fill_value=0)
    return [count_range(counts[p]) if p in counts else "0" for p in ("train", "validation", "test")]


def _classes(rows: Sequence[dict[str, Any]], part: int) -> list[str]:
    """A line for each target: its classes in one part."""
    targets = list(dict.fromkeys(r["target"] for r in rows))
    lines = []
    for target in targets[:MOST_TARGETS]:
        told = [f"{r['cells'][part]} {r['class']}" for r in rows if r["target"] == target and r["cells"][part] != "0"]
        lines.append(f"{target}: {', '.join(told) or 'none'}")
    rest = len(targets) - MOST_TARGETS
    return [*lines, f"and {counted(rest, 'more target')}"] if rest > 0 else lines


def _analysed(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each target and each group of runs with the same patients."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for r in rows:
        groups.setdefault(tuple(r[k] for k in ("target", "analysed", "positive", "negative", "unit")), []).append(
            r["run"]
        )
    alone = len({key[0] for key in groups}) == len(groups)  # one group a target: runs need no name
    lines = []
    for (target, n, positive, negative, unit), runs in groups.items():
        who = "" if alone else f" by {listed(runs)}"
        sides = f" with {positive + negative:,} sides" if unit == "sides" else ""
        lines.append(f"{target}: {counted(n, 'patient')}{sides}{who}, {positive:,} positive, {negative:,} negative")
    return _cut(lines)


def _left(rows: Sequence[dict[str, Any]]) -> list[str]:
    unknown = {r["target"]: r["label_unknown"] for r in rows if r["label_unknown"]}
    lines = [f"{target}: {n:,} × label unknown" for target, n in unknown.items()]
    lost = dict.fromkeys((r["run"], r["target"], r["not_predicted"]) for r in rows if r["not_predicted"])
    return _cut([*lines, *(f"{target}: {n:,} × not predicted by {run}" for run, target, n in lost)])


def _cut(lines: list[str]) -> list[str]:
    most = 2 * MOST_TARGETS
    return lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more lines in the table"]
