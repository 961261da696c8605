"""From a folder and a table to figures: the drafted study runs as it stands."""

from __future__ import annotations

import subprocess
import sys

import pandas as pd

from tests.integration.road import nifti_study, shell


def test_a_drafted_study_curates_without_torch_and_runs(tmp_path, monkeypatch):
    nifti_study(tmp_path)  # only its scans and labels are used
    study = tmp_path / "mine.yaml"
    words = ("new", "--scans", tmp_path / "scans", "--labels", tmp_path / "labels.csv", "-o", study)
    assert shell(monkeypatch, *words) == ""
    assert "exists and is not overwritten" in shell(monkeypatch, *words)
    code = (
        "import sys; sys.modules['torch'] = sys.modules['lightning_fabric'] = None\n"  # importing them fails
        f"import scan2gene.stages.pipeline as p; p.run({str(study)!r}, {str(tmp_path / 'run')!r}, until='preprocess')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert len(pd.read_csv(tmp_path / "run" / "cohort.csv")) == 24
    table = pd.read_csv(tmp_path / "run" / "split_table.csv")
    assert (table["train"] + table["validation"] + table["test"] == table["all"]).all()
    assert table.groupby("class")["all"].unique().map(list).to_dict() == {
        "positive": [12],
        "negative": [12],
        "unknown": [0],
    }
    roles = pd.read_csv(tmp_path / "run" / "roles.csv")
    assert set(roles["reason"]) == {"the only series that fits"}


def test_new_needs_a_recipe_or_scans(tmp_path, monkeypatch):
    for words in (("new",), ("new", "demo", "--scans", tmp_path)):
        assert "either the name of a recipe" in shell(monkeypatch, *words)
    assert "there is no folder or file" in shell(
        monkeypatch, "new", "--scans", tmp_path / "no", "-o", tmp_path / "s.yaml"
    )
