"""Where a trained network looks on synthetic patients with a planted lesion; written as it came out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

import scan2gene
from scan2gene.core.files import write_text
from scan2gene.core.study_file import load_study
from scan2gene.phantom.exams import write_cohort
from scan2gene.recipes import recipe_text

ROOT = Path(__file__).resolve().parents[1]
PATIENTS, EFFECT, SEED = 120, 6.0, 1
NETWORKS = {"attention": "attention_cnn", "light": "light_cnn"}
TRAIN = {"attention": {"epochs": 40, "learning_rate": 0.002}, "light": {"epochs": 100, "learning_rate": 0.005}}
PLACES = (("attention", "attended"), ("light", "blocks.4"), ("light", "blocks.2"), ("light", "blocks.1"))
METHODS = ("grad_cam_pp", "grad_cam", "hires_cam", "smooth_grad", "integrated_gradients")
LAYERLESS = METHODS[3:]
STEPS = [
    {"name": "first_channel"},
    {"name": "min_max_uint8"},
    {"name": "reorient", "options": {"axes": "LAS"}},
    {"name": "resample", "options": {"spacing_mm": [3.0, 3.0, 6.0]}},
    {"name": "equalise"},
    {"name": "crop_to_mask", "options": {"mask": "mask", "shape": [40, 28, 14]}},
]


def cam_phantom(folder: Path = ROOT / "runs" / "cam-phantom") -> str:
    """Train two networks on 120 mm of breast around a lesion, and score their maps; the page as Markdown."""
    if not (folder / "cohort").exists():
        write_cohort(folder / "cohort", PATIENTS, EFFECT, seed=SEED)
    study = yaml.safe_load(recipe_text("demo"))
    del study["features"], study["ensembles"]
    study |= {
        "name": "cam-phantom",
        "preprocess": STEPS,
        "splits": [{"name": "holdout", "kind": "holdout", "test_fraction": 0.25}],
        "data": {"batch_size": 8, "augment": study["data"]["augment"]},
        "train": {"patience": 100, "schedule": {"name": "cosine"}},
        "runs": [
            {"name": n, "model": {"name": m, "options": {"dropout": 0.0}}, "train": TRAIN[n]}
            for n, m in NETWORKS.items()
        ],
        "explain": {"methods": [{"name": m} for m in METHODS], "scored": 30},
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    tables = {}
    for place in PLACES:
        set_layer = f"explain.layer={{{place[0]}: {place[1]}}}"
        out = scan2gene.run(load_study(path, [set_layer]), folder / "out", until="explain")
        table = pd.read_csv(out / "explain" / "scores.csv", keep_default_na=False)
        tables[place] = table[table["run_id"] == place[0]]
    return _page(tables, pd.read_csv(out / "metrics.csv"))


def _page(tables: dict[tuple[str, str], pd.DataFrame], metrics: pd.DataFrame) -> str:
    plain = metrics[(metrics["metric"] == "auroc") & (metrics["variant"] == "original")]
    auroc = plain.set_index("run_id")["value"]
    first = tables[PLACES[0]].set_index("measure")
    fraction, n = float(first.loc["lesion_fraction", "value"].iloc[0]), int(first.loc["lesion_fraction", "n"].iloc[0])
    said = " and ".join(f"{NETWORKS[r]} (AUROC {auroc[r]:.2f})" for r in NETWORKS)
    lines = [
        "# Where a network looks: synthetic patients with a planted lesion",
        "",
        f"Written by `python studies/cam_phantom.py` (scan2gene {scan2gene.__version__}). {PATIENTS} synthetic breast",
        f"exams from DICOM on (effect {EFFECT:g}), 40 x 28 x 14 voxels of 3 x 3 x 6 mm around the lesion, which fills",
        f"{fraction:.1%} of the field. One holdout split, {n} test patients that trained nothing:",
        f"{said}.",
        "Ratio: share of a map's energy inside the lesion over that share of the field, 95 % BCa bootstrap interval;",
        "random weights: the same network untrained. 1 is a map without aim.",
        "",
        "| network | method | layer | ratio | random weights | pointing game |",
        "|---|---|---|---|---|---|",
    ]
    reached: dict[bool, list[str]] = {True: [], False: []}
    for (run, layer), method in _rows():
        part = tables[run, layer]
        part = part[part["method"] == method].set_index("measure")
        where = "input" if method in LAYERLESS else f"`{layer}`"
        cells = [_cell(part.loc[m]) for m in ("energy_ratio", "energy_ratio_random", "pointing")]
        lines.append(f"| {NETWORKS[run]} | {method} | {where} | {' | '.join(cells)} |")
        if method == "grad_cam_pp":
            reached[float(part.loc["energy_ratio", "value"] or 0) >= 5].append(f"{NETWORKS[run]} at `{layer}`")
    steps = {place: _steps(table) for place, table in tables.items()}
    lines += [
        "",
        "Rank correlation with the trained network's Grad-CAM++ as layers become random, from the last on:",
        "",
        "| network | layer | share of layers random: rank correlation |",
        "|---|---|---|",
    ]
    for (run, layer), table in steps.items():
        told = ", ".join(f"{s}: {float(v):.2f}" for s, v in zip(table["step"], table["value"], strict=True))
        lines.append(f"| {NETWORKS[run]} | `{layer}` | {told} |")
    return "\n".join(
        [
            *lines,
            "",
            f"Grad-CAM++ at five times the lesion's share or more: {', '.join(reached[True]) or 'none'}; less:",
            f"{', '.join(reached[False]) or 'none'}.",
            "",
            "The lesion is in the middle of every field, where windows overlap most: random weights may exceed 1.",
            "Grad-CAM and Grad-CAM++ give each channel one weight for the whole field, so they point only where",
            "channels are dark elsewhere. In light_cnn they are not: group normalisation carries the lesion's state",
            "to all cells, and the head sees a maximum, whose place such a weight forgets. HiResCAM and the gradients",
            "find what it reads. attention_cnn multiplies cells by their share of the answer before a plain mean.",
            "",
        ]
    )


def _rows() -> list[tuple[tuple[str, str], str]]:
    """Places and methods; a method without a layer once a network."""
    rows = []
    for run in NETWORKS:
        own = [p for p in PLACES if p[0] == run]
        rows += [(p, m) for m in METHODS for p in (own[:1] if m in LAYERLESS else own)]
    return rows


def _steps(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["measure"] == "rank_correlation"]


def _cell(row: pd.Series) -> str:
    if row["value"] == "":
        return "no map"
    ends = f" ({float(row['low']):.2f}-{float(row['high']):.2f})" if row["low"] != "" else ""
    return f"{float(row['value']):.2f}{ends}"


if __name__ == "__main__":
    write_text(ROOT / "docs" / "results" / "cam.md", cam_phantom())
