"""`make results`: a network of our own, learned on hippocampi, as a start for gene labels in glioma.

First a light CNN learns a pretext task on 200 T1 crops (MSD Task04): is the hippocampus larger
than the median one? Its labels come from the masks. Then FLAIR around the tumour (TCGA-LGG): random weights, a linear
probe on the frozen network, and fine-tuning, on the same split. Settings were fixed beforehand.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import yaml

import scan2gene
from scan2gene.core.files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
DATA = ROOT.parent / "shared" / "data"
WORK = ROOT / "runs" / "transfer"


def pretext() -> Path:
    """Learn the size of a hippocampus; the run directory."""
    folder, source = WORK / "hippocampus", DATA / "msd_hippocampus"
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {p.name.split(".")[0]: int((np.asarray(nib.load(p).dataobj) > 0).sum()) for p in _masks(source)}
    large = pd.Series(sizes) > np.median(list(sizes.values()))
    pd.DataFrame({"patient_id": large.index, "large": large.astype(int)}).to_csv(folder / "labels.csv", index=False)
    study = {
        "name": "hippocampus",
        "question": "Pretext: is this hippocampus larger than the median one?",
        "seed": 2026,
        "cohort": {
            "scans": [str(source / "images")],
            "labels": str(folder / "labels.csv"),
            "patient_pattern": r"(hippocampus_\d+)",
            "roles": {"t1": {"match": {"path": "hippocampus"}}},
        },
        "targets": {"large": {}},
        "preprocess": [_step("crop_or_pad", shape=[40, 56, 40]), _step("clip_percentile"), _step("min_max_uint8")],
        "splits": [{"name": "holdout", "kind": "holdout"}],
        "data": {"batch_size": 8, "augment": [_step("pad_and_crop", voxels=3), _step("noise", std=0.02)]},
        "train": {"epochs": 40},
        "runs": [{"name": "light", "model": {"name": "light_cnn"}}],
    }
    return _run(study, folder)


def glioma(source: Path) -> Path:
    """Random weights, probe and fine-tuning on the same split; the run directory."""
    study = yaml.safe_load((ROOT / "studies" / "tcga-lgg.yaml").read_text())
    study |= {
        "name": "tcga-lgg-transfer",
        "question": "Does a start from hippocampi help to read gene labels from FLAIR around a glioma?",
        "splits": [{"name": "cv", "kind": "kfold", "folds": 5}],
        "preprocess": [
            _step("crop_to_mask", mask="mask", margin_voxels=4), _step("resize", shape=[40, 56, 24]),
            _step("clip_percentile"), _step("min_max_uint8"),
        ],
        "data": {"batch_size": 8, "roles": ["flair"], "augment": [_step("flip", axes=["i"])]},
    }  # fmt: skip
    weights = {"run": str(source), "name": "light", "fold": "holdout-r0-f0"}
    model = {"name": "light_cnn"}
    study["runs"] = [
        {"name": "random", "model": model},
        {"name": "probe", "model": model, "weights": weights | {"freeze": "all"}, "data": {"augment": []}},
        {"name": "fine-tuned", "model": model, "weights": weights, "train": {"pretrained_rate": 0.1}},
        {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
    ]
    for key in ("scans", "labels"):
        value = study["cohort"][key]
        paths = [str((ROOT / "studies" / p).resolve()) for p in ([value] if isinstance(value, str) else value)]
        study["cohort"][key] = paths[0] if isinstance(value, str) else paths
    study["evaluate"]["ledger"] = str(RESULTS / "ledger.csv")
    return _run(study, WORK / "glioma")


def page(pretext_run: Path, glioma_run: Path) -> str:
    """Both tables, as they came out."""
    first, second = (pd.read_csv(out / "metrics.csv") for out in (pretext_run, glioma_run))
    before = first[first["metric"] == "auroc"].iloc[0]
    table = second[(second["metric"] == "auroc") & (second["variant"] == "original")]
    targets = ["IDH", "TP53", "ATRX", "COC2"]
    lines = [
        "# A start from a network of our own: hippocampi, then glioma",
        "",
        f"Written by `make results` (`studies/transfer.py`, {scan2gene.__version__}). The pretext task, whether",
        f"a hippocampus is larger than the median one, is learned with an AUROC of {_cell(before)}",
        f"on {before['n']:.0f} held-out patients. FLAIR around the tumour, five folds, one split for all rows; AUROC",
        "with 95 % interval, unadjusted.",
        "",
        "| start | " + " | ".join(targets) + " |",
        "|---|" + "---|" * len(targets),
    ]
    for run in ("random", "probe", "fine-tuned", "age"):
        rows = table[table["run_id"] == run].set_index("target")
        lines.append(f"| {run} | " + " | ".join(_cell(rows.loc[t]) for t in targets) + " |")
    compared = pd.read_csv(glioma_run / "comparisons.csv")
    compared = compared[compared["metric"] == "auroc"]
    apart = compared[compared["p_holm"] < 0.05].itertuples()
    named = "; ".join(f"{row.target}: {row.best} above {row.run_id}" for row in apart)
    lines += [
        "",
        f"Told apart in {len(compared)} comparisons with each target's best row (paired patient bootstrap, Holm):",
        f"{named or 'none'}. Every AUROC of this table stands in `ledger.csv`.",
    ]
    return "\n".join(lines) + "\n"


def _masks(source: Path) -> list[Path]:
    return [p for p in sorted((source / "labels").iterdir()) if (source / "images" / p.name).exists()]


def _step(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "options": options}


def _run(study: dict[str, Any], folder: Path) -> Path:
    write_text(folder / "study.yaml", yaml.safe_dump(study, sort_keys=False))
    return scan2gene.run(folder / "study.yaml", folder / "run")


def _cell(row: pd.Series) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f}-{row['high']:.2f})"


def transfer() -> None:
    """Both studies, and docs/results/transfer.md."""
    first = pretext()
    write_text(RESULTS / "transfer.md", page(first, glioma(first)))


if __name__ == "__main__":
    transfer()
