"""What a study leaves open is chosen from its cohort, once, and what it sets is kept."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import scan2gene
from scan2gene.core.errors import RunError
from scan2gene.core.study_file import load_study
from scan2gene.plan.choices import MULTIPLE, choose, grid
from scan2gene.plan.training import FEWEST_EPOCHS, FEWEST_STEPS
from scan2gene.train.epoch import steps_of_epoch
from tests.integration.road import edit, nifti_study, phantom_study

OPEN = ("preprocess", "splits", "runs", "data", "evaluate", "train", "question")


def _open(path):
    """The study with cohort and targets only."""
    values = {k: v for k, v in yaml.safe_load(path.read_text()).items() if k not in OPEN}
    path.write_text(yaml.safe_dump(values))
    return path


def _planned(out):
    return json.loads((out / "plan.json").read_text())


def test_cohort_and_targets_are_enough(tmp_path):
    study = _open(phantom_study(tmp_path, 24, effect=2.5))
    changes = ["train.epochs=1", "evaluate.bootstrap=100"]
    out = scan2gene.run(study, tmp_path / "run", until="evaluate", changes=changes)
    ran = json.loads((out / "study.json").read_text())
    models = [run["name"] for run in ran["runs"]]
    seeds = ["network-1", "network-2", "network-3"]
    assert {*models} >= {"clinical", "lesion", "radiomics", "network", *seeds}
    assert models[-2:] == ["image", "best"]
    assert [r["seed"] for r in ran["runs"] if r["name"] in seeds] == [ran["seed"], ran["seed"] + 1, ran["seed"] + 2]
    assert (ran["train"]["patience"], ran["train"]["schedule"]["name"]) == (None, "one_cycle")
    assert ran["predict"]["flips"] == ["i"]
    assert set(pd.read_csv(out / "split.csv")["part"]) == {"train", "test"}
    assert ran["preprocess"] == _planned(out)["chosen"]["preprocess"]
    assert ran["question"] == "Can mutation be predicted from the scans?"
    assert ran["splits"][0]["folds"] == 5
    manifests = [pd.read_csv(m) for m in (out / "store").glob("*/manifest.csv")]
    assert len(manifests) == 1  # the neighbourhood of the mask; features need no store
    assert all(m["status"].eq("ok").all() and m["shape"].nunique() == 1 for m in manifests)
    auroc = pd.read_csv(out / "metrics.csv").query("metric == 'auroc'")
    assert set(auroc["run_id"]) == set(models)


def _trained(tmp_path, patients=79, **changes):
    """What is planned for networks of a cohort with whole volumes of so many patients."""
    (tmp_path / "labels.csv").write_text("")
    roles = {"t1": {"match": {"path": "t1"}}}
    study = {"name": "s", "cohort": {"scans": ["."], "labels": "labels.csv", "roles": roles}, "targets": {"gene": {}},
             "preprocess": [{"name": "zscore"}],
             "features": {"body": {"name": "subregions"}}, "data": {"augment": [], "batch_size": 8}}  # fmt: skip
    study |= changes
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    cohort = pd.DataFrame({"patient_id": range(patients), "role:t1": "x"})
    labels = cohort.assign(target="gene", label=[("positive", "negative")[n % 2] for n in range(patients)])
    return choose(load_study(tmp_path / "study.yaml"), cohort, labels, {})["chosen"]


@pytest.mark.parametrize(("patients", "epochs"), [(79, 30), (20, 120), (299, 20)])
def test_training_is_planned_in_steps(tmp_path, patients, epochs):
    chosen = _trained(tmp_path, patients)
    assert chosen["train.epochs"] == epochs
    assert chosen["splits"][0]["validation_fraction"] == 0 and chosen["train.patience"] is None
    steps = steps_of_epoch(int(patients * 0.8), 8, 1)
    assert epochs * steps >= FEWEST_STEPS and epochs >= FEWEST_EPOCHS


def test_what_is_set_of_training_is_kept(tmp_path):
    large = _trained(tmp_path, 300)
    assert not any(key.startswith("train.") for key in large) and "validation_fraction" not in large["splits"][0]
    stopped = _trained(tmp_path, train={"patience": 7})  # early stopping is asked for
    assert not any(key.startswith("train.") for key in stopped) and "validation_fraction" not in stopped["splits"][0]
    own = _trained(tmp_path, train={"epochs": 3, "optimizer": "sgd"})
    assert {"train.epochs", "train.optimizer"}.isdisjoint(own) and own["train.schedule"] == {"name": "one_cycle"}
    run = {"name": "mine", "model": {"name": "light_cnn"}}
    assert not any(key.startswith("train.") for key in _trained(tmp_path, runs=[run]))


def test_the_body_fits_the_planned_grid(tmp_path):
    """Bodies of known size in air: the grid spans them, at voxels no finer than the scans'."""
    study = nifti_study(tmp_path)
    rng = np.random.default_rng(1)
    for path in (tmp_path / "scans").rglob("*.nii.gz"):
        array = rng.normal(5, 1, (64, 60, 40)).clip(0).astype(np.float32)
        array[12:52, 15:45, 8:32] += 200  # 80 x 60 x 72 mm
        nib.save(nib.Nifti1Image(array, np.diag([-2.0, -2.0, 3.0, 1.0])), path)
    out = scan2gene.run(_open(study), tmp_path / "run", until="preprocess")
    found = _planned(out)["fingerprint"]
    margin = 2 * 4 * np.array([2.0, 2.0, 3.0])
    assert found["body"] == pytest.approx(np.array([80, 60, 72]) + margin, abs=3)
    assert found["believed"]
    steps = {s["name"]: s["options"] for s in _planned(out)["chosen"]["preprocess"]}
    spacing, shape = np.array(steps["resample"]["spacing_mm"]), np.array(steps["crop_or_pad"]["shape"])
    assert (spacing == (2, 2, 3)).all()
    assert (np.abs(spacing * shape - found["body"]) <= spacing * MULTIPLE / 2 + 0.1).all()


def test_a_field_too_thin_to_be_true_is_stretched(tmp_path):
    study = nifti_study(tmp_path)
    rng = np.random.default_rng(1)
    for path in (tmp_path / "scans").rglob("*.nii.gz"):
        array = rng.normal(50, 5, (48, 48, rng.integers(8, 12))).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([-4.0, -4.0, 1.0, 1.0])), path)
    out = scan2gene.run(_open(study), tmp_path / "run", until="plan")
    assert [s["name"] for s in _planned(out)["chosen"]["preprocess"]][-3] == "resize"
    assert "too thin to be true" in _planned(out)["why"]["preprocess"]


def test_what_is_set_is_kept_and_a_plan_is_made_once(tmp_path):
    study, out = nifti_study(tmp_path), tmp_path / "run"
    scan2gene.run(study, out, until="plan", changes=["data.batch_size=3", "data.augment=[]"])
    assert _planned(out)["chosen"] == {}
    before = json.loads((out / "study.json").read_text())
    assert (before["data"]["batch_size"], before["data"]["augment"]) == (3, [])
    edit(study, runs=[])
    scan2gene.run(study, out, until="plan")
    trained = {f"train.{k}" for k in ("patience", "schedule", "optimizer", "learning_rate", "weight_decay")}
    assert set(_planned(out)["chosen"]) == {
        "runs", "features", "data.batch_size", "data.augment", "train.accumulate", *trained
    }  # fmt: skip
    stamp = (out / "plan.json").stat().st_mtime_ns
    scan2gene.run(study, out, until="preprocess")
    assert (out / "plan.json").stat().st_mtime_ns == stamp


def test_planned_splits_are_kept_and_others_refused(tmp_path):
    study, out = _open(nifti_study(tmp_path)), tmp_path / "run"
    table = pd.read_csv(tmp_path / "labels.csv")
    table["gene"] = (table.index < 6).astype(int)
    table.to_csv(tmp_path / "labels.csv", index=False)
    scan2gene.run(study, out, until="split")
    assert pd.read_csv(out / "split.csv")["fold"].nunique() == 3  # six patients of the rarer class
    scan2gene.run(study, out, until="split")
    with pytest.raises(RunError, match=r"other settings \(splits\)"):
        scan2gene.run(study, out, until="split", changes=["splits=[{name: cv, kind: kfold, folds: 4}]"])


@given(st.tuples(*[st.floats(20, 500)] * 3), st.tuples(*[st.floats(0.3, 8)] * 3), st.sampled_from([20_000, 150_000]))
def test_a_grid_spans_the_extent_within_its_voxels(extent, spacing, voxels):
    new, shape = grid(extent, spacing, voxels)
    assert all(n % MULTIPLE == 0 and n >= 2 * MULTIPLE for n in shape)
    assert all(a >= b - 0.1 for a, b in zip(new, spacing, strict=True))
    assert (np.array(new) * shape >= np.array(extent) - 1e-6).all()
    wide = np.array(shape) > 2 * MULTIPLE
    assert (np.abs(np.array(new) * shape - extent)[wide] <= np.array(new)[wide] * (MULTIPLE / 2) + 1e-6).all()
    if (np.array(extent) / new > 3 * MULTIPLE).all():
        assert np.prod(shape) < 2 * voxels


def test_an_odd_voxel_size_decides_no_plan_and_is_named(tmp_path, capsys):
    """One exam 5 times too large: no size that is impossible, but unlike all others."""
    study = nifti_study(tmp_path)
    paths = sorted((tmp_path / "scans").rglob("*.nii.gz"))
    rng = np.random.default_rng(1)
    for n, path in enumerate(paths):
        array = rng.normal(5, 1, (32, 30, 20)).clip(0).astype(np.float32)
        array[6:26, 8:22, 4:16] += 200
        scale = 5 if n == 0 else 1
        nib.save(nib.Nifti1Image(array, np.diag([-2.0 * scale, -2.0 * scale, 3.0 * scale, 1.0])), path)
    plans = []
    for name in ("with", "without"):
        plans.append(_planned(scan2gene.run(_open(study), tmp_path / name, until="plan"))["fingerprint"])
        paths[0].unlink(missing_ok=True)
    assert plans[0]["outliers"] == 1
    for key in ("spacing", "field", "body"):
        assert plans[0][key] == pytest.approx(plans[1][key], rel=0.1)
    warnings = [line for line in capsys.readouterr().out.splitlines() if "warning" in line and "field of view" in line]
    assert len(warnings) == 1
