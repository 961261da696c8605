"""Features of images from the study file to new exams and to another hospital."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from scan2gene.cohorts.draft import draft
from scan2gene.commands.apply import apply
from scan2gene.commands.external import external
from scan2gene.core.rundir import RunDirectory
from scan2gene.stages.pipeline import run
from tests.integration.road import edit, lesion_study, write_lesions

PATIENTS = 30


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> RunDirectory:
    """A run of features, with one exam whose mask is empty and one whose mask has a grid of its own."""
    folder = tmp_path_factory.mktemp("features")
    write_lesions(folder, PATIENTS)
    empty = nib.Nifti1Image(np.zeros((20, 22, 16), np.uint8), np.eye(4))
    nib.save(empty, folder / "scans" / "P003" / "mask.nii.gz")
    shorter = nib.Nifti1Image(np.ones((20, 22, 16), np.uint8), np.diag([1.0, 1.0, 1.3, 1.0]))
    nib.save(shorter, folder / "scans" / "P004" / "mask.nii.gz")
    return RunDirectory(run(lesion_study(folder), folder / "run", until="evaluate"))


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    folder = tmp_path_factory.mktemp("new")
    write_lesions(folder, 14, first=100, seed=5)
    return folder


def ensembles(predictions: pd.DataFrame) -> pd.DataFrame:
    return predictions[predictions["variant"] == "ensemble"].set_index(["run_id", "patient_id"]).sort_index()


def test_lesions_are_told_apart_and_age_adds_to_them(finished):
    metrics = pd.read_csv(finished.path / "metrics.csv")
    auroc = metrics[metrics["metric"] == "auroc"].set_index("run_id")["value"]
    assert auroc["image"] > 0.8 and auroc["best"] > 0.8
    assert set(auroc.index) == {"clinical", "lesion", "image", "best"}


def test_a_bad_exam_is_set_aside_with_its_reason_and_stops_nobody(finished):
    table = finished.features("lesion").read().set_index("patient_id")
    reasons = table.loc[table["status"] != "ok", "reason"].to_dict()
    assert len(table) == PATIENTS and set(reasons) == {"P003", "P004"}
    assert reasons["P003"] == "no feature can be computed: tumour is empty"
    assert "have different grids" in reasons["P004"]
    rows = finished.predictions.read()
    lost = rows[rows["patient_id"].isin(reasons) & rows["run_id"].isin(["lesion", "image", "best"])]
    assert set(lost["status"]) == {"failed"} and (lost["reason"] == lost["patient_id"].map(reasons)).all()
    assert set(rows.loc[rows["run_id"] == "clinical", "status"]) == {"ok"}
    assert not (finished.path / "features" / "unfinished.jsonl").exists()


def test_models_on_features_and_means_answer_on_altered_copies(finished):
    rows = finished.variants.read()
    assert set(rows["run_id"]) == {"lesion", "image", "best"} and set(rows["part"]) == {"test"}
    assert set(rows["variant"]) == {"erased", "background", "only_lesion", "noise"}
    assert rows["logit"].notna().all() and not {"P003", "P004"} & set(rows["patient_id"])
    scored = rows[rows["run_id"] == "image"].groupby("variant")[["prob", "y_true"]]
    auroc = {name: roc_auc_score(own["y_true"], own["prob"]) for name, own in scored}
    assert min(auroc.values()) > 0.8  # size tells the gene, and the mask stays
    original = finished.features("lesion").read().set_index("exam_id")
    copies = dict(list(finished.altered_features("lesion").read().set_index("exam_id").groupby("variant")))
    for table in copies.values():
        assert table["volume_cm3"].equals(original["volume_cm3"].reindex(table.index))
    assert copies["erased"]["t1_minus_surroundings"].max() < original["t1_minus_surroundings"].min()
    assert rows.groupby(["run_id", "variant"])["patient_id"].nunique().eq(PATIENTS - 2).all()


def test_skill_by_size_is_no_shortcut_of_features_from_inside_a_mask(finished):
    run(finished.path.parent / "study.yaml", finished.path, until="audit")
    verdict = finished.verdicts.read()[0]
    assert verdict["run"] == "best" and verdict["kind"] != "shortcut"
    assert verdict["sentences"][1].startswith(
        ("The scan is shown to add to age:", "The scan is not shown to add to age:")
    )
    assert "its mask kept" in " ".join(verdict["sentences"])


def test_altered_copies_are_measured_once(finished, monkeypatch):
    study = finished.path.parent / "study.yaml"
    monkeypatch.setattr("scan2gene.features.compute._of_exam", None)  # nothing is measured again
    for stamp in (*finished.path.glob("stages/variants__lesion*"), finished.path / "stages" / "predict.json"):
        stamp.unlink()
    before = finished.variants.hash()
    run(study, finished.path, until="predict")
    assert finished.variants.hash() == before


def test_without_an_age_best_is_not_available_and_image_answers(finished, new, tmp_path):
    found = ensembles(apply(finished.path, new / "scans", tmp_path / "out").predictions)
    assert set(found.loc["image", "status"]) == {"ok"} and found.loc["image", "prob"].notna().all()
    assert set(found.loc["best", "status"]) == {"failed"} and found.loc["best", "prob"].isna().all()
    assert found.loc["best", "reason"].str.contains("not available: age of the patient is not known").all()


def test_ages_come_from_the_table_given(finished, new, tmp_path):
    ages = pd.read_csv(new / "labels.csv")[["patient_id", "age"]].iloc[1:]
    ages.to_csv(tmp_path / "ages.csv", index=False)
    found = ensembles(apply(finished.path, new / "scans", tmp_path / "o", clinical=tmp_path / "ages.csv").predictions)
    assert found.loc[("best", "P100"), "status"] == "failed" and found.loc[("image", "P100"), "status"] == "ok"
    others = found.drop(index=[(r, "P100") for r in ("clinical", "lesion", "image", "best")])
    assert set(others["status"]) == {"ok"}


def test_the_run_s_own_exams_get_the_same_answers_again(finished, tmp_path):
    folder = finished.path.parent
    found = apply(finished.path, folder / "scans", tmp_path / "out", clinical=folder / "labels.csv", force=True)
    key = ["run_id", "fold", "patient_id"]
    again, before = (
        t[t["variant"] == "original"].set_index(key)["logit"].sort_index()
        for t in (found.predictions, finished.predictions.read())
    )
    assert len(before) == len(again)
    assert np.allclose(before, again.reindex(before.index), atol=1e-9, equal_nan=True)


def test_an_exam_unlike_those_of_training_is_refused_unless_forced(finished, tmp_path):
    write_lesions(tmp_path, 3, first=200, bright=-40.0)
    refused = ensembles(apply(finished.path, tmp_path / "scans", tmp_path / "a").predictions)
    assert set(refused.loc["image", "status"]) == {"refused"} and refused.loc["image", "prob"].isna().all()
    assert refused.loc["image", "reason"].str.contains("5 standard deviations from training exams").all()
    forced = ensembles(apply(finished.path, tmp_path / "scans", tmp_path / "b", force=True).predictions)
    assert forced.loc["image", "prob"].notna().all()
    assert forced.loc["image", "reason"].str.startswith("forced: ").all()


def test_another_hospital_gets_scores_of_image_and_best(finished, new, tmp_path):
    for name in ("scans", "labels.csv"):
        (tmp_path / name).symlink_to(new / name)
    shutil.copy(finished.path.parent / "study.yaml", tmp_path / "study.yaml")
    edit(tmp_path / "study.yaml", name="elsewhere")
    found = external(finished.path, tmp_path / "study.yaml", tmp_path / "out")
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert {"image", "best"} <= set(scores["run_id"])
    assert scores.groupby("run_id")["patient_id"].nunique().eq(14).all()
    assert scores["prob"].notna().all() and set(scores["y_true"]) == {0.0, 1.0}
    outside = {t.run: t.outside.value for t in found.transfers}
    assert outside["image"] > 0.8


def test_a_table_beside_scans_comes_on_top_of_planned_features(tmp_path):
    write_lesions(tmp_path, 12)
    ids, rng = [f"P{n:03d}" for n in range(12)], np.random.default_rng(0)
    pd.DataFrame({"patient_id": ids, "methylation": rng.normal(size=12)}).to_csv(tmp_path / "genomics.csv", index=False)
    text, _ = draft(
        tmp_path / "scans", tmp_path / "labels.csv", tmp_path / "mine.yaml", ["gene"], [tmp_path / "genomics.csv"]
    )
    (tmp_path / "mine.yaml").write_text(text)
    study = RunDirectory(run(tmp_path / "mine.yaml", tmp_path / "run", until="plan")).study()
    assert {"lesion", "radiomics", "genomics"} <= set(study.features)
    assert {"clinical", "lesion", "genomics", "image", "best"} <= {run.name for run in study.runs}
    assert study.features["genomics"].table == str(tmp_path / "genomics.csv")
