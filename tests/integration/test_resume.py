"""Killed half-way and started again, a study ends as if nothing had happened."""

from __future__ import annotations

import time

import pandas as pd
import pytest

import scan2gene
from tests.integration.forked import command_line, start
from tests.integration.road import edit, nifti_study, shell

pytestmark = pytest.mark.usefixtures("no_pictures")


def test_kill_in_training_then_go_on(tmp_path):
    study = nifti_study(tmp_path, splits=[{"name": "cv", "kind": "kfold", "folds": 3}], train={"epochs": 30})
    process = start(tmp_path / "said", command_line, "run", str(study), "-o", str(tmp_path / "killed"))
    deadline = time.monotonic() + 240
    while not list((tmp_path / "killed").glob("experiments/light/cv-r0-f1/last.pt")):
        assert process.is_alive(), "the study ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.join()
    done = tmp_path / "killed" / "experiments" / "light" / "cv-r0-f0" / "best.pt"
    stamp = done.stat().st_mtime_ns
    scan2gene.run(study, tmp_path / "killed", until="predict")
    assert done.stat().st_mtime_ns == stamp  # finished folds are not trained again
    table = pd.read_parquet(tmp_path / "killed" / "predictions.parquet")  # test_kills holds it to an unbroken run
    assert table.groupby("fold")["exam_id"].nunique().tolist() == [24, 24, 24]
    assert (table["status"] == "ok").all()


def test_a_stage_that_had_nothing_to_do_says_so(tmp_path, capsys):
    study = nifti_study(tmp_path)

    def idle(**changes) -> list[str]:
        edit(study, **changes)
        scan2gene.run(study, tmp_path / "run", until="preprocess")
        return [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith("(as before)")]

    assert idle() == []
    assert idle() == ["index", "curate", "plan", "split", "preprocess"]
    assert idle(preprocess=[{"name": "crop_or_pad", "options": {"shape": [6, 6, 6]}}]) == ["index", "curate", "split"]
    assert idle() == ["index", "curate", "plan", "split", "preprocess"]


def test_resume_goes_on_and_never_begins(tmp_path, monkeypatch, capsys):
    study, out = nifti_study(tmp_path), tmp_path / "run"
    assert "holds no run to go on with" in shell(monkeypatch, "run", study, "-o", out, "--resume")
    assert not out.exists()
    scan2gene.run(study, out, until="curate")
    capsys.readouterr()
    assert shell(monkeypatch, "run", study, "-o", out, "--resume") == ""
    said = capsys.readouterr().out
    assert "(as before)" in said
    assert (out / "report.html").exists()


def test_an_evaluation_killed_before_its_stamp_is_in_the_ledger_once(tmp_path):
    study, out = nifti_study(tmp_path, evaluate={"bootstrap": 100, "ledger": "ledger.csv"}), tmp_path / "run"
    scan2gene.run(study, out, until="evaluate")
    written = (tmp_path / "ledger.csv").read_text()
    assert written.startswith("study,study_hash,seed,")
    (out / "stages" / "evaluate.json").unlink()
    scan2gene.run(study, out, until="evaluate")
    assert (tmp_path / "ledger.csv").read_text() == written
    edit(study, seed=7)
    scan2gene.run(study, tmp_path / "another", until="evaluate")
    longer = pd.read_csv(tmp_path / "ledger.csv")
    assert (tmp_path / "ledger.csv").read_text().startswith(written)
    assert list(longer["seed"]) == [2026, 7]
