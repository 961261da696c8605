"""A run that has to end in time: what does not fit is named, and left out of every mean before it is tested."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import scan2gene
from scan2gene.core.study_file import load_study
from scan2gene.plan.costs import Cost
from scan2gene.stages import budget
from scan2gene.stages.budget import within
from tests.integration.road import nifti_study

LIGHT = {"name": "light_cnn"}
RUNS = [
    {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
    *({"name": f"light-{n}", "model": LIGHT, "seed": n} for n in (1, 2)),
]
MEANS = {
    "light": {"members": ["light-1", "light-2"], "method": "standardised"},
    "best": {"members": ["age", "light"], "method": "standardised"},
}


def test_without_time_for_a_network_the_table_is_the_answer(tmp_path):
    study = nifti_study(tmp_path, runs=RUNS, ensembles=MEANS, explain={"exams": 0})
    out = scan2gene.run(study, tmp_path / "run", until="evaluate", minutes=0.02)
    kept = json.loads((out / "budget.json").read_text())
    assert list(kept["left_out"]) == ["light-1", "light-2", "light"]
    runs = {run["name"]: run["model"] for run in json.loads((out / "study.json").read_text())["runs"]}
    assert list(runs) == ["age", "best"] and runs["best"]["options"]["members"] == ["age"]
    assert set(pd.read_csv(out / "metrics.csv")["run_id"]) == {"age", "best"}
    scan2gene.run(study, out, until="evaluate")  # the limit stays
    assert not (out / "experiments" / "light-1").exists()
    scan2gene.run(study, out, until="train", minutes=0)
    assert (out / "experiments" / "light-1").exists()


@pytest.mark.parametrize(
    ("minutes", "epochs", "left_out"),
    [
        (60, {}, set()),
        (8, {}, {"light-2"}),
        (3, {"light-1": 47}, {"light-2"}),
        (1, {}, set()),
    ],
)
def test_the_first_network_is_shortened_and_the_next_left_out(tmp_path, monkeypatch, minutes, epochs, left_out):
    monkeypatch.setattr(budget, "time_runs", lambda study, *_: [
        Cost(run.name, fits=1, epoch_seconds=2.0, most_seconds=200.0, maps_seconds=20.0) for run in study.runs
    ])  # fmt: skip
    study = nifti_study(tmp_path, runs=RUNS, ensembles=MEANS, train={"epochs": 100})
    out = scan2gene.run(study, tmp_path / "run", until="preprocess")
    from scan2gene.core.rundir import RunDirectory
    from scan2gene.stages.job import Job

    job = Job(load_study(study), RunDirectory(out), minutes=minutes)
    decided = budget._decided(job, minutes)
    if minutes == 1:
        assert list(decided["left_out"]) == ["light-1", "light-2", "light"]
        return
    assert decided["epochs"].keys() == epochs.keys() and set(decided["left_out"]) == left_out
    for run, most in epochs.items():
        assert 0.8 * most <= decided["epochs"][run] <= most
    names = [run.name for run in within(job.study, decided).runs]
    assert names == [name for name in ("age", "light-1", "light-2", "light", "best") if name not in left_out]
