"""Runs of one study may differ in any key but the cohort and its split: seed and targets too."""

from __future__ import annotations

import pandas as pd
import pytest

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.study_file import load_study
from tests.integration.road import edit, nifti_study

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_seed_and_targets_of_a_run(tmp_path):
    light = {"model": {"name": "light_cnn"}}
    study = nifti_study(
        tmp_path, targets={"gene": {}, "old": {"column": "age", "positive": list(range(52, 70)),
                                               "negative": list(range(30, 52))}},
        train={"epochs": 2, "target_weights": {"old": 2.0}},
        data={"augment": []}, explain={"exams": 0},
        runs=[{"name": "both", **light}, {"name": "again", "seed": 2026, **light},
              {"name": "other", "seed": 7, **light}, {"name": "gene-only", "targets": ["gene"], **light}],
    )  # fmt: skip
    out = scan2gene.run(study, tmp_path / "run")
    table = pd.read_parquet(out / "predictions.parquet").set_index(["run_id", "target", "exam_id"])["logit"]
    assert table["both"].equals(table["again"])
    assert (table["both"] != table["other"]).all()
    assert set(table["gene-only"].index.get_level_values("target")) == {"gene"}
    metrics = pd.read_csv(out / "metrics.csv").query("metric == 'auroc'")
    assert metrics.groupby("run_id")["target"].nunique().to_dict() == {
        "both": 3,  # two targets and their mean
        "again": 3,
        "other": 3,
        "gene-only": 1,
    }
    assert "gene-only" in (out / "report.html").read_text()


def test_a_target_that_the_study_lacks_is_refused(tmp_path):
    study = nifti_study(tmp_path)
    edit(study, runs=[{"name": "light", "model": {"name": "light_cnn"}, "targets": ["gen"]}])
    with pytest.raises(StudyError, match="Did you mean 'gene'"):
        load_study(study)
