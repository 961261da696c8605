"""A study with an external site, from scans to page."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.study_file import load_study
from scan2gene.stages.pipeline import check
from tests.integration.road import edit, nifti_study


def _study(folder: Path) -> Path:
    columns = {"columns": ["age"]}
    path = nifti_study(
        folder,
        24,
        splits=[{"name": "cv", "kind": "holdout", "test_fraction": 0.5, "repeats": 2, "external": ["C"]}],
        train={"epochs": 1},
        evaluate={"bootstrap": 100, "shuffles": 0},
        explain={"exams": 0},
        runs=[
            {"name": "light", "model": {"name": "light_cnn"}, "train": {"site_adversary": {}, "site_sampling": True}},
            {"name": "age-combat", "model": {"name": "clinical", "options": columns},
             "data": {"harmonise": {"name": "combat"}}},
        ],
    )  # fmt: skip
    labels = pd.read_csv(folder / "labels.csv")
    labels.assign(site=["ABC"[n // 2 % 3] for n in range(len(labels))]).to_csv(folder / "labels.csv", index=False)
    edit(path, cohort=yaml.safe_load(path.read_text())["cohort"] | {"site_column": "site"})
    return path


def test_every_run_stands_inside_and_outside_on_one_page(tmp_path):
    study = _study(tmp_path)
    out = scan2gene.run(study, tmp_path / "run")
    predictions = pd.read_parquet(out / "predictions.parquet")
    outside = predictions[predictions["part"] == "external"]
    assert set(outside["site"]) == {"C"}
    assert set(predictions.loc[predictions["part"] != "external", "site"]) == {"A", "B"}
    assert outside.groupby(["run_id", "patient_id"]).size().eq(3).all()  # two repeats and their mean
    moved = pd.read_csv(out / "transfer.csv").set_index("run")
    assert set(moved.index) == {"light", "age-combat"}
    assert (moved["n_outside"] == 8).all()
    assert moved.loc["light", "domain"] >= 0
    shifted = pd.read_csv(out / "shift.csv")
    assert {"label", "clinical", "grey"} <= set(shifted["kind"])
    page = re.sub(r"<[^>]+>", " ", (out / "report.html").read_text())
    assert "At other sites" in page
    assert "sites drawn alike, site adversary" in page
    assert "ComBat" in page
    assert "nan" not in page.lower().split()
    (verdict,) = json.loads((out / "verdicts.json").read_text())
    assert "At the external site C, which nothing was learned or chosen on," in " ".join(verdict["sentences"])
    assert {c["status"] for c in json.loads((out / "audit.json").read_text())["leakage"]} == {"clean"}
    sampling = pd.read_csv(out / "experiments" / "light" / "cv-r0-f0" / "sampling.csv")
    assert set(sampling["site"]) == {"A", "B"}


def test_external_sites_need_a_site_column(tmp_path):
    path = _study(tmp_path)
    edit(path, cohort=yaml.safe_load(path.read_text())["cohort"] | {"site_column": None})
    with pytest.raises(StudyError, match=r"has external sites, so cohort\.site_column must name"):
        check(load_study(path), networks=False)


def test_what_needs_two_sites_is_refused_before_the_first_fit(tmp_path):
    path = _study(tmp_path)
    plain = {"name": "plain", "model": {"name": "light_cnn"}}
    given = yaml.safe_load(path.read_text())
    given["splits"][0]["external"] = ["B", "C"]
    edit(path, splits=given["splits"], runs=[plain, *given["runs"]])
    with pytest.raises(
        StudyError, match=r"run light: train\.site_sampling needs two sites, and split cv, fold 0 trains"
    ):
        scan2gene.run(path, tmp_path / "run")
    assert not (tmp_path / "run" / "experiments").exists()
