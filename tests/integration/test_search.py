"""Search inside each fold: it finds what matters, goes on where it stopped, and is shared."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Run
from scan2gene.learners import fold as fold_module
from scan2gene.stages.pipeline import join_search
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import resolve
from scan2gene.train.search import finished
from tests.integration.forked import CONTEXT, start
from tests.integration.road import nifti_study, shell

OVER = {"train.learning_rate": {"low": 1e-8, "high": 3e-2, "log": True}, "model.options.dropout": [0.0, 0.3]}
STUDY = {
    "name": "s",
    "targets": {"gene": {}},
    "cohort": {"scans": ["s"], "labels": "l.csv", "roles": {"t1": {"match": {}}}},
}
pytestmark = pytest.mark.usefixtures("no_pictures")


def _study(folder, **search):
    """A study whose positives are brighter in one corner, so that a network that learns finds it."""
    run = {"name": "light", "model": {"name": "light_cnn"}, "search": {"over": OVER, "trials": 5} | search}
    path = nifti_study(
        folder, 30, runs=[run], train={"epochs": 6, "patience": 6}, data={"augment": [], "batch_size": 8},
        explain={"exams": 0},
        splits=[{"name": "cv", "kind": "kfold", "folds": 2}],
        preprocess=[{"name": "min_max_uint8"}],
    )  # fmt: skip
    for n, scan in enumerate(sorted((folder / "scans").rglob("*.nii.gz"))):
        image = nib.load(scan)
        array = np.asarray(image.dataobj).copy()
        array[:6, :6, :5] += 40 * (n % 2)
        nib.save(nib.Nifti1Image(array, image.affine), scan)
    return path


def _chosen(out):
    return [json.loads(p.read_text()) for p in sorted((out / "experiments" / "light").glob("*/search.json"))]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    return folder, scan2gene.run(_study(folder), folder / "run")


def test_each_fold_keeps_its_best_trial(whole):
    _, out = whole
    found = _chosen(out)
    assert len(found) == 2
    for one in found:
        scores = [t["score"] for t in one["trials"]]
        assert len(scores) == 5
        assert one["score"] == min(scores)
        assert one["values"]["train.learning_rate"] > 1e-5  # below, nothing is learned in six epochs
    assert not list(out.glob("experiments/light/*/trials/*/*.pt"))
    auroc = pd.read_csv(out / "metrics.csv").query("metric == 'auroc'")
    assert auroc["value"].item() > 0.8
    predicted = pd.read_parquet(out / "predictions.parquet")
    assert predicted["run_id"].unique().tolist() == ["light"]


def test_the_report_tells_what_was_chosen_and_what_validation_promised(whole):
    _, out = whole
    page = (out / "report.html").read_text()
    result = json.loads((out / "results.json").read_text())["light"]["cv"]
    kept = next(iter(result.values()))["optimism"]
    assert kept["optimism"] == pytest.approx(kept["validation"] - kept["test"])
    auroc = pd.read_csv(out / "metrics.csv").query("metric == 'auroc'")["value"].item()
    assert kept["test"] == pytest.approx(auroc)
    assert "5 trials in each fold, 10 fits in all" in page
    for one in _chosen(out):
        assert f"train.learning_rate {one['values']['train.learning_rate']:.3g}" in page
    assert "What validation promised" in page


def test_a_search_that_was_stopped_ends_like_an_unbroken_one(whole, tmp_path, monkeypatch):
    folder, out = whole
    real, calls = fold_module.train_fold, []

    def dies_in_the_fourth(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(fold_module, "train_fold", dies_in_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        scan2gene.run(folder / "study.yaml", tmp_path / "run", until="predict")
    monkeypatch.undo()
    scan2gene.run(folder / "study.yaml", tmp_path / "run", until="predict")
    for one, two in zip(_chosen(out), _chosen(tmp_path / "run"), strict=True):
        assert (one["values"], one["score"]) == (two["values"], two["score"])
    pd.testing.assert_frame_equal(
        *(pd.read_parquet(p / "predictions.parquet") for p in (out, tmp_path / "run")), check_exact=True
    )


def _begin(folder, gate):
    run = Run.model_validate({"name": "light", "model": {"name": "light_cnn"}, "search": {"over": OVER}})
    config = resolve(Study.model_validate(STUDY), run)
    gate.wait()
    finished(Fit(config, "cv", 0, 0, FitDirectory(folder)))


def test_several_processes_may_begin_a_search_at_once(tmp_path):
    gate = CONTEXT.Barrier(6)
    begun = [start(tmp_path / f"said-{n}", _begin, tmp_path / "fold", gate) for n in range(6)]
    for process in begun:
        process.join(60)
        assert process.exitcode == 0


def test_several_processes_share_a_search(tmp_path):
    study, out = _study(tmp_path), tmp_path / "run"
    scan2gene.run(study, out, until="preprocess")
    helpers = [start(tmp_path / f"said-{n}", join_search, study, out) for n in range(2)]
    for helper in helpers:
        helper.join(120)
        assert helper.exitcode == 0
    scan2gene.run(study, out, until="train")
    for one in _chosen(out):
        assert 5 <= len(one["trials"]) <= 6  # two may begin the last at once
        assert len({t["trial"] for t in one["trials"]}) == len(one["trials"])


def test_steps_may_be_searched_too(tmp_path):
    recipes = [[{"name": "min_max_uint8"}], [{"name": "zscore"}]]
    study = _study(tmp_path, over={"preprocess": recipes, "data.batch_size": [4, 8]}, trials=3, score="auroc")
    out = scan2gene.run(study, tmp_path / "run", until="train")
    assert len(list((out / "store").glob("*/manifest.csv"))) == 2
    assert all(one["values"]["preprocess"] in recipes for one in _chosen(out))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"train.learning_rat": [1]}, "learning_rat"),
        ({"model.options.dropuot": [0.1]}, "Did you mean 'dropout'"),
        ({"data.batch_size": [0, 4]}, "greater than or equal to 1"),
        ({"train.learning_rate": {"low": 2, "high": 1}}, "low must be below high"),
        ({"preprocess": [[{"name": "zscor"}]]}, "Did you mean 'zscore'"),
    ],
)
def test_what_cannot_be_searched_is_said_before_any_work(tmp_path, over, said):
    study = _study(tmp_path, over=over)
    with pytest.raises(StudyError, match=said):
        scan2gene.run(study, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_joining_needs_prepared_scans(tmp_path, monkeypatch):
    assert "not prepared" in shell(monkeypatch, "search", _study(tmp_path), "-o", tmp_path / "run")
