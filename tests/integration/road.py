"""Small cohorts and studies that the integration tests run for real."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from scan2gene.cli import main
from scan2gene.core.rundir import FitDirectory, RunDirectory
from scan2gene.phantom.exams import write_cohort
from scan2gene.recipes import recipe_text
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import resolved

FOLDS = 3  # five would test the same patients and train two networks more


def phantom_study(folder: Path, patients: int, effect: float, organ: str = "breast", seed: int = 1, **train) -> Path:
    """A synthetic cohort and the demo's lesion run on it; returns the study file."""
    sequences = ("t1c",) if organ == "breast" else ("flair", "t1c")
    write_cohort(folder / "cohort", patients, effect, organ, sequences, seed, troubles=True)
    study = yaml.safe_load(recipe_text("demo"))
    study["runs"] = [r for name in ("light-lesion", "age") for r in study["runs"] if r["name"] == name]
    del study["features"], study["ensembles"]
    if organ == "brain":
        del study["cohort"]["include"]
        study["cohort"]["exclude"] = {"StudyDescription": "BIOPSY"}
        study["cohort"]["roles"] = {
            "flair": {"match": {"SeriesDescription": "FLAIR"}},
            "t1c": {"match": {"SeriesDescription": "T1.*POST"}, "optional": True},
            "mask": study["cohort"]["roles"]["mask"],
        }
    study["splits"][0]["folds"] = FOLDS
    study["train"] |= train
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def nifti_study(folder: Path, patients: int = 24, **changes) -> Path:
    """A cohort of tiny NIfTI volumes, quick enough to spoil in many ways; returns the study file."""
    rng = np.random.default_rng(0)
    for n in range(patients):
        array = rng.normal(100, 10, (12, 12, 10)).astype(np.float32)
        target = folder / "scans" / f"P{n:03d}" / "t1.nii.gz"
        target.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), target)
    rows = [{"patient_id": f"P{n:03d}", "gene": n % 2, "age": 40 + n} for n in range(patients)]
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    study = {
        "name": "tiny",
        "question": "Is there anything to see?",
        "cohort": {
            "scans": ["scans"],
            "labels": "labels.csv",
            "patient_pattern": r"(P\d+)",
            "clinical": ["age"],
            "roles": {"t1": {"match": {"path": "t1"}}},
        },
        "targets": {"gene": {}},
        "preprocess": [{"name": "crop_or_pad", "options": {"shape": [8, 8, 8]}}, {"name": "zscore"}],
        "splits": [{"name": "holdout", "kind": "holdout", "test_fraction": 0.3}],
        "train": {"epochs": 2},
        "evaluate": {"bootstrap": 100},
        "runs": [{"name": "light", "model": {"name": "light_cnn"}}],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


def fit_of(out: Path, run: str, fold: str) -> Fit:
    """A fit of a finished run directory by its folder's name, such as "cv-r0-f1"."""
    config = next(c for c in resolved(RunDirectory(out).study()) if c.name == run)
    split, repeat, number = re.fullmatch(r"(.+)-r(\d+)-f(\d+)", fold).groups()
    return Fit(config, split, int(repeat), int(number), FitDirectory(out / "experiments" / run / fold))


def edit(path: Path, **changes) -> None:
    """Replace top-level keys of a study file."""
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes, sort_keys=False))


def shell(monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """Run the command line; the message it ends with, empty when it succeeds."""
    monkeypatch.setattr(sys, "argv", ["scan2gene", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    return "" if stop.value.code in (0, None) else str(stop.value.code)


def _models_and_ensembles(name: str, model: dict) -> dict:
    """Keys of a study of one model on features, a clinical model on age, and both as an ensemble, in three folds."""
    return {
        "splits": [{"name": "cv", "kind": "kfold", "folds": 3}],
        "evaluate": {"bootstrap": 100, "shuffles": 0},
        "runs": [
            {"name": "clinical", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
            {"name": name, "model": model},
        ],
        "ensembles": {
            "image": {"members": [name], "method": "standardised"},
            "best": {"members": ["clinical", "image"], "method": "standardised"},
        },
    }


def table_study(folder: Path, patients: int = 60, effect: float = 4.0, seed: int = 0, **changes) -> Path:
    """A study without scans: one signal among ten numbers, ages that know a little; returns the study file."""
    rng = np.random.default_rng(seed)
    gene, ids = np.arange(patients) % 2, [f"P{n:03d}" for n in range(patients)]
    numbers = pd.DataFrame(rng.normal(size=(patients, 10)), columns=[f"f{n}" for n in range(10)])
    numbers["f0"] += effect * gene
    numbers.assign(patient_id=ids).to_csv(folder / "radiomics.csv", index=False)
    labels = {"patient_id": ids, "gene": gene, "age": 50 + 10 * rng.normal(size=patients).round(2) + 8 * gene}
    pd.DataFrame(labels).to_csv(folder / "labels.csv", index=False)
    study = {
        "name": "tables",
        "cohort": {"labels": "labels.csv", "clinical": ["age"]},
        "targets": {"gene": {}},
        "features": {"radiomics": {"table": "radiomics.csv"}},
    } | _models_and_ensembles("ridge", {"name": "ridge", "options": {"features": ["radiomics"]}})
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


def write_lesions(folder: Path, patients: int, first: int = 0, seed: int = 0, bright: float = 1.0) -> pd.DataFrame:
    """Tiny volumes with a mask, larger where the gene is mutated, and labels.csv with ages that know a little."""
    rng, rows = np.random.default_rng(seed), []
    grid = np.stack(np.meshgrid(*map(np.arange, (20, 22, 16)), indexing="ij")).astype(float)
    for n in range(first, first + patients):
        gene = n % 2
        centre = np.array([10, 11, 8]) + rng.uniform(-1.5, 1.5, 3)
        radius = 2.6 + 1.2 * gene + rng.normal(0, 0.3)
        away, deep = (np.linalg.norm((grid.T - centre) / size, axis=-1).T for size in (radius, np.array([9, 10, 7])))
        mask, body = away < 1, deep < 1
        array = body * (100 + 10 * rng.normal(size=mask.shape) + bright * 60 * mask)
        exam = folder / "scans" / f"P{n:03d}"
        exam.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), exam / "t1.nii.gz")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.eye(4)), exam / "mask.nii.gz")
        rows.append({"patient_id": f"P{n:03d}", "gene": gene, "age": 50 + 8 * gene + round(8 * rng.normal(), 1)})
    table = pd.DataFrame(rows)
    table.to_csv(folder / "labels.csv", index=False)
    return table


def lesion_study(folder: Path, **changes) -> Path:
    """A study on features of `write_lesions`; returns the study file."""
    steps = [{"name": "first_channel"}, {"name": "reorient", "options": {"axes": "LAS"}}]
    mean = {"name": "mean", "options": {"features": ["lesion"], "models": ["ridge", "svm"]}}
    study = {
        "name": "lesions",
        "cohort": {
            "scans": ["scans"],
            "labels": "labels.csv",
            "patient_pattern": r"(P\d+)",
            "clinical": ["age"],
            "roles": {"t1": {"match": {"path": "t1"}}, "tumour": {"match": {"path": "mask"}, "kind": "label"}},
        },
        "targets": {"gene": {}},
        "preprocess": steps,
        "features": {"lesion": {"name": "lesion", "preprocess": steps}},
    } | _models_and_ensembles("lesion", mean)
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path
