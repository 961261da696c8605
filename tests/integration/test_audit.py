"""A label planted in the scanner is called a shortcut on the first page; one planted in the lesion is not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

import scan2gene
from scan2gene.cli import app
from scan2gene.commands.audit import audit
from scan2gene.core.rundir import RunDirectory

SHAPE = (20, 20, 12)


def planted_study(folder: Path, planted: str, patients: int = 48) -> Path:
    """Small NIfTI exams; the label is in the scanner's stripes and voxel size, or in the lesion's grey."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    rows = []
    for n in range(patients):
        label = n % 2
        scanner = label if planted == "scanner" else int(rng.integers(2))
        grey = label if planted == "lesion" else int(rng.integers(2))
        centre = rng.uniform((6, 6, 4), (14, 14, 8))
        lesion = np.linalg.norm((grid - centre) * (1, 1, 1.5), axis=-1) < rng.uniform(3.5, 4.5)
        image = 2 * gaussian_filter(rng.normal(size=SHAPE), 1.5) + rng.normal(0, 0.1, SHAPE)
        image += 0.6 * scanner * np.cos(grid[..., 0] * np.pi / 2) + lesion * (0.3 + 1.5 * grey)
        affine = np.diag([1.0 + 0.2 * scanner, 1.0 + 0.2 * scanner, 2.0, 1.0])
        target = folder / "scans" / f"P{n:03d}"
        target.mkdir(parents=True)
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), target / "t1.nii.gz")
        nib.save(nib.Nifti1Image(lesion.astype(np.uint8), affine), target / "mask.nii.gz")
        rows.append({"patient_id": f"P{n:03d}", "gene": label, "age": 40 + int(rng.integers(30))})
    pd.DataFrame(rows).to_csv(folder / "labels.csv", index=False)
    study = {
        "name": planted,
        "cohort": {
            "scans": ["scans"], "labels": "labels.csv", "patient_pattern": r"(P\d+)", "clinical": ["age"],
            "roles": {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "mask"}, "kind": "label"}},
        },
        "targets": {"gene": {}},
        "preprocess": [{"name": "crop_or_pad", "options": {"shape": list(SHAPE)}}, {"name": "zscore"}],
        "splits": [{"name": "cv", "kind": "kfold", "folds": 3}],
        "data": {"batch_size": 8, "augment": []},
        "train": {"epochs": 15},
        "evaluate": {"bootstrap": 300},
        "explain": {"exams": 0},
        "runs": [
            {"name": "net", "model": {"name": "light_cnn"}},
            {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
        ],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


@pytest.fixture(scope="module", params=["scanner", "lesion"])
def run(request, tmp_path_factory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, scan2gene.run(planted_study(folder, request.param), folder / "run")


def _first_page(out: Path) -> str:
    page = (out / "report.html").read_text()
    answer = page[page.index('id="answer"') : page.index('id="audit"')]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", answer))


def _figures(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "audit.csv").set_index(["kind", "run"])


def test_the_first_page_says_where_the_label_was_planted(run):
    planted, out = run
    said = _first_page(out)
    (verdict,) = json.loads((out / "verdicts.json").read_text())
    if planted == "scanner":
        assert verdict["kind"] == "shortcut"
        assert "gene: a shortcut: scan metadata alone do as well, and the lesion is not needed" in said
    else:
        assert verdict["kind"] == "better"
        assert "gene: better than chance, and than scan metadata or clinical data alone" in said
        assert "shortcut:" not in said
    assert "nan" not in said.lower().split()


def test_altered_copies_tell_lesion_from_scanner(run):
    planted, out = run
    figures = _figures(out)
    assert figures.loc[("network", "net"), "low"] > 0.5
    erased, only = figures.loc[("erased", "net")], figures.loc[("only_lesion", "net")]
    assert erased["n"] == 48
    if planted == "scanner":
        assert erased["value"] > 0.9
        assert erased["low"] > 0.5
    else:
        assert erased["low"] < 0.5 < erased["high"]
        assert only["value"] > 0.8


def test_nothing_leaks_in_a_clean_study(run):
    _, out = run
    checks = json.loads((out / "audit.json").read_text())["leakage"]
    assert {c["status"] for c in checks} == {"clean"}
    assert len(checks) == 9
    assert pd.read_csv(out / "leakage.csv").empty


def test_the_audit_costs_little_and_is_not_done_again(run):
    _, out = run
    spent = RunDirectory(out).stamp("audit")["seconds"]
    before = (out / "audit.json").stat().st_mtime_ns
    scan2gene.run(out.parent / "study.yaml", out)
    assert (out / "audit.json").stat().st_mtime_ns == before
    assert spent < 60


def test_the_verb_says_it_in_plain_words(run):
    planted, out = run
    told = CliRunner().invoke(app, ["audit", str(out)])
    assert told.exit_code == 0
    assert told.output.splitlines()[0].startswith("gene: a shortcut" if planted == "scanner" else "gene: better")
    assert "net with the lesion erased" in told.output
    assert not [line for line in audit(out) if "nan" in line.lower().split()]
