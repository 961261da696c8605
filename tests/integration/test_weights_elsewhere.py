"""Weights beside the other roads: both sides of a patient, a search, a plan, and exams that come later."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import scan2gene
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.study import Study
from scan2gene.learners import learner_of
from scan2gene.models import MODELS
from scan2gene.tasks.run_config import resolve
from tests.integration.road import edit, fit_of, nifti_study
from tests.integration.test_sides import sided_study

FIRST = ["run_id", "repeat", "fold", "exam_id", "side"]
CNN = {"name": "light_cnn", "options": {"dropout": 0.0}}
pytestmark = pytest.mark.usefixtures("no_pictures")


def _file(folder: Path, seed: int = 3) -> Path:
    """A checkpoint of a light network with random numbers."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    state = MODELS["light_cnn"](1, 1).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("head.")}, folder / "own.pth")
    return folder / "own.pth"


@pytest.fixture(scope="module")
def sided(tmp_path_factory) -> Path:
    """Targets with sides: a network that goes on learning, heads on a frozen one, and a search for which of both."""
    folder = tmp_path_factory.mktemp("sided")
    _file(folder)
    still: dict = {"augment": []}
    runs = [
        {"name": "tuned", "model": CNN, "weights": {"file": "own.pth"}},
        {"name": "probe", "model": CNN, "weights": {"file": "own.pth", "freeze": "all"}, "data": still},
        {"name": "searched", "model": CNN, "weights": {"file": "own.pth"}, "data": still, "search": {
            "over": {"weights.freeze": ["none", "all"], "train.learning_rate": [0.003]}, "trials": 2}},
    ]  # fmt: skip
    train = {"epochs": 2, "learning_rate": 0.003, "patience": 2}
    splits = [{"name": "cv", "kind": "kfold", "folds": 2}]
    study = sided_study(folder, runs=runs, train=train, splits=splits, evaluate={"bootstrap": 100})
    return scan2gene.run(study, folder / "run", until="evaluate")


def _study(out: Path) -> Study:
    return Study.model_validate(json.loads((out / "study.json").read_text()))


def test_runs_with_weights_see_both_sides(sided):
    table = pd.read_parquet(sided / "predictions.parquet")
    assert (table.groupby(["run_id", "variant", "fold", "exam_id"])["side"].agg("".join) == "LR").all()
    assert (table["status"] == "ok").all()
    # mirrored copies need images; heads on stored embeddings have none and are judged as they are
    assert set(table.loc[table["variant"] == "tta", "run_id"]) >= {"tuned"}
    assert set(table.loc[table["run_id"] == "probe", "variant"]) == {"original"}
    for run in ("tuned", "probe", "searched"):
        for fold in (sided / "experiments" / run).glob("cv-*"):
            assert json.loads((fold / "weights.json").read_text())["weights"] == "own.pth"


def test_embeddings_of_a_frozen_encoder_are_those_that_were_stored(sided):
    (stored,) = (sided / "embeddings").glob("*.parquet")  # one encoder, whoever asks
    kept = pd.read_parquet(stored).set_index("exam_id")["embedding"]
    table = pd.read_parquet(sided / "embeddings.parquet").query("run_id == 'probe'")
    assert len(table) == 2 * len(kept)
    for row in table.itertuples():
        np.testing.assert_array_equal(row.embedding, kept[row.exam_id])
    assert len(kept.iloc[0]) == 2 * 192


@pytest.mark.parametrize("run", ["tuned", "probe"])
def test_a_mirrored_exam_has_its_answers_exchanged(sided, run):
    fit = fit_of(sided, run, "cv-r0-f0")
    assert [output.side for output in fit.config.outputs] == ["L", "R"]
    network = learner_of(fit.config).load(fit).eval()
    x = torch.randn(3, 1, 8, 12, 40)
    with torch.inference_mode():
        there, mirrored = network(x), network(x.flip(4))
    torch.testing.assert_close(mirrored, there.flip(1))
    assert (there[:, 0] - there[:, 1]).abs().min() > 1e-4


def test_each_fold_of_a_search_goes_on_with_what_it_chose(sided):
    for fold in (sided / "experiments" / "searched").glob("cv-*"):
        chosen = fit_of(sided, "searched", fold.name).as_chosen().config
        assert len(json.loads((fold / "search.json").read_text())["trials"]) == 2
        state = torch.load(fold / "best.pt", weights_only=True)
        assert ("network.deviation" in state) == chosen.probes


def test_later_exams_are_predicted_by_every_kind_of_run(sided, tmp_path):
    """On its own exams a run says what it said."""
    found = scan2gene.apply(sided, sided.parent / "scans", tmp_path / "again", force=True)
    after = found.predictions.query("variant == 'original'").astype({"repeat": int, "fold": int}).set_index(FIRST)
    before = pd.read_parquet(sided / "predictions.parquet").query("variant == 'original'").set_index(FIRST)
    assert set(before.index) == set(after.index)
    np.testing.assert_allclose(after.loc[before.index, "logit"].astype(float), before["logit"], rtol=1e-4, atol=1e-5)


def test_a_frozen_encoder_that_changed_is_not_applied(sided, tmp_path):
    path = sided.parent / "own.pth"
    whole = path.read_bytes()
    try:
        _file(sided.parent, seed=4)
        with pytest.raises(WeightsError, match=r"own.pth is not the file that .* was trained with"):
            scan2gene.apply(sided, sided.parent / "scans", tmp_path / "changed", run="probe", force=True)
        found = scan2gene.apply(sided, sided.parent / "scans", tmp_path / "tuned", run="tuned", force=True)
        assert (found.summary["status"] == "ok").all()  # its checkpoint is whole
    finally:
        path.write_bytes(whole)


def test_a_run_with_sides_starts_another(sided, tmp_path):
    source = {"run": str(sided), "name": "tuned", "fold": "cv-r0-f1", "other_patients": True}
    runs = [{"name": "next", "model": CNN, "weights": source}]
    study = sided_study(tmp_path, runs=runs, train={"epochs": 1, "learning_rate": 1e-9})
    edit(study, splits=[{"name": "one", "kind": "holdout"}])
    out = scan2gene.run(study, tmp_path / "run", until="train")
    fold = out / "experiments" / "next" / "one-r0-f0"
    assert json.loads((fold / "weights.json").read_text())["head"] == "kept"
    before = torch.load(sided / "experiments" / "tuned" / "cv-r0-f1" / "best.pt", weights_only=True)
    after = torch.load(fold / "best.pt", weights_only=True)
    assert list(after) == list(before)
    norm = "network.head.norm"
    assert after[f"{norm}.num_batches_tracked"] > before[f"{norm}.num_batches_tracked"]  # its statistics went on
    for name in (n for n in after if not n.startswith((f"{norm}.running", f"{norm}.num"))):
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6, msg=name)


def test_what_is_planned_leaves_a_frozen_encoder_its_exams(tmp_path):
    _file(tmp_path)
    run = {"name": "probe", "model": {"name": "light_cnn"}, "weights": {"file": "own.pth", "freeze": "all"}}
    study = nifti_study(tmp_path, 12, runs=[run, {"name": "light", "model": {"name": "light_cnn"}}])
    out = scan2gene.run(study, tmp_path / "run", until="train")
    planned = _study(out)
    assert planned.data.augment
    assert resolve(planned, planned.runs[0]).data.augment == []
    assert resolve(planned, planned.runs[1]).data.augment == planned.data.augment
    again = yaml.safe_load((out / "study.yaml").read_text())
    assert again["runs"][0]["data"]["augment"] == []


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"weights.file": ["a.pth", "b.pth"]}, "cannot be searched; give each a run of its own"),
        ({"weights": [{"run": "a"}]}, "cannot be searched; give each a run of its own"),
        ({"weights.freeze": [["layer9"]]}, "no layer 'layer9'"),
        ({"weights.name": ["medicalnet-resnet10"]}, "are of a resnet10, its model is light_cnn"),
    ],
)
def test_what_of_weights_cannot_be_searched_is_said(over, said, tmp_path):
    own = {"name": "light", "model": {"name": "light_cnn"}, "search": {"over": over}}
    if "weights.freeze" in over:
        _file(tmp_path)
        own["weights"] = {"file": "own.pth"}
    study = nifti_study(tmp_path, 2, runs=[own])
    with pytest.raises(StudyError, match=said):
        scan2gene.run(study, tmp_path / "run")
    assert not (tmp_path / "run").exists()
