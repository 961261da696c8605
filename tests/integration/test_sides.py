"""Findings per side, from label table to report: the network tells which side, mirrored copies and all."""

from __future__ import annotations

import html
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.commands.plan import plan
from scan2gene.core.errors import StudyError
from scan2gene.evaluate.ensemble import repeat_ensembles, run_ensembles
from tests.integration.road import edit, shell

SHAPE = (40, 12, 8)  # RAS: i grows to the right
PATIENTS = 48


def sided_study(folder: Path, by_row: bool = False, **changes) -> Path:
    """Bright boxes in the left or right half, far from the border of the field; half of the scans stored mirrored."""
    rng = np.random.default_rng(0)
    found = {}
    for n in range(PATIENTS):
        array = rng.normal(100, 10, SHAPE).astype(np.float32)
        has = {"L": bool(rng.random() < 0.5), "R": bool(rng.random() < 0.5)}
        for side, start in (("L", 9), ("R", 27)):
            if has[side]:
                i, j, k = start + rng.integers(-2, 3), rng.integers(3, 6), rng.integers(2, 4)
                array[i : i + 4, j : j + 4, k : k + 3] += 80
        affine = np.eye(4)
        if n % 2:  # i grows to the left
            array, affine = array[::-1], np.diag([-1.0, 1, 1, 1])
            affine[0, 3] = SHAPE[0] - 1
        path = folder / "scans" / f"P{n:03d}" / "t1.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        found[f"P{n:03d}"] = has
    if by_row:
        rows = [(p, {"L": "left breast", "R": "Right"}[s], int(v)) for p, has in found.items() for s, v in has.items()]
        table, target = pd.DataFrame(rows, columns=["patient_id", "side", "lesion"]), {}
    else:
        rows = [(p, int(has["L"]), int(has["R"])) for p, has in found.items()]
        table, target = pd.DataFrame(rows, columns=["patient_id", "l", "r"]), {"left": "l", "right": "r"}
    table.to_csv(folder / "labels.csv", index=False)
    cohort = {"scans": ["scans"], "labels": "labels.csv", "patient_pattern": r"(P\d+)",
              "roles": {"t1": {"match": {"path": "t1"}}}}  # fmt: skip
    study = {
        "name": "sided", "question": "Which side?",
        "cohort": cohort | ({"side_column": "side"} if by_row else {}),
        "targets": {"lesion": target},
        "preprocess": [{"name": "reorient", "options": {"axes": "LAS"}}, {"name": "zscore"}],
        "splits": [{"name": "cv", "kind": "kfold", "folds": 2}],
        "data": {"augment": [{"name": "flip"}]},
        "predict": {"flips": ["i"]},
        "train": {"epochs": 8, "patience": 8, "learning_rate": 0.003},
        "evaluate": {"bootstrap": 200},
        "runs": [{"name": "light", "model": {"name": "light_cnn", "options": {"dropout": 0.0}}}],
    }  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study | changes, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sided")
    return scan2gene.run(sided_study(folder), folder / "run")


@pytest.mark.parametrize("variant", ["original", "tta"])
def test_the_network_tells_the_side(out, variant):
    metrics = pd.read_csv(out / "metrics.csv")
    row = metrics[(metrics["metric"] == "auroc") & (metrics["variant"] == variant)].iloc[0]
    assert row["value"] > 0.8
    assert (row["n"], row["n_units"]) == (PATIENTS, 2 * PATIENTS)
    table = pd.read_parquet(out / "predictions.parquet")
    tested = table[(table["part"] == "test") & (table["variant"] == variant)]
    sides = tested.pivot(index="patient_id", columns="side", values=["y_true", "logit"])
    one = sides[sides[("y_true", "L")] != sides[("y_true", "R")]]
    assert len(one) > 15
    higher = one[("logit", "L")] > one[("logit", "R")]
    assert (higher == (one[("y_true", "L")] == 1)).mean() > 0.8  # within the patient: nothing but the side differs


def test_the_table_has_both_sides_of_every_exam_and_variant(out):
    table = pd.read_parquet(out / "predictions.parquet")
    assert (table.groupby(["variant", "fold", "exam_id"])["side"].agg("".join) == "LR").all()
    assert set(table["unit"]) == {"side"}
    assert (table["unit_id"] == table["exam_id"] + ":" + table["side"]).all()
    labels = pd.read_csv(out.parent / "labels.csv").set_index("patient_id")
    known = [labels.loc[p, s.lower()] for p, s in zip(table["patient_id"], table["side"], strict=True)]
    np.testing.assert_array_equal(table["y_true"], known)


def test_embeddings_stand_for_every_exam_of_every_network(out):
    table = pd.read_parquet(out / "embeddings.parquet")
    assert len(table) == 2 * PATIENTS
    assert set(table["embedding"].map(len)) == {2 * 192}  # both halves
    split = pd.read_csv(out / "split.csv")
    both = table.merge(split, on=["split", "repeat", "fold", "patient_id"], suffixes=("", "_split"))
    assert (both["part"] == both["part_split"]).all()
    assert len(both) == len(table)


def test_the_report_speaks_of_sides_and_names_the_variant(out):
    page = (out / "report.html").read_text()
    assert f"{PATIENTS} test patients with {2 * PATIENTS} sides" in page
    assert "light, tta" in page
    assert "lesion (sides)" in page


def test_maps_lie_on_the_side_that_they_explain(out):
    maps = pd.read_csv(out / "explain" / "maps.csv")
    assert set(maps["side"]) == {"L", "R"}
    drawn = maps[maps["drawn"]]
    assert drawn.groupby(["fold", "method"])["patient_id"].apply(lambda p: p.is_unique).all()
    shown = maps[maps["map"].notna() & maps["reason"].isna()]
    assert len(shown) >= 8
    for row in shown.itertuples():
        image = nib.load(out / row.map_on_scan)
        array = np.asarray(image.dataobj)
        places = np.argwhere(array > 0)
        x = nib.affines.apply_affine(image.affine, places)[:, 0] - (SHAPE[0] - 1) / 2
        assert (x <= 0.5).all() if row.side == "L" else (x >= -0.5).all()
    assert re.search(r"patient's (left|right)", html.unescape((out / "report.html").read_text()))


def test_rows_per_side_give_the_same_study(out, tmp_path):
    study = sided_study(tmp_path, by_row=True)
    run = scan2gene.run(study, tmp_path / "run", until="split")
    for name in ("split.csv", "split_table.csv"):
        own, other = (pd.read_csv(folder / name) for folder in (out, run))
        pd.testing.assert_frame_equal(own, other)
    one, two = (pd.read_csv(f / "labels.csv").set_index(["patient_id", "side"])["value"] for f in (out, run))
    pd.testing.assert_series_equal(one.sort_index(), two.sort_index())
    row = plan(study, tmp_path / "run", limit=0).targets.iloc[0]
    labels = pd.read_csv(run / "labels.csv")
    assert (row["unit"], row["positive"]) == ("side", (labels["value"] == 1).sum())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preprocess": [{"name": "zscore"}]}, "targets with sides need the step reorient"),
        ({"preprocess": [{"name": "reorient", "options": {"axes": "ASL"}}]}, "left to right is k, but predict has"),
        (
            {"data": {"augment": [{"name": "flip", "options": {"swap_axis": "j"}}]}},
            "flip has swap_axis j",
        ),
    ],
)
def test_sides_that_would_be_mixed_up_are_refused(tmp_path, changes, message):
    study = sided_study(tmp_path, **changes)
    with pytest.raises(StudyError, match=message):
        scan2gene.run(study, tmp_path / "run")


def test_ensembles_and_a_changed_variant_train_and_pass_nothing_twice(out, tmp_path, monkeypatch, capsys):
    study = out.parent / "study.yaml"
    runs = [{"name": n, "model": {"name": "light_cnn", "options": {"dropout": d}}} for n, d in (("a", 0.0), ("b", 0.1))]
    changed = tmp_path / "study.yaml"
    changed.write_text(study.read_text())
    edit(changed, runs=runs, train={"epochs": 1}, explain={"exams": 0}, predict={"ensembles": {"both": ["a", "b"]}},
         splits=[{"name": "cv", "kind": "kfold", "folds": 2, "repeats": 2}])  # fmt: skip
    for name in ("scans", "labels.csv"):
        (tmp_path / name).symlink_to(out.parent / name)
    run = scan2gene.run(changed, tmp_path / "run")
    table = pd.read_parquet(run / "predictions.parquet")
    own, joint = table[table["variant"] == "original"], table[table["variant"] == "ensemble"]
    wanted = pd.concat([repeat_ensembles(own), run_ensembles(own, {"both": ["a", "b"]})], ignore_index=True)
    pd.testing.assert_frame_equal(joint.reset_index(drop=True), wanted)
    metrics = pd.read_csv(run / "metrics.csv")
    assert set(zip(metrics["run_id"], metrics["variant"], strict=True)) == {
        ("a", "original"), ("b", "original"), ("a", "ensemble"), ("b", "ensemble"), ("both", "ensemble"),
    }  # fmt: skip
    parts = sorted((run / "experiments").rglob("predictions.parquet"))
    assert len(parts) == 8
    before = [p.stat().st_mtime_ns for p in parts]
    parts[-1].unlink()  # as if killed before the last fold
    (run / "predictions.parquet").unlink()
    capsys.readouterr()
    assert shell(monkeypatch, "run", changed, "-o", run) == ""
    assert "both" not in capsys.readouterr().out.split("Report:")[0].split("evaluate")[-1]
    assert [p.stat().st_mtime_ns for p in parts[:-1]] == before[:-1]
    pd.testing.assert_frame_equal(pd.read_parquet(run / "predictions.parquet"), table, check_exact=True)
