"""A target of four classes, from label table to report: found where it is planted, not where it is drawn at random."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

import scan2gene
from scan2gene.core.rundir import RunDirectory
from tests.integration.road import shell

CLASSES = {"luminal_a": ["Luminal A"], "luminal_b": ["Luminal B", "LumB"], "her2": ["HER2"], "basal": ["TNBC"]}
NAMES = list(CLASSES)
SHAPE = (18, 16, 9)
SIZES = (18, 16, 14, 12)


def write_patients(folder: Path, sizes=SIZES, seed: int = 0, first: int = 0) -> pd.DataFrame:
    """Two sequences, each with a bright or a dark box: the four combinations are the classes. `null` is random."""
    rng = np.random.default_rng(seed)
    rows = []
    for n, number in enumerate(rng.permutation(np.repeat(range(4), sizes)), start=first):
        for role, bright in (("t1", number // 2), ("t2", number % 2)):
            array = rng.normal(100, 8, SHAPE).astype(np.float32)
            array[:2], array[-2:] = 0, 0
            i, j, k = rng.integers(4, 9), rng.integers(2, 8), rng.integers(1, 4)
            array[i : i + 6, j : j + 6, k : k + 5] += 60 if bright else -60
            path = folder / "scans" / f"P{n:03d}" / f"{role}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([2, 2, 3, 1.0])), path)
        cell = CLASSES[NAMES[number]][-1] if n % 2 else CLASSES[NAMES[number]][0]
        null = NAMES[int(rng.integers(4))]
        rows.append(
            {"patient_id": f"P{n:03d}", "subtype": cell, "null": null, "age": 40 + 5 * number + rng.normal(0, 4)}
        )
    table = pd.DataFrame(rows)
    table.loc[[0, 1], "subtype"] = ["unknown", ""]
    table["volume"] = np.where(table["age"] > 50, "12.6", "12.5")
    table.to_csv(folder / "labels.csv", index=False)
    return table


def study_of(folder: Path, **changes) -> Path:
    named = {name: [name] for name in NAMES}
    study = {
        "name": "classes",
        "cohort": {
            "scans": ["scans"], "labels": "labels.csv", "patient_pattern": r"(P\d+)", "clinical": ["age"],
            "roles": {"t1": {"match": {"path": "t1"}}, "t2": {"match": {"path": "t2"}}},
        },
        "targets": {
            "subtype": {"classes": CLASSES}, "null": {"classes": named}, "large": {"column": "volume", "above": 12.5},
        },
        "preprocess": [{"name": "reorient", "options": {"axes": "LAS"}}, {"name": "zscore"}],
        "splits": [{"name": "cv", "kind": "kfold", "folds": 2}],
        "data": {"augment": []},
        "train": {"epochs": 25, "learning_rate": 0.005, "class_weights": "balanced"},
        "ensembles": {"both": {"members": ["net", "age"]}},
        "evaluate": {"bootstrap": 200, "shuffles": 19},
        "explain": {"exams": 1, "targets": ["subtype"]},
        "runs": [
            {"name": "net", "model": {"name": "light_cnn"}},
            {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
        ],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("classes")


@pytest.fixture(scope="module")
def table(folder) -> pd.DataFrame:
    return write_patients(folder)


@pytest.fixture(scope="module")
def finished(folder, table) -> RunDirectory:
    return RunDirectory(scan2gene.run(study_of(folder), folder / "run"))


def _test_rows(run: RunDirectory, name: str, target: str) -> pd.DataFrame:
    rows = run.predictions.read()
    return rows[
        (rows["run_id"] == name) & (rows["target"] == target) & (rows["part"] == "test")
        & (rows["variant"] == "original") & rows["y_true"].notna()
    ]  # fmt: skip


def test_labels_hold_the_class_of_each_patient(finished, table):
    labels = finished.labels.read()
    own = labels[labels["target"] == "subtype"]
    cells = {cell: name for name, all_cells in CLASSES.items() for cell in all_cells}
    expected = table.loc[table["subtype"].isin(cells), "subtype"].map(cells)
    assert own["label"].value_counts().to_dict() == expected.value_counts().to_dict()
    assert [NAMES[int(v)] for v in own["value"]] == own["label"].tolist()
    large = labels[labels["target"] == "large"]
    assert large["value"].sum() == (table["volume"] == "12.6").sum()  # equal to the limit is not above it


def test_every_class_is_in_every_part(finished):
    labels = finished.labels.read()
    labels = labels[labels["target"] == "subtype"].set_index("patient_id")["label"]
    split = finished.split.read()
    counts = split.assign(label=split["patient_id"].map(labels)).groupby(["fold", "part", "label"]).size().unstack()
    assert counts.notna().all(axis=None)
    tested = counts.xs("test", level="part")
    assert (tested.max() - tested.min()).max() <= 1


def test_a_planted_signal_is_found_and_a_random_one_is_not(finished):
    for target, found in (("subtype", True), ("null", False)):
        rows = _test_rows(finished, "net", target)
        wide = rows.pivot(index="patient_id", columns="label", values="prob")[NAMES]
        np.testing.assert_allclose(wide.sum(axis=1), 1, atol=1e-9)
        truth = rows[rows["y_true"] == 1].set_index("patient_id")["label"][wide.index].map(NAMES.index)
        auroc = roc_auc_score(truth, wide, multi_class="ovr", labels=range(4))
        assert (auroc > 0.85) == found, (target, auroc)
        metrics = finished.metrics.read()
        row = metrics.query(f"run_id == 'net' and target == '{target}' and metric == 'auroc_macro'").iloc[0]
        assert (row["low"] > 0.5) == found
    each = finished.metrics.read().query("run_id == 'net' and metric == 'auroc'").set_index("target")["value"]
    assert {f"subtype:{n}" for n in NAMES} <= set(each.index)


def test_confusion_counts_every_labelled_patient_once(finished, table):
    counts = pd.read_csv(finished.path / "confusion.csv")
    own = counts[(counts["run_id"] == "net") & (counts["target"] == "subtype")]
    known = table["subtype"].isin([c for cells in CLASSES.values() for c in cells])
    assert own["n"].sum() == known.sum()
    right = own.loc[own["true"] == own["predicted"], "n"].sum()
    assert right / own["n"].sum() > 0.6


def test_an_ensemble_of_classes_adds_up_to_one(finished):
    rows = _test_rows(finished, "both", "subtype")
    assert rows.groupby("patient_id")["prob"].sum().to_numpy() == pytest.approx(1, abs=1e-9)


def test_maps_are_made_for_each_class(finished):
    maps = pd.read_csv(finished.path / "explain" / "maps.csv")
    assert {f"subtype:{n}" for n in NAMES} <= set(maps["target"])


def test_the_report_names_every_class_and_a_verdict_on_the_whole(finished):
    page = finished.report.path.read_text(encoding="utf-8")
    for name in NAMES:
        assert name in page
    verdicts = {v["target"]: v["kind"] for v in finished.verdicts.read()}
    assert verdicts["subtype"] not in ("chance", "worse", "unknown", "leak")
    assert verdicts["null"] == "chance"
    assert {f"{t}:{n}" for t in ("subtype", "null") for n in NAMES} <= set(verdicts)


def test_new_exams_get_a_probability_for_each_class(finished, tmp_path):
    write_patients(tmp_path, (2, 2, 2, 2), seed=5, first=100)
    applied = scan2gene.apply(finished.path, tmp_path / "scans", tmp_path / "answers", run="net", force=True)
    own = applied.summary[applied.summary["target"] == "subtype"]
    assert own.groupby("patient_id")["prob"].sum().to_numpy() == pytest.approx(1, abs=1e-6)
    assert (own["decision"] == "positive").groupby(own["patient_id"]).sum().tolist() == [1] * 8


def test_other_patients_judge_it(finished, tmp_path, monkeypatch):
    write_patients(tmp_path, (5, 5, 5, 5), seed=9, first=200)
    other = study_of(tmp_path, name="elsewhere")
    assert not shell(monkeypatch, "external", finished.path, other, "-o", tmp_path / "external")
    scores = pd.read_csv(tmp_path / "external" / "scores.csv")
    assert {"luminal_a", "basal"} <= set(scores["label"])


def test_slices_and_their_fusion(folder, table):
    runs = [{"name": "flat", "model": {"name": "light_cnn2d"}, "data": {"slices": {"per_patient": 4, "fusion": [
        {"name": "mean"}, {"name": "attention"}, {"name": "late"}]}}}]  # fmt: skip
    only = {"subtype": {"classes": CLASSES}}
    changes = {"runs": runs, "targets": only, "train": {"epochs": 1}, "ensembles": {}, "explain": {"exams": 1}}
    run = RunDirectory(scan2gene.run(study_of(folder, name="slices", **changes), folder / "slices"))
    rows = run.predictions.read()
    rows = rows[(rows["target"] == "subtype") & (rows["unit"] == "exam")]
    assert set(rows["variant"]) == {"original", "attention", "late"}
    total = rows.groupby(["variant", "fold", "exam_id"])["prob"].sum(min_count=1)
    assert total.to_numpy() == pytest.approx(1, abs=1e-9)


def test_runs_are_compared_by_class(finished, tmp_path, monkeypatch):
    assert not shell(monkeypatch, "compare", finished.path, "-o", tmp_path / "compared")
    compared = json.loads((tmp_path / "compared" / "results.json").read_text())
    targets = {r["target"] for r in compared["runs"]}
    assert {"subtype", "subtype:her2", "large"} <= targets
    whole = {r["file"]: r["auroc"] for r in compared["runs"] if r["target"] == "subtype"}
    metrics = finished.metrics.read().query("target == 'subtype' and metric == 'auroc_macro' and variant == 'original'")
    assert whole["predictions.parquet#net"] == pytest.approx(metrics.set_index("run_id").loc["net", "value"])


def test_each_side_has_its_class(tmp_path):
    rng = np.random.default_rng(3)
    rows = []
    for n in range(36):
        array = rng.normal(100, 8, (24, 12, 8)).astype(np.float32)
        row = {"patient_id": f"P{n:03d}"}
        for side, start in (("left", 4), ("right", 16)):  # columns grow to the right
            number = int(rng.integers(3))
            array[start : start + 5, 4:9, 2:6] += (-60, 0, 60)[number]
            row[side] = ["none", "benign", "malignant"][number]
        path = tmp_path / "scans" / row["patient_id"] / "t1.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.diag([1, 1, 2, 1.0])), path)
        rows.append(row)
    pd.DataFrame(rows).to_csv(tmp_path / "labels.csv", index=False)
    target = {"left": "left", "right": "right", "classes": {n: [n] for n in ("none", "benign", "malignant")}}
    cohort = {"scans": ["scans"], "labels": "labels.csv", "patient_pattern": r"(P\d+)",
              "roles": {"t1": {"match": {"path": "t1"}}}}  # fmt: skip
    study = study_of(
        tmp_path, cohort=cohort, targets={"finding": target}, predict={"flips": ["i"]}, ensembles={},
        runs=[{"name": "net", "model": {"name": "light_cnn"}}], explain={"exams": 0},
        data={"augment": [{"name": "flip"}]}, train={"epochs": 20, "learning_rate": 0.005},
    )  # fmt: skip
    run = RunDirectory(scan2gene.run(study, tmp_path / "run", until="evaluate"))
    rows = _test_rows(run, "net", "finding")
    assert rows.groupby(["patient_id", "side"])["prob"].sum().to_numpy() == pytest.approx(1, abs=1e-9)
    auroc = run.metrics.read().query("variant == 'original' and target == 'finding' and metric == 'auroc_macro'")
    assert auroc["value"].iloc[0] > 0.7


def test_a_class_that_no_test_patient_has_gets_a_reason(tmp_path):
    write_patients(tmp_path, (10, 10, 9, 3))
    study = study_of(
        tmp_path, targets={"subtype": {"classes": CLASSES}}, ensembles={}, explain={"exams": 0},
        runs=[{"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}}],
        splits=[{"name": "cv", "kind": "holdout", "test_fraction": 0.1}],
    )  # fmt: skip
    run = RunDirectory(scan2gene.run(study, tmp_path / "run"))
    basal = run.metrics.read().query("target == 'subtype:basal' and metric == 'auroc'").iloc[0]
    assert np.isnan(basal["value"])
    assert basal["reason"]
