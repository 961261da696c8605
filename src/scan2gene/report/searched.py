"""What a search cost, what it chose, and how far its own score was too good."""

from __future__ import annotations

from typing import Any

from scan2gene.core.text import duration
from scan2gene.report.inputs import Inputs
from scan2gene.stats.intervals import Estimate


def searched(inputs: Inputs) -> dict[str, Any]:
    """Searches by run and split, and what validation promised of every run; empty without a search."""
    found = []
    for run in inputs.study.runs:
        for split in inputs.study.splits if run.search else ():
            folds = [_fold(inputs, run.name, split.name, r, f) for r, f in inputs.folds(split.name)]
            seconds = inputs.training_seconds(run.name, split.name)
            done = [f for f in folds if f]
            found.append(
                {
                    "run": run.name,
                    "split": split.name,
                    "by": run.search.score if run.search else "",
                    "trials": run.search.trials if run.search else 0,
                    "fits": sum(f["trials"] for f in done),
                    "failed": sum(f["failed"] for f in done),
                    "time": "not recorded" if seconds is None else duration(seconds),
                    "folds": done,
                }
            )
    return {"searches": found, "optimism": _optimism(inputs)} if found else {}


def _fold(inputs: Inputs, run: str, split: str, repeat: int, fold: int) -> dict[str, Any] | None:
    file = inputs.files.fit(run, split, repeat, fold).search
    if not file.exists():
        return None
    kept = file.read()
    scores = [t["score"] for t in kept["trials"] if t["score"] is not None]
    return {
        "repeat": repeat,
        "fold": fold,
        "trials": len(kept["trials"]),
        "failed": len(kept["trials"]) - len(scores),
        "values": {k: inputs.hide(_told(v)) for k, v in kept["values"].items()},
        "score": kept["score"],
        "worst": (max if kept["by"] == "loss" else min)(scores),
    }


def _told(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _optimism(inputs: Inputs) -> list[dict[str, Any]]:
    rows = []
    for run in inputs.study.runs:
        for split, targets in inputs.results.get(run.name, {}).items():
            for target, result in targets.items():
                known = result.get("optimism")
                if known:
                    estimate = Estimate(known["optimism"], known["low"], known["high"], known["reason"])
                    rows.append(
                        {"run": run.name, "split": split, "target": target, "searched": run.search is not None,
                         "validation": known["validation"], "test": known["test"], "estimate": estimate}
                    )  # fmt: skip
    return rows
