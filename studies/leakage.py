"""How far a figure rises when slices of one patient stand in training and in test: docs/leakage.md.

    python studies/leakage.py            # ../shared/data/tcga_lgg, about ten minutes on two cores

The same network, slices and seeds; only the split differs. Prints the table of docs/leakage.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

import scan2gene

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data" / "tcga_lgg"
TARGETS = ("IDH", "TP53", "ATRX")
RESULT = ("AUROC (95 % CI)", "accuracy")


def study() -> dict[str, Any]:
    """FLAIR slices of 79 patients, twelve each at most; three folds by patient, three by slice."""
    return {
        "name": "leakage",
        "question": "How far does a split by slice lift the figure of a network that sees slices?",
        "allow_leakage": True,
        "cohort": {
            "scans": [str(DATA / "images")],
            "labels": str(DATA / "labels.csv"),
            "patient_column": "patient_id",
            "patient_pattern": r"(TCGA-\w\w-\w{4})",
            "roles": {"flair": {"match": {"path": r"/flair\.nii"}}},
        },
        "targets": {t: {} for t in TARGETS},
        "preprocess": [
            {"name": "reorient", "options": {"axes": "acquisition"}},
            {"name": "edge_slices"},
            {"name": "resize", "options": {"shape": [96, 96, None]}},
            {"name": "zscore_slices"},
        ],
        "splits": [
            {"name": "by-patient", "kind": "kfold", "folds": 3},
            {"name": "by-slice", "kind": "kfold", "folds": 3, "unit": "slice"},
        ],
        "data": {"slices": {"per_patient": 12}, "batch_size": 32, "augment": []},
        "train": {"epochs": 40, "patience": 10},
        "explain": {"exams": 0},
        "runs": [{"name": "light", "model": {"name": "light_cnn2d"}}],
    }


def rows(out: Path) -> list[str]:
    """Lines of the table, from metrics.csv."""
    metrics = pd.read_csv(out / "metrics.csv").set_index(["target", "split", "variant", "metric"]).sort_index()
    lines = ["| target | split | level | " + " | ".join(RESULT) + " |", "|---|---|---|---|---|"]
    for target in TARGETS:
        for split in ("by-patient", "by-slice"):
            for variant, level in (("original", "patients"), ("slice level", "slices")):
                own = metrics.loc[target, split, variant]
                auroc, accuracy = own.loc["auroc"], own.loc["accuracy"]
                leaky = " (LEAKY)" if split == "by-slice" else ""
                lines.append(
                    f"| {target} | {split}{leaky} | {int(auroc['n_units'])} {level} | {auroc['value']:.3f} "
                    f"({auroc['low']:.3f} to {auroc['high']:.3f}) | {accuracy['value']:.3f} |"
                )
    return lines


def main() -> None:
    """Run the study and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "leakage")
    out = parser.parse_args().out
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / "leakage.yaml"
    path.write_text(yaml.safe_dump(study(), sort_keys=False))
    scan2gene.run(path, out)
    print("\n".join(rows(out)))


if __name__ == "__main__":
    main()
