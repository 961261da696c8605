"""What a run directory keeps is enough to make the run again, and to know what it cost."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import scan2gene
from tests.integration.road import nifti_study

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    path = nifti_study(
        tmp_path_factory.mktemp("repeat"), splits=[{"name": "cv", "kind": "kfold", "folds": 2}], train={"epochs": 3}
    )
    return scan2gene.run(path, path.parent / "first", changes=["train.epochs=2", "seed=7"])


def test_the_kept_study_gives_the_same_numbers(first):
    again = scan2gene.run(first / "study.yaml", first.parent / "again", until="evaluate")
    assert json.loads((again / "study.json").read_text()) == json.loads((first / "study.json").read_text())
    one, two = (pd.read_parquet(p / "predictions.parquet") for p in (first, again))
    pd.testing.assert_frame_equal(one, two)
    assert (first / "metrics.csv").read_bytes() == (again / "metrics.csv").read_bytes()
    assert "scan2gene run study.yaml --set train.epochs=2 --set seed=7" in (first / "report.html").read_text()


def test_the_history_of_a_run_is_that_of_its_folds(first):
    folds = [pd.read_csv(first / "experiments" / "light" / f"cv-r0-f{n}" / "history.csv") for n in (0, 1)]
    whole = pd.read_csv(first / "experiments" / "light" / "history.csv")
    pd.testing.assert_frame_equal(whole, pd.concat(folds, ignore_index=True))
    assert list(whole.columns[:3]) == ["split", "repeat", "fold"]
    assert np.isfinite(whole["train_loss"]).all()


def test_every_stage_tells_what_it_cost(first):
    stamps = [json.loads(p.read_text()) for p in (first / "stages").glob("*.json")]
    timed = [
        s
        for s in stamps
        if s["stage"] != "split_table" and s["stage"] != "explain" and not s["stage"].startswith("predict/")
    ]
    assert len(timed) >= 9
    for stamp in timed:
        assert stamp["seconds"] >= 0 and stamp["cpu_seconds"] >= 0
        assert stamp["processor"]
    costs = pd.read_csv(first / "report" / "tables" / "costs.csv").set_index("stage")
    of_train = sum(s["seconds"] for s in timed if s["stage"].startswith("train/"))
    assert costs.loc["train", "seconds"] == pytest.approx(of_train)


def test_files_beside_the_report_are_made_again_when_lost(first):
    lost = first / "report" / "figures" / "roc-cv-gene-light.svg"
    before = lost.read_bytes()
    lost.unlink()
    scan2gene.run(first.parent / "study.yaml", first, changes=["train.epochs=2", "seed=7"])
    assert lost.read_bytes() == before
