"""A trained run meets exams that it has never seen: of its own kind, of other kinds, and its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

import scan2gene
from scan2gene.commands.external import external
from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.data.images import read_stored, to_input
from scan2gene.models.networks import build_network
from scan2gene.phantom.exams import write_cohort, write_exam
from scan2gene.phantom.patients import draw_patients
from scan2gene.tasks.run_config import resolve
from tests.integration.road import FOLDS, nifti_study, phantom_study, shell

FIRST = ["run_id", "split", "repeat", "fold", "exam_id", "target"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return scan2gene.run(phantom_study(folder, 24, effect=2.0, seed=3, epochs=2), folder / "run", until="evaluate")


@pytest.fixture(scope="module")
def new(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("new")
    write_cohort(folder, 14, 2.0, seed=91)  # six and more of each class, or nothing is said of them
    return folder


@pytest.fixture(scope="module")
def applied(run, new):
    return scan2gene.apply(run, new / "scans")


def spoilt(folder: Path, change: Callable[[pydicom.Dataset], None]) -> Path:
    """Two new exams, every slice changed."""
    write_cohort(folder, 2, 2.0, seed=92)
    for path in (folder / "scans").rglob("*.dcm"):
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
    return folder / "scans"


def test_new_exams_of_the_same_kind_are_predicted(run, applied):
    assert (applied.summary["status"] == "ok").mean() >= 0.9
    assert applied.folder == run / "apply" / "scans"
    table = pd.read_parquet(applied.folder / "predictions.parquet")
    assert list(table.columns) == list(PREDICTION_COLUMNS)
    assert set(table["part"]) == {"apply"} and table["y_true"].isna().all()
    assert len(table) == 14 * (FOLDS + 1)  # and their ensemble
    assert set(table["run_id"]) == {"light-lesion"}
    assert any("age is skipped" in note for note in applied.notes)
    assert any("training exams" in note for note in applied.notes)
    assert len(pd.read_csv(applied.folder / "predictions.csv")) == len(table)


def test_new_exams_are_predicted_without_training_code(run, new, tmp_path):
    code = "import sys, scan2gene; scan2gene.apply(*sys.argv[1:3], out=sys.argv[3]); "
    code += "print([name for name in sys.modules if name.startswith('scan2gene.train')])"
    words = [sys.executable, "-c", code, run, new / "scans", tmp_path / "answers"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()[-1] == "[]"


def test_probabilities_are_those_of_the_networks_called_by_hand(run, applied):
    study = Study.model_validate(json.loads((run / "study.json").read_text()))
    config = resolve(study, study.runs[0])
    table = applied.predictions[applied.predictions["status"] == "ok"]
    (store,) = (applied.folder / "store").iterdir()
    manifest = pd.read_csv(store / "manifest.csv", dtype=str).query("role == 't1c'").set_index("exam_id")["file"]
    exams = list(table["exam_id"].unique())
    images = torch.stack([torch.from_numpy(read_stored(store / manifest[e]).copy())[None] for e in exams])
    present = torch.ones(len(exams), 1)
    logits = []
    for fold in range(FOLDS):
        network = build_network(config).eval()
        network.load_state_dict(torch.load(run / f"experiments/light-lesion/cv-r0-f{fold}/best.pt", weights_only=True))
        with torch.inference_mode():
            logits.append(network(to_input(images, present), present)[:, 0].double().numpy())
        mine = table[table["fold"] == fold].set_index("exam_id").loc[exams]
        np.testing.assert_allclose(mine["logit"].astype(float), logits[-1], atol=1e-5)
        np.testing.assert_allclose(mine["prob"].astype(float), 1 / (1 + np.exp(-logits[-1])), atol=1e-5)
    ensemble = table[table["variant"] == "ensemble"].set_index("exam_id").loc[exams]
    np.testing.assert_allclose(ensemble["logit"].astype(float), np.mean(logits, axis=0), atol=1e-5)


@pytest.fixture(scope="module")
def with_mask(tmp_path_factory) -> Path:
    """A run whose study has a mask, which one network never reads, and new exams without masks."""
    folder = tmp_path_factory.mktemp("readers")
    study = nifti_study(folder, 16, train={"epochs": 1})
    for scan in sorted((folder / "scans").rglob("t1.nii.gz")):
        mask = np.zeros((12, 12, 10), np.uint8)
        mask[4:8, 4:8, 3:7] = 1
        nib.save(nib.Nifti1Image(mask, np.eye(4)), scan.with_name("mask.nii.gz"))
    given = yaml.safe_load(study.read_text())
    given["cohort"]["roles"]["mask"] = {"match": {"path": r"mask\.nii"}, "kind": "label"}
    given["cohort"]["min_lesion"] = {"role": "mask", "volume_mm3": 10}
    crop = [{"name": "crop_to_mask", "options": {"mask": "mask", "shape": [8, 8, 8]}}, {"name": "zscore"}]
    given["runs"].append({"name": "cropped", "model": {"name": "light_cnn"}, "preprocess": crop})
    study.write_text(yaml.safe_dump(given))
    (folder / "new").mkdir()
    for patient in ("P901", "P902"):
        shutil.copytree(folder / "scans" / "P001", folder / "new" / patient)
        (folder / "new" / patient / "mask.nii.gz").unlink()
    return scan2gene.run(study, folder / "run", until="train")


def test_a_mask_is_needed_by_those_networks_only_that_read_it(with_mask):
    new = with_mask.parent / "new"
    both = scan2gene.apply(with_mask, new, new.parent / "both", force=True).summary.set_index("run_id")
    assert both.loc["light", "status"].tolist() == ["ok", "ok"] and both.loc["light", "prob"].notna().all()
    assert both.loc["cropped", "status"].tolist() == ["refused", "refused"]
    assert both.loc["cropped", "reason"].str.contains("lacks mask").all()
    alone = scan2gene.apply(with_mask, new, new.parent / "alone", run="light", force=True).summary
    assert alone["status"].tolist() == ["ok", "ok"]
    none = scan2gene.apply(with_mask, new, new.parent / "none", run="cropped", force=True).summary
    assert none["status"].tolist() == ["refused", "refused"] and none["reason"].str.contains("lacks mask").all()


def test_a_study_file_needs_the_roles_that_are_read_and_no_others(with_mask, tmp_path):
    given = yaml.safe_load((with_mask.parent / "study.yaml").read_text())
    given["cohort"] |= {"scans": [str(with_mask.parent / "new")], "labels": str(with_mask.parent / "labels.csv")}
    given["cohort"].pop("min_lesion")
    given["runs"] = given["runs"][:1]
    scans, file = with_mask.parent / "new", tmp_path / "other.yaml"
    mask = given["cohort"]["roles"].pop("mask")
    file.write_text(yaml.safe_dump(given))
    found = scan2gene.apply(with_mask, scans, tmp_path / "a", run="light", study=file, force=True).summary
    assert found["status"].tolist() == ["ok", "ok"]
    with pytest.raises(StudyError, match="has no role mask"):
        scan2gene.apply(with_mask, scans, tmp_path / "b", run="cropped", study=file)
    given["cohort"]["roles"] |= {"mask": mask | {"kind": "intensity"}}
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(StudyError, match="mask is of kind intensity"):
        scan2gene.apply(with_mask, scans, tmp_path / "c", study=file)


def test_another_labelled_cohort_is_a_test_without_training(run, new, applied, tmp_path):
    """Against AUROCs computed by hand; in the folder where the same exams are prepared already."""
    other = yaml.safe_load((run.parent / "study.yaml").read_text()) | {"name": "elsewhere"}
    other["cohort"] |= {"scans": [str(new / "scans")], "labels": str(new / "labels.csv")}
    study = tmp_path / "other.yaml"
    study.write_text(yaml.safe_dump(other))
    found = external(run, study, applied.folder, other_patients=True)
    (moved,) = found.transfers
    truth = pd.read_csv(new / "labels.csv").set_index("patient_id")["mutation"]
    far = pd.read_parquet(applied.folder / "predictions.parquet").query("target == @moved.target")
    auroc = far.groupby(["variant", "fold"]).apply(lambda t: roc_auc_score(truth[t["patient_id"]], t["prob"]))
    assert moved.outside.value == pytest.approx(auroc["ensemble"].iloc[0])
    assert moved.single.value == pytest.approx(auroc["original"].mean())
    assert moved.drop.value == pytest.approx(moved.inside.value - moved.single.value)
    assert (moved.networks, moved.n[1]) == (FOLDS, 14)
    assert moved.decisions["recall"][1].value is not None
    assert 0 <= moved.domain.value <= 1
    assert {s.kind for s in found.shifts} >= {"label", "clinical", "grey"}
    assert found.said[0].startswith("light-lesion, mutation. At the external cohort elsewhere")
    page = (applied.folder / "report.html").read_text()
    assert "elsewhere" in page and "nan" not in page.lower().split() and "://" not in page


def test_decisions_are_those_of_the_median_threshold(run, applied):
    cuts = pd.DataFrame(json.loads((run / "thresholds.json").read_text()))
    cut = cuts[cuts["run_id"] == "light-lesion"]["threshold"].median()
    rows = applied.summary[applied.summary["status"] == "ok"]
    assert (rows["threshold"] == cut).all()
    assert ((rows["prob"] >= cut) == (rows["decision"] == "positive")).all()


def test_on_its_own_exams_a_run_predicts_what_it_predicted(run):
    study = Study.model_validate(json.loads((run / "study.json").read_text()))
    again = scan2gene.apply(run, study.cohort.scans, run / "apply" / "own", force=True)
    before = pd.read_parquet(run / "predictions.parquet").query("run_id == 'light-lesion'").set_index(FIRST)
    rows = again.predictions[again.predictions["variant"] == "original"]
    after = rows.astype({"repeat": int, "fold": int}).set_index(FIRST)
    assert before.index.isin(after.index).all()
    pd.testing.assert_series_equal(after.loc[before.index, "logit"], before["logit"], check_exact=True)
    assert any("run's own" in note for note in again.notes)
    # what curation leaves out for its scans is refused with curation's reason; the unlabelled patient is an exam
    listed = again.summary.set_index("patient_id")
    assert listed.loc["SYN-9000", "status"] == "ok"
    refused = again.summary[again.summary["status"] == "refused"]
    assert refused["prob"].isna().all()
    reasons = " ".join(refused["reason"])
    assert "StudyDescription lacks /BILATERAL/" in reasons and "slice is missing" in reasons
    assert refused["exam_id"].str.endswith("notes.dcm").any()


def thicker(data):
    normal = np.cross(data.ImageOrientationPatient[:3], data.ImageOrientationPatient[3:]).astype(float)
    place = np.array(data.ImagePositionPatient, float)
    data.ImagePositionPatient = [f"{v:.6g}" for v in place + normal * (place @ normal)]
    data.SliceThickness, data.SpacingBetweenSlices = 2 * data.SliceThickness, 2 * data.SpacingBetweenSlices


def inverted(data):
    data.PixelData = (4095 - data.pixel_array).astype(np.uint16).tobytes()


def noisy(data):
    voxels = data.pixel_array.astype(float)
    rng = np.random.default_rng(int(data.InstanceNumber))
    real, imaginary = rng.normal(0, 0.3 * voxels.std() + 100, (2, *voxels.shape))
    data.PixelData = np.clip(np.hypot(voxels + real, imaginary), 0, 4095).astype(np.uint16).tobytes()


@pytest.mark.parametrize(
    ("change", "named"),
    [(thicker, "slice spacing"), (inverted, "median grey value"), (noisy, "roughness")],
    ids=["slices twice as thick", "inverted", "noise"],
)
def test_scans_of_another_kind_are_refused_by_what_differs(run, tmp_path, change, named):
    found = scan2gene.apply(run, spoilt(tmp_path, change), tmp_path / "out")
    assert list(found.summary["status"]) == ["refused", "refused"]
    assert found.predictions["logit"].isna().all() and (found.summary["decision"] == "").all()
    for reason in found.summary["reason"]:
        assert named in reason and "outside what training saw (" in reason


def test_another_organ_is_refused_unless_forced(run, tmp_path):
    for patient in draw_patients(2, 2.0, "brain", 93):  # labelled as the breast scans are, so only its looks tell
        write_exam(tmp_path / "scans" / patient.patient_id, patient, ("t1c",), "MR BREAST BILATERAL")
    found = scan2gene.apply(run, tmp_path / "scans", tmp_path / "out")
    assert set(found.summary["status"]) == {"refused"}
    assert found.summary["reason"].str.contains("field of view R-L 1(?:6|7)").all()
    forced = scan2gene.apply(run, tmp_path / "scans", tmp_path / "out", force=True)
    assert set(forced.summary["status"]) == {"ok"}
    assert forced.summary["prob"].between(0, 1).all()
    assert forced.summary["reason"].str.startswith("forced: t1c: field of view R-L").all()


def test_what_is_no_mr_or_lacks_a_role_is_refused(run, tmp_path):
    def as_ct(data):
        data.Modality = "CT"

    scans = spoilt(tmp_path, as_ct)
    for path in scans.rglob("SYN-0001/s01/*.dcm"):
        data = pydicom.dcmread(path)
        data.Modality = "MR"
        data.save_as(path)
    next(scans.rglob("SYN-0001/mask.nii.gz")).unlink()
    found = scan2gene.apply(run, scans, tmp_path / "out", force=True)  # nothing is there to be forced
    reasons = found.summary.groupby("patient_id")["reason"].agg(" ".join)
    assert set(found.summary["status"]) == {"refused"} and found.summary["prob"].isna().all()
    assert "modality CT is not MR" in reasons["SYN-0000"]
    assert reasons["SYN-0001"] == "exam lacks mask"


def test_real_exams_are_refused(run, tmp_path, shared_data):
    """One glioblastoma exam whose names do not fit, and gliomas whose names are made to fit by a study file."""
    other = scan2gene.apply(run, shared_data / "tcia_brain_tumor_progression_dicom", tmp_path / "gbm")
    assert set(other.summary["status"]) == {"refused"}
    assert other.summary["reason"].str.contains("BILATERAL").any()
    study = yaml.safe_load((run.parent / "study.yaml").read_text())
    del study["cohort"]["include"]
    study["cohort"]["patient_pattern"] = r"(TCGA-\w\w-\w{4})"
    study["cohort"]["roles"]["t1c"]["match"] = {"path": "t1c"}
    (tmp_path / "lgg.yaml").write_text(yaml.safe_dump(study))
    images = sorted((shared_data / "tcga_lgg" / "images").iterdir())[:2]
    glioma = scan2gene.apply(run, images, tmp_path / "lgg", study=tmp_path / "lgg.yaml")
    assert sorted(glioma.summary["patient_id"]) == [p.name for p in images]
    assert set(glioma.summary["status"]) == {"refused"}
    assert glioma.summary["reason"].str.contains("field of view").all()


def test_what_was_learned_is_kept_and_learned_again_when_the_cohort_changes(run, applied, monkeypatch):
    from scan2gene.predict import familiar

    kept = run / "apply" / "familiar.json"
    before = kept.read_bytes()
    study = Study.model_validate(json.loads((run / "study.json").read_text()))
    (store,) = RunDirectory(run).stores()
    roles = study.cohort.roles
    with monkeypatch.context() as patch:
        patch.setattr(familiar, "measure", lambda *_: pytest.fail("measured again"))
        known = familiar.of_training(RunDirectory(run), "cv", store, roles)
    copy = run.parent / "copy"
    (copy / "apply").mkdir(parents=True)
    for name in ("series.csv", "cohort.csv", "split.csv"):
        (copy / name).write_bytes((run / name).read_bytes())
    (copy / "apply" / "familiar.json").write_bytes(before)
    cohort = pd.read_csv(copy / "cohort.csv", dtype=str)
    cohort[10:].to_csv(copy / "cohort.csv", index=False)
    fewer = familiar.of_training(RunDirectory(copy), "cv", store, roles)
    learned_from = set(pd.read_csv(run / "split.csv", dtype=str).query("part == 'train'")["patient_id"])
    assert fewer.ranges.exams == cohort[10:]["patient_id"].isin(learned_from).sum() < known.ranges.exams
    assert kept.read_bytes() == before


def test_command_line_and_what_it_refuses(run, tmp_path, capsys, monkeypatch):
    write_cohort(tmp_path, 1, 2.0, seed=94)
    assert shell(monkeypatch, "apply", run, tmp_path / "scans", "-o", tmp_path / "out") == ""
    said = capsys.readouterr().out
    assert "SYN-0000" in said and "not for clinical use" in said and "Phantom" not in said
    assert "another run" in shell(monkeypatch, "apply", run, run.parent / "cohort", "-o", tmp_path / "out")
    assert "among the scans" in shell(monkeypatch, "apply", run, tmp_path, "-o", tmp_path / "out")
    assert "holds no study.json" in shell(monkeypatch, "apply", tmp_path, tmp_path)
    assert "valid: age, light-lesion" in shell(monkeypatch, "apply", run, tmp_path, "--run", "heavy")
    assert "valid: cv" in shell(monkeypatch, "apply", run, tmp_path, "--split", "holdout")
    assert "Only networks" in shell(monkeypatch, "apply", run, tmp_path, "--run", "age")
    network = run / "experiments" / "light-lesion" / "cv-r0-f0" / "best.pt"
    whole = network.read_bytes()
    network.write_bytes(whole[:-1])
    with pytest.raises(RunError, match="not whole"):
        scan2gene.apply(run, tmp_path / "scans", tmp_path / "out")
    network.write_bytes(whole)
