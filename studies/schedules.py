"""Four schedules in one study, and a search that may take any of them, on synthetic patients."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import scan2gene
from scan2gene.core.files import write_text
from scan2gene.phantom.exams import write_cohort
from scan2gene.phantom.patients import best_auroc
from scan2gene.recipes import recipe_text

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, EFFECT, SEED, FOLDS, EPOCHS, TRIALS = 80, 2.5, 2026, 5, 40, 8
SCHEDULES: list[dict[str, Any]] = [
    {"name": "plateau", "options": {"patience": 3}},
    {"name": "cyclic"},
    {"name": "multistep", "options": {"milestones": [20, 30]}},
    {"name": "cosine"},
]


def study(folder: Path) -> Path:
    """Write a cohort and the study of its lesions; returns the study file."""
    write_cohort(folder / "cohort", PATIENTS, EFFECT, seed=SEED)
    values = yaml.safe_load(recipe_text("demo"))
    del values["features"], values["ensembles"]
    network = {"name": "light_cnn"}
    over = {"train.schedule": SCHEDULES, "train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    values |= {
        "name": "schedules",
        "question": "Synthetic lesions: does it matter how the learning rate falls?",
        "splits": [{"name": "cv", "kind": "kfold", "folds": FOLDS}],
        "train": {"epochs": EPOCHS, "patience": EPOCHS, "learning_rate": 0.001},
        "runs": [
            *({"name": s["name"], "model": network, "train": {"schedule": s}} for s in SCHEDULES),
            {"name": "searched", "model": network, "search": {"over": over, "trials": TRIALS}},
        ],
        "explain": {"exams": 0},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def page(out: Path) -> str:
    """docs/results/schedules.md of a finished run directory."""
    metrics = pd.read_csv(out / "metrics.csv").query("metric == 'auroc' and variant == 'original'").set_index("run_id")
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    seconds: dict[str, float] = {}
    for stamp in sorted((out / "stages").glob("train__*.json")):
        found = json.loads(stamp.read_text(encoding="utf-8"))
        run = found["stage"].split("/")[1]
        seconds[run] = seconds.get(run, 0.0) + found["seconds"]
    lines = [
        "# Schedules compared, and searched",
        "",
        f"Written by `make results` (`studies/schedules.py`, scan2gene {scan2gene.__version__}). {PATIENTS} synthetic",
        f"patients with effect {EFFECT:g} (on average no classifier exceeds {best_auroc(EFFECT):.3f}), {FOLDS} folds,",
        f"light_cnn for {EPOCHS} epochs. The searched run takes schedule and rate by {TRIALS} trials inside each fold.",
        "Validation: AUROC on the patients that chose epoch (and settings); optimism: that less the test AUROC.",
        "",
        "| run | test AUROC | validation | optimism | seconds |",
        "|---|---|---|---|---|",
    ]
    for run in [*(s["name"] for s in SCHEDULES), "searched"]:
        known = results[run]["cv"]["mutation"]["optimism"]
        ends = _cell(known["optimism"], known["low"], known["high"])
        lines.append(
            f"| {run} | {_cell(metrics.loc[run, 'value'], metrics.loc[run, 'low'], metrics.loc[run, 'high'])} | "
            f"{known['validation']:.3f} | {ends} | {seconds[run]:.0f} |"
        )
    compared = pd.read_csv(out / "comparisons.csv").query("metric == 'auroc'")
    apart = [f"{r.best} above {r.run_id}" for r in compared[compared["p_holm"] < 0.05].itertuples()]
    lines += [
        "",
        f"Told apart (paired patient bootstrap, Holm): {', '.join(apart) or 'none of them'}.",
        "",
        "What each fold chose:",
        "",
        *(f"- fold {n}: {_chosen(path)}" for n, path in
          enumerate(sorted((out / "experiments" / "searched").glob("*/search.json")), start=1)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3f}" + ("" if low is None or pd.isna(low) else f" ({low:.3f} to {high:.3f})")


def _chosen(path: Path) -> str:
    kept = json.loads(path.read_text(encoding="utf-8"))
    scores = [t["score"] for t in kept["trials"] if t["score"] is not None]
    rate, schedule = kept["values"]["train.learning_rate"], kept["values"]["train.schedule"]["name"]
    return f"{schedule}, rate {rate:.2g}; validation loss {kept['score']:.3f}, worst trial {max(scores):.3f}"


def main(folder: Path = ROOT / "runs" / "schedules") -> None:
    """Run the study and write its page."""
    path = folder / "study.yaml"
    if not path.exists():
        path = study(folder)
    write_text(ROOT / "docs" / "results" / "schedules.md", page(scan2gene.run(path, folder / "run")))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
