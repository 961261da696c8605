"""The golden studies: each is done by the command line, in seconds, on a cohort of this folder.

They may only use what users use: study files, the verbs, and the files of a run directory.
"""

from __future__ import annotations

import contextlib
import io
import runpy
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from tests.golden.cohorts import write_keys, write_slices, write_volumes
from tests.golden.drafts import write_drafts
from tests.golden.voxels import write_voxels

COHORTS: dict[str, Callable[[Path], None]] = {
    "volumes": write_volumes,
    "elsewhere": lambda folder: write_volumes(folder, patients=16, seed=2, first=100),
    "slices": write_slices,
}


@dataclass
class Bench:
    """A folder in which studies are done, each once, although several may build on one.

    Args:
        root: An empty folder.
        data: The folder of real data; None where there is none.
    """

    root: Path
    data: Path | None = None
    done: dict[str, Path] = field(default_factory=dict)

    def cohort(self, name: str) -> Path:
        """The folder of a cohort, written when it is first asked for."""
        folder = self.root / "cohorts" / name
        if not folder.exists():
            COHORTS[name](folder)
        return folder

    def study(self, name: str) -> Path:
        """The folder with the results of a golden study, done when it is first asked for."""
        if name not in self.done:
            self.done[name] = STUDIES[name].make(self, self.root / name)
        return self.done[name]


def scan2gene(*words: object) -> str:
    """What the command line prints; a verb that fails shows it all."""
    said, before = io.StringIO(), sys.argv
    sys.argv = ["scan2gene", *map(str, words)]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            runpy.run_module("scan2gene.cli", run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (0, None):
            raise RuntimeError(f"scan2gene {' '.join(map(str, words))}\n{said.getvalue()}{stop.code}") from None
    finally:
        sys.argv = before
    return said.getvalue()


def run(folder: Path, study: dict[str, Any], until: str = "audit") -> Path:
    """Write a study file and run it up to a stage; the run directory."""
    folder.mkdir(parents=True)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    scan2gene(until, path, "-o", folder / "run")
    return folder / "run"


CLINICAL = {"name": "clinical", "options": {"columns": ["age", "sex"]}}
LIGHT = {"name": "light_cnn", "options": {"dropout": 0.1}}
CV = {"name": "cv", "kind": "kfold", "folds": 2}


def volumes_study(**changes: Any) -> dict[str, Any]:
    """A study of the cohort `volumes`, in a folder beside the cohorts."""
    study = {
        "name": "golden",
        "seed": 11,
        "cohort": {
            "scans": ["../cohorts/volumes/scans"], "labels": "../cohorts/volumes/labels.csv",
            "patient_pattern": r"(P\d+)", "site_column": "site", "clinical": ["age", "sex"],
            "roles": {
                "t1": {"match": {"SeriesDescription": "T1.*POST"}},
                "t2": {"match": {"path": "t2"}, "optional": True},
                "mask": {"match": {"path": "mask"}, "kind": "label"},
            },
        },
        "targets": {"gene": {}},
        "preprocess": [
            {"name": "reorient", "options": {"axes": "LAS"}},
            {"name": "resample", "options": {"spacing_mm": [1.5, 1.5, 4.0]}},
            {"name": "crop_or_pad", "options": {"shape": [24, 16, 8]}},
            {"name": "clip_percentile"},
            {"name": "min_max_uint8"},
        ],
        "splits": [CV],
        "data": {"batch_size": 6, "augment": [{"name": "flip"}]},
        "train": {"epochs": 2, "learning_rate": 0.003},
        "evaluate": {"bootstrap": 200, "shuffles": 0},
        "explain": {"exams": 0},
        "runs": [{"name": "light", "model": LIGHT}],
    }  # fmt: skip
    return study | changes


def volumes(bench: Bench, folder: Path) -> Path:
    """Two networks and a clinical run on volumes: repeats, mirrored copies, ensembles, late fusion, maps."""
    bench.cohort("volumes")
    both = ["light", "looks"]
    return run(folder, volumes_study(
        splits=[CV | {"repeats": 2}],
        predict={"flips": ["i"], "ensembles": {"mean": {"members": both}, "logits": both},
                 "late_fusion": {"late": both}},
        evaluate={"bootstrap": 200, "shuffles": 20, "prevalence": {"gene": 0.2}},
        explain={"exams": 1, "scored": 4, "methods": [{"name": "hires_cam"}]},
        runs=[
            {"name": "light", "model": LIGHT, "train": {"label_smoothing": 0.05, "class_weights": "balanced"}},
            {"name": "looks", "model": {"name": "attention_cnn"}, "data": {"augment": []},
             "train": {"epochs": 1, "optimizer": "adamw", "weight_decay": 0.01, "ema": 0.9, "balanced_sampling": True}},
            {"name": "clinical", "model": CLINICAL},
        ],
    ), until="explain")  # fmt: skip


def slices(bench: Bench, folder: Path) -> Path:
    """A 2D network on slices, fused by mean, the surest slice, weights of roles and attention."""
    bench.cohort("slices")
    return run(folder, slices_study(), until="explain")


def slices_study(**changes: Any) -> dict[str, Any]:
    """A study of the cohort `slices`."""
    rules = [{"name": "mean"}, {"name": "max"}, {"name": "late"}, {"name": "gated_attention", "options": {"epochs": 3}}]
    study = {
        "name": "golden-slices",
        "seed": 12,
        "cohort": {
            "scans": ["../cohorts/slices/scans"], "labels": "../cohorts/slices/labels.csv",
            "patient_pattern": r"(P\d+)",
            "roles": {r: {"match": {"path": r}, "optional": True} for r in ("axial", "coronal")}
            | {"lesion": {"match": {"path": "spot"}, "kind": "label", "optional": True}},
        },
        "targets": {"gene": {}},
        "preprocess": [
            {"name": "reorient", "options": {"axes": "acquisition"}},
            {"name": "edge_slices"},
            {"name": "resize", "options": {"shape": [20, 20, None]}},
            {"name": "zscore_slices"},
        ],
        "splits": [CV],
        "data": {"batch_size": 16, "augment": [{"name": "flip", "options": {"axes": ["i"]}}],
                 "slices": {"per_patient": 4, "fusion": rules}},
        "train": {"epochs": 2, "learning_rate": 0.003},
        "evaluate": {"bootstrap": 200, "shuffles": 0},
        "explain": {"exams": 1, "scored": 2, "methods": [{"name": "hires_cam"}]},
        "runs": [{"name": "flat", "model": {"name": "light_cnn2d", "options": {"dropout": 0.1}}}],
    }  # fmt: skip
    return study | changes


def frozen(bench: Bench, folder: Path) -> Path:
    """Heads on a frozen encoder, one of them harmonised, and a network that goes on from it."""
    start = {"run": str(bench.study("volumes")), "name": "light", "fold": "cv-r0-f0", "other_patients": True}
    still = {"weights": start | {"freeze": "all"}, "model": LIGHT, "data": {"augment": []}, "train": {"epochs": 5}}
    return run(folder, volumes_study(runs=[
        still | {"name": "probe"},
        still | {"name": "head", "weights": start | {"freeze": "all", "head": {"hidden": 4}}},
        still | {"name": "combat", "data": {"augment": [], "harmonise": {"name": "combat"}}},
        {"name": "tuned", "model": LIGHT, "weights": start, "train": {"epochs": 1, "pretrained_rate": 0.1}},
    ]))  # fmt: skip


def clinical(bench: Bench, folder: Path) -> Path:
    """Logistic regression on clinical columns, plain and harmonised, on repeated holdouts: no network."""
    bench.cohort("volumes")
    return run(folder, volumes_study(
        splits=[{"name": "out", "kind": "holdout", "test_fraction": 0.4, "repeats": 3}],
        evaluate={"bootstrap": 200, "shuffles": 50, "prevalence": {"gene": 0.3}},
        runs=[
            {"name": "both", "model": CLINICAL},
            {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"], "strength": 0.1}}},
            {"name": "combat", "model": CLINICAL, "data": {"harmonise": {"name": "combat"}}},
        ],
    ))  # fmt: skip


def sides(bench: Bench, folder: Path) -> Path:
    """A finding for each side of the patient."""
    bench.cohort("volumes")
    return run(folder, volumes_study(
        targets={"lesion": {"left": "left", "right": "right"}, "gene": {}}, predict={"flips": ["i"]},
        explain={"exams": 1, "scored": 2, "methods": [{"name": "hires_cam"}]},
    ), until="explain")  # fmt: skip


def sites(bench: Bench, folder: Path) -> Path:
    """Each site left out in turn, sites drawn alike."""
    bench.cohort("volumes")
    return run(folder, volumes_study(
        splits=[{"name": "site", "kind": "leave_one_site_out"}], train={"epochs": 1},
        runs=[{"name": "light", "model": LIGHT, "train": {"site_sampling": True}},
              {"name": "clinical", "model": CLINICAL}],
    ))  # fmt: skip


def external_site(bench: Bench, folder: Path) -> Path:
    """A site kept out of development, and an adversary that hides the others."""
    bench.cohort("volumes")
    return run(folder, volumes_study(
        splits=[{"name": "cv", "kind": "holdout", "test_fraction": 0.5, "repeats": 2, "external": ["C"]}],
        runs=[{"name": "light", "model": LIGHT, "train": {"site_adversary": {}}},
              {"name": "clinical", "model": CLINICAL}],
    ))  # fmt: skip


def external(bench: Bench, folder: Path) -> Path:
    """The study `volumes` on another labelled cohort."""
    run_dir, study = bench.study("volumes"), volumes_study(name="elsewhere")
    cohort = bench.cohort("elsewhere")
    study["cohort"] |= {"scans": [str(cohort / "scans")], "labels": str(cohort / "labels.csv")}
    folder.mkdir()
    (folder / "other.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    scan2gene("external", run_dir, folder / "other.yaml", "-o", folder / "out")
    return folder / "out"


def apply(bench: Bench, folder: Path) -> Path:
    """The study `volumes` on exams without labels."""
    scan2gene("apply", bench.study("volumes"), bench.cohort("elsewhere") / "scans", "-o", folder)
    return folder


def compare(bench: Bench, folder: Path) -> Path:
    """Three tables of scores against each other, as if other tools had written them."""
    rng = np.random.default_rng(5)
    folder.mkdir()
    truth, files = rng.integers(0, 2, 60), []
    shared = rng.normal(0, 1, 60)
    for name, skill in (("strong", 1.5), ("weak", 0.4), ("none", 0.0)):
        score = skill * truth + 0.7 * shared + 0.7 * rng.normal(0, 1, 60)
        table = pd.DataFrame({"patient_id": [f"P{n:02d}" for n in range(60)], "target": "gene", "y_true": truth})
        files.append(folder / f"{name}.csv")
        table.assign(prob=(1 / (1 + np.exp(-score))).round(4)).to_csv(files[-1], index=False)
    scan2gene("compare", *files, "-o", folder / "out")
    return folder / "out"


def compare_runs(bench: Bench, folder: Path) -> Path:
    """Two run directories against each other."""
    scan2gene("compare", bench.study("volumes"), bench.study("frozen"), "-o", folder)
    return folder


def search(bench: Bench, folder: Path) -> Path:
    """Settings chosen within each fold."""
    bench.cohort("volumes")
    over = {"train.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "model.options.dropout": [0.0, 0.3]}
    tuned = {"name": "tuned", "model": {"name": "light_cnn"}, "search": {"over": over, "trials": 3}}
    return run(folder, volumes_study(train={"epochs": 1}, runs=[tuned]), until="evaluate")


def pseudonyms(bench: Bench, folder: Path) -> Path:
    """The study of volumes with pseudonyms that stand in a key file."""
    key = write_keys(bench.root / "keys", bench.cohort("volumes") / "scans")
    study = volumes_study(train={"epochs": 1})
    study["cohort"]["pseudonyms"] = str(key)
    return run(folder, study)


def demo(bench: Bench, folder: Path) -> Path:
    """`scan2gene demo` as it comes."""
    scan2gene("demo", "-o", folder)
    return folder / "run"


def steps(bench: Bench, folder: Path) -> Path:
    """Every preprocessing step on one small volume."""
    return write_voxels(folder)


def real_labels(bench: Bench, folder: Path) -> Path:
    """Studies drafted from real label tables, and what curation counts in them."""
    if bench.data is None:
        raise FileNotFoundError("the real data is not there")
    return write_drafts(bench.data, folder, scan2gene)


@dataclass(frozen=True)
class Study:
    """A golden study.

    Args:
        make: Does it, and returns the folder with its results.
        tables: Names of the tables that are kept.
        learned: It trains networks.
        slow: Left out of the suite.
        real: It needs the folder of real data.
    """

    make: Callable[[Bench, Path], Path]
    tables: tuple[str, ...]
    learned: bool = True
    slow: bool = False
    real: bool = False


FIGURES = ("predictions", "metrics", "audit", "checks", "verdicts")
STUDIES: dict[str, Study] = {
    "steps": Study(steps, ("steps",), learned=False),
    "volumes": Study(volumes, (
        *FIGURES, "series", "roles", "cohort", "labels", "exclusions", "split", "split_table", "power", "manifest",
        "history", "variants", "fusion_weights", "embedding_map", "embedding_agreement", "thresholds", "comparisons",
        "calibration", "decision", "predictive_values", "abstention", "conformal", "evidence", "leaks", "map_scores",
        "maps",
    )),
    "slices": Study(slices, (*FIGURES, "split", "manifest", "variants", "fusion_weights", "map_scores", "maps")),
    "frozen": Study(frozen, (*FIGURES, "comparisons", "evidence")),
    "clinical": Study(clinical, (
        "predictions", "metrics", "audit", "checks", "split", "thresholds", "comparisons", "calibration", "evidence",
        "conformal",
    ), learned=False),
    "sides": Study(sides, (*FIGURES, "labels", "split_table", "variants", "maps")),
    "sites": Study(sites, (*FIGURES, "split", "sampling", "transfer")),
    "external_site": Study(external_site, (*FIGURES, "split", "history", "transfer", "shift")),
    "external": Study(external, ("scores", "transfer", "shift")),
    "apply": Study(apply, ("predictions",)),
    "compare": Study(compare, ("compared_runs", "compared_pairs"), learned=False),
    "compare_runs": Study(compare_runs, ("compared_runs", "compared_pairs")),
    "search": Study(search, ("predictions", "metrics", "search")),
    "pseudonyms": Study(pseudonyms, (*FIGURES, "series", "roles", "cohort", "labels", "exclusions", "split")),
    "real_labels": Study(real_labels, ("drafts", "curated"), learned=False, real=True),
    "demo": Study(demo, (*FIGURES, "split", "map_scores"), slow=True),
}  # fmt: skip
