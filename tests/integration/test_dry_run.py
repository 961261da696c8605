"""`--dry-run` says what would be done and does nothing; `--set` changes a key for one run."""

from __future__ import annotations

import json

import pytest

from scan2gene.stages.pipeline import STAGES, dry_run, run
from tests.integration.road import nifti_study, shell


def test_a_dry_run_names_the_work_and_writes_nothing(tmp_path):
    study, out = nifti_study(tmp_path, explain={"exams": 1}), tmp_path / "run"
    assert dry_run(study, out)["index"] == "to do"
    assert not out.exists()
    run(study, out, until="split")
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    told = dry_run(study, out)
    assert [told[s] for s in ("index", "curate", "split", "preprocess")] == ["done", "done", "done", "to do"]
    assert told["report"] == "to do after preprocess"
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    run(study, out)
    assert set(dry_run(study, out).values()) == {"done"}
    changed = dry_run(study, out, ["train.epochs=3"])
    assert (changed["preprocess"], changed["train"]) == ("done", "to do")
    assert list(changed) == list(STAGES)


def test_a_finished_run_takes_up_umap_when_it_has_come(tmp_path, monkeypatch):
    study, out = nifti_study(tmp_path, train={"epochs": 1}), tmp_path / "run"
    monkeypatch.setattr("scan2gene.stages.predict.preferred", lambda: "PCA")
    run(study, out, until="predict")
    before = (out / "predictions.parquet").stat().st_mtime_ns
    assert dry_run(study, out)["predict"] == "done"
    monkeypatch.setattr("scan2gene.stages.predict.preferred", lambda: "UMAP")
    assert dry_run(study, out)["predict"] == "to do"
    run(study, out, until="predict")
    assert (out / "predictions.parquet").stat().st_mtime_ns == before  # nothing but the map was made again
    monkeypatch.setattr("scan2gene.stages.predict.preferred", lambda: "PCA")
    assert dry_run(study, out)["predict"] == "done"  # where it is gone, the better map stays


@pytest.mark.slow  # UMAP compiles for ten seconds
def test_the_page_names_umap(tmp_path, monkeypatch):
    monkeypatch.setattr("scan2gene.evaluate.embedding_map.UMAP_EXAMS", 15)
    study, out = nifti_study(tmp_path, explain={"exams": 0}), tmp_path / "run"
    run(study, out)
    assert "in two dimensions by UMAP" in (out / "report.html").read_text()
    assert "UMAP" in (out / "embedding_map.csv").read_text()


def test_the_shell_sets_keys(tmp_path, monkeypatch, capsys):
    study, out = nifti_study(tmp_path), tmp_path / "run"
    assert shell(monkeypatch, "train", study, "-o", out, "--set", "train.epochs=1", "--set", "data.batch_size=3") == ""
    kept = json.loads((out / "study.json").read_text())
    assert (kept["train"]["epochs"], kept["data"]["batch_size"]) == (1, 3)
    capsys.readouterr()
    assert shell(monkeypatch, "run", study, "-o", out, "--dry-run") == ""
    assert "train      to do" in capsys.readouterr().out
    assert "--set train.epoch=2" in shell(monkeypatch, "run", study, "-o", out, "--set", "train.epoch=2")


@pytest.mark.parametrize("written", [False, True])
def test_a_dry_run_with_pseudonyms_writes_no_key(tmp_path, written):
    study, out = nifti_study(tmp_path), tmp_path / "run"
    changes = ["cohort.pseudonyms=private/key.csv"]
    if written:
        run(study, out, "curate", changes)
    before = sorted(tmp_path.rglob("*"))
    assert dry_run(study, out, changes)["index"] == ("done" if written else "to do")
    assert sorted(tmp_path.rglob("*")) == before
