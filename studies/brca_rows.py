"""The BRCA recipe's nine rows on a synthetic breast cohort, with stand-ins for the released weights.

It shows that the road from DICOM to the table of models is whole, on two cores. The figures say
nothing about any weights: stand-ins hold random numbers, and training is cut short. With the files of
docs/weights.md, `scan2gene run` on the recipe does the same for real.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import scan2gene
from scan2gene.core.files import write_text
from scan2gene.core.study import study_hash
from scan2gene.core.study_file import load_study
from scan2gene.models.weights import WEIGHTS
from scan2gene.phantom.exams import write_cohort
from scan2gene.recipes import recipe_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.stand_in import accept, write_stand_in

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, EFFECT, SEED = 40, 2.0, 5
GRID, EPOCHS = (64, 64, 32), 2


def study(folder: Path, patients: int, grid: Iterable[int], epochs: int, **options: dict[str, Any]) -> Path:
    """Write a cohort, stand-ins and the recipe for them; returns the study file.

    Args:
        folder: Gets all of it.
        patients: Of the cohort.
        grid: Voxels I, J, K of the last step, in every row.
        epochs: Of training, at most.
        options: Run -> options of its network, such as a smaller one than was released; only these
            runs are kept where any is given.
    """
    write_cohort(folder / "cohort", patients, EFFECT, seed=SEED, troubles=True)
    values = yaml.safe_load(recipe_text("breast-brca"))
    runs = [r for r in values["runs"] if r["name"] in options or not options]
    for run in runs:
        chosen = options.get(run["name"], {})
        run["model"] = run["model"] | {"options": chosen}
        if "preprocess" in run:
            run["preprocess"][-1] = {"name": "resize", "options": {"shape": list(grid)}}
        if "weights" in run:
            name = run["weights"]["name"]
            write_stand_in(name, folder / "weights" / WEIGHTS[name].file, **chosen)
    values["preprocess"][-1] = {"name": "resize", "options": {"shape": list(grid)}}
    values["cohort"] |= {"scans": ["cohort/scans"], "labels": "cohort/labels.csv"}
    values |= {"targets": {"BRCA": {"column": "mutation"}}, "weights_dir": "weights", "runs": runs}
    values["train"] |= {"epochs": epochs}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def run(path: Path, changes: Sequence[str] = ()) -> Path:
    """Run the study file of `study` with its stand-ins; returns the run directory."""
    for one in load_study(path).runs:
        if one.weights and one.weights.name:
            accept(one.weights.name, path.parent / "weights" / WEIGHTS[one.weights.name].file)
    return scan2gene.run(path, path.parent / "run", changes=changes)


def page(out: Path, seconds: float) -> str:
    """docs/results/breast-brca.md of a finished run directory."""
    done = load_study(out / "study.yaml")
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    table = pd.read_csv(out / "report" / "tables" / "models-holdout-BRCA.csv")
    first = results[done.runs[0].name]["holdout"]["BRCA"]
    names = ("precision", "recall", "f1", "accuracy", "auroc")
    lines = [
        "# The nine rows of the BRCA recipe, from DICOM to the table, with stand-ins",
        "",
        f"Written by `make results` from the recipe `breast-brca` (scan2gene {scan2gene.__version__}, study hash",
        f"`{study_hash(done)}`, seed {done.seed}).",
        f"{PATIENTS} synthetic patients; networks at {' x '.join(map(str, GRID))} voxels, at most {EPOCHS} epochs;",
        f"{seconds / 60:.0f} minutes in all on this machine's processor.",
        f"Test: {first['n']} patients, {first['n_positive']} positive.",
        "",
        "**No released file was used.** Every file of weights is a stand-in with random numbers, and two",
        "epochs teach a network nothing: the page shows that all nine rows run and what the table looks like, and no",
        "figure on it says anything about MedicalNet, Kinetics or M3D.",
        "",
        "| run | weights | " + " | ".join(names) + " | threshold | parameters | trained | training, s |",
        "|---|---|" + "---|" * (len(names) + 4),
    ]
    for row in table.to_dict("records"):
        weights = f"{row['weights']} (stand-in)" if row["weights"] != "random" else "random"
        cells = [f"**{_cell(row, n)}**" if row[f"{n}_best"] else _cell(row, n) for n in names]
        lines.append(
            f"| {row['run']} | {weights} | {' | '.join(cells)} | {row['threshold']:.3f} | {row['parameters']:,} | "
            f"{row['trained']:,} | {row['training_seconds']:.0f} |"
        )
    compared = pd.read_csv(out / "comparisons.csv")
    apart = int((compared["p_holm"] < 0.05).sum())
    lines += ["", f"Of {len(compared)} comparisons of the best run with another, {apart} tell the two apart "
              "(paired patient bootstrap, Holm)."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], name: str) -> str:
    value, low, high = (row[k] for k in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return "not estimated"
    return f"{value:.2f}" + (f" ({low:.2f}-{high:.2f})" if pd.notna(low) else "")


def main(folder: Path = ROOT / "runs" / "breast-brca") -> None:
    """Run the study and write its page."""
    path = folder / "study.yaml"
    if not path.exists():
        path = study(folder, PATIENTS, GRID, EPOCHS)
    began = time.perf_counter()
    out = run(path)
    write_text(ROOT / "docs" / "results" / "breast-brca.md", page(out, time.perf_counter() - began))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
