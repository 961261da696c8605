"""The GBM recipe's ten networks on a synthetic brain cohort in the study's own folder layout.

It shows that the road from DICOM to a figure per patient is whole, on two cores: networks and slices
are small and training is cut short. IDH is told by the tumour's look, the other genes by nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import yaml

import scan2gene
from scan2gene.core.files import write_text
from scan2gene.core.study import study_hash
from scan2gene.core.study_file import load_study
from scan2gene.phantom.brain_exams import RAW, TOLD, WIDE, write_brain_cohort
from scan2gene.recipes import recipe_text

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, EFFECT, SEED, FOLDS = 40, 4.0, 6, 3
SIDE, PER_PATIENT, EPOCHS = 64, 10, 4
SMALL = {
    "AlexNet2D": {"hidden": 128},
    "VisionLSTM": {"patch": 8, "width": 96, "hidden": 96, "depth": 3},
    "ViT": {"size": "tiny", "image": [SIDE, SIDE], "patch": 8, "depth": 4},
    "ViL": {"size": "tiny", "image": [SIDE, SIDE], "patch": 8, "depth": 4},
    "Swin-3D": {"size": "micro"},
}
VOLUME = {"resample": {"spacing_mm": [4.0, 4.0, 7.0]}, "crop_or_pad": {"shape": [48, 56, 24]}}


def study(folder: Path) -> Path:
    """Write the cohort, with the troubles of real folders, and the recipe for it; returns the study file."""
    write_brain_cohort(folder, PATIENTS, EFFECT, seed=SEED, troubles=True)
    values = yaml.safe_load(recipe_text("gbm-mutations"))
    values["cohort"] |= {"scans": [str(RAW)], "labels": str(WIDE)}
    square = {"name": "resize", "options": {"shape": [SIDE, SIDE, None]}}
    values["preprocess"][2] = square
    values["splits"] = [{"name": "cv", "kind": "kfold", "folds": FOLDS}]
    values["data"]["slices"]["per_patient"] = PER_PATIENT
    values["train"] |= {"epochs": EPOCHS, "learning_rate": 0.001}
    values["explain"] = {"exams": 0}  # hours on a processor for ten networks
    for run in values["runs"]:
        run["model"] = {"name": run["model"]["name"], "options": SMALL.get(run["name"], {})}
        if run["name"].startswith("AlexNet2D"):
            run["model"]["options"] = SMALL["AlexNet2D"]
        if "slices" not in run.get("data", {}) and "preprocess" in run:
            run["preprocess"][2] = square
            continue
        for step in run.get("preprocess", []):
            step["options"] = VOLUME.get(step["name"], step.get("options", {}))
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def page(out: Path) -> str:
    """docs/results/gbm-mutations.md of a finished run directory."""
    done = load_study(out / "study.yaml")
    metrics = pd.read_csv(out / "metrics.csv")
    seconds = sum(json.loads(p.read_text()).get("seconds", 0) for p in (out / "stages").glob("*.json"))
    auroc = metrics[metrics["metric"] == "auroc"].set_index(["run_id", "variant", "target"]).sort_index()
    genes = list(done.targets)
    lines = [
        "# The GBM recipe on a synthetic brain cohort, from DICOM to a figure per patient",
        "",
        f"Written by `make results` from the recipe `gbm-mutations` (scan2gene {scan2gene.__version__}, study hash",
        f"`{study_hash(done)}`, seed {done.seed}): {PATIENTS} synthetic patients in the study's folder layout, four",
        f"sequences in three planes; at most {PER_PATIENT} slices of {SIDE} x {SIDE} a patient, small networks, at",
        f"most {EPOCHS} epochs; {seconds / 60:.0f} minutes in all on a processor.",
        f"The look of the tumour tells {TOLD}; the other genes are drawn by lot, and nothing can tell them. AUROC with",
        f"95 % BCa patient-bootstrap interval, patients as units, {FOLDS} folds.",
        "",
        "| run | fusion | " + " | ".join(_head(auroc, g) for g in genes) + " |",
        "|---|---|" + "---|" * len(genes),
    ]
    for run in done.runs:
        for variant in dict.fromkeys(metrics.loc[metrics["run_id"] == run.name, "variant"]):
            told = {"original": "mean" if "slices" not in run.data else "volume"}.get(variant, variant)
            cells = [_cell(auroc.loc[(run.name, variant, g)]) for g in genes]
            lines.append(f"| {run.name} | {told} | {' | '.join(cells)} |")
    lines += ["", "Rows of slices count slices, not patients; they are not for comparison with the others."]
    return "\n".join(lines) + "\n"


def _head(auroc: pd.DataFrame, gene: str) -> str:
    row = auroc.xs(gene, level="target").iloc[0]
    return f"{gene} ({int(row['n_positive'])}/{int(row['n'])})"


def _cell(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return str(row["reason"])
    return f"{row['value']:.2f}" + (f" ({row['low']:.2f}-{row['high']:.2f})" if pd.notna(row["low"]) else "")


def main(folder: Path = ROOT / "runs" / "gbm-mutations") -> None:
    """Run the study and write its page."""
    path = folder / "study.yaml"
    if not path.exists():
        path = study(folder)
    out = scan2gene.run(path, folder / "run")
    write_text(ROOT / "docs" / "results" / "gbm-mutations.md", page(out))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
