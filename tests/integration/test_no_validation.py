"""A study without a validation part, from the study file to the report."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.study_file import load_study
from scan2gene.stages.pipeline import check
from tests.integration.road import nifti_study

FIXED = {"epochs": 2, "patience": None, "schedule": {"name": "one_cycle"}}
SPLIT = {"name": "cv", "kind": "kfold", "folds": 2, "validation_fraction": 0}
NETS = [{"name": name, "model": {"name": "light_cnn"}, "seed": n} for n, name in enumerate(("a", "b"))]


@pytest.mark.usefixtures("no_pictures")
def test_it_runs_to_the_report(tmp_path):
    clinical = {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}}
    study = nifti_study(tmp_path, splits=[SPLIT], train=FIXED, runs=[*NETS, clinical],
                        evaluate={"bootstrap": 100, "shuffles": 0}, explain={"exams": 0},
                        ensembles={"both": {"members": ["a", "b"], "method": "mean_logit"}})  # fmt: skip
    out = scan2gene.run(study, tmp_path / "run")
    assert set(pd.read_csv(out / "split.csv")["part"]) == {"train", "test"}
    history = pd.read_csv(out / "experiments/a/history.csv")
    assert history.filter(like="validation").isna().all(axis=None)
    assert history["final_train_auroc"].notna().sum() == 2
    cuts = [t for t in json.loads((out / "thresholds.json").read_text()) if t["run_id"] == "both"]
    assert [t["n"] for t in cuts] == [12, 12] and not any(t["reason"] for t in cuts)  # those tested in the other fold
    audit = {c["check"]: c["status"] for c in json.loads((out / "audit.json").read_text())["leakage"]}
    assert audit["thresholds"] == "clean" and audit["early stopping"] == "clean"
    page = (out / "report.html").read_text()
    assert "Training: 12 patients (" in page and "Validation: 0" not in page
    assert "chosen on patients tested in the other folds" in page
    assert "epochs without early stopping, and the last weights were kept" in page


LATE = {"both": {"members": ["a", "b"], "method": "late"}}
SEARCH = {"over": {"train.learning_rate": [0.1, 0.01]}, "trials": 2}
FUSED = {"slices": {"fusion": [{"name": "attention"}]}}


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": FIXED | {"patience": 3}}, "early stopping watches it: set train.patience: null"),
    ({"train": {"patience": None}}, r"plateau follows its loss: set train.schedule: \{name: one_cycle\}"),
    ({"ensembles": LATE}, "ensembles.both: method late weighs its members on the validation part"),
    ({"runs": [NETS[0] | {"search": SEARCH}]}, "search chooses settings on it"),
    ({"runs": [NETS[0] | {"model": {"name": "light_cnn2d"}}], "data": FUSED}, "fusion attention learns with it"),
])  # fmt: skip
def test_what_needs_a_validation_part_is_refused(changes, message, tmp_path):
    study = nifti_study(tmp_path, 4, **{"splits": [SPLIT], "train": FIXED, "runs": NETS} | changes)
    with pytest.raises(StudyError, match=message):
        check(load_study(study))
