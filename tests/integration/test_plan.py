"""`scan2gene plan` before any training."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from scan2gene.commands.plan import _cost_warnings, plan, told
from scan2gene.core.console import Progress
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study_file import load_study
from scan2gene.core.tables import read_csv
from scan2gene.phantom.brain_exams import write_brain_cohort
from scan2gene.plan.costs import Cost
from scan2gene.plan.overfit import overfit
from scan2gene.plan.timing import Step, _cost_of
from scan2gene.recipes import recipe_text
from scan2gene.stages.pipeline import series_paths
from scan2gene.tasks.run_config import resolve
from tests.integration.road import edit, nifti_study, shell


@pytest.fixture
def study(tmp_path):
    return nifti_study(
        tmp_path, 40, splits=[{"name": "cv", "kind": "kfold", "folds": 4}],
        runs=[{"name": "light", "model": {"name": "light_cnn"}},
              {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}}],
    )  # fmt: skip


def test_counts_power_and_costs(study, tmp_path):
    found = plan(study, tmp_path / "run", limit=300)  # a busy machine takes its time
    (row,) = found.targets.to_dict("records")
    assert (row["positive"], row["negative"]) == (20, 20)  # each tested once
    assert 0.7 < row["detectable_auroc"] < 0.8
    light, age = found.costs
    assert (light.grid, light.volumes, light.fits) == ((8, 8, 8), 40, 4)
    assert light.disk_bytes == 40 * 8**3 * 4  # zscore stores float32
    assert 0 < light.least_seconds <= light.most_seconds
    assert 10**5 < light.memory_bytes < 10**8
    larger = plan(study, tmp_path / "run", ["data.batch_size=32"], limit=300).costs[0]
    assert larger.memory_bytes > light.memory_bytes + 24 * 16 * 8**3 * 4  # 24 more exams, 16 channels at full size
    assert age.grid == ()
    assert not (tmp_path / "run" / "store").exists()
    assert not list((tmp_path / "run").glob("experiments/*"))


def test_a_target_that_cannot_be_estimated_is_said_so(study, tmp_path):
    table = (tmp_path / "labels.csv").read_text().splitlines()
    spoilt = [table[0]] + [
        f"{line.split(',')[0]},{int(n < 5)},{line.split(',')[2]}" for n, line in enumerate(table[1:])
    ]
    (tmp_path / "labels.csv").write_text("\n".join(spoilt) + "\n")
    found = plan(study, tmp_path / "run", limit=0)
    assert any("gene cannot be estimated in split cv, because 5 of 40 are positive" in w for w in found.warnings)


def test_a_network_that_does_not_fit_the_grid_is_named(study, tmp_path):
    edit(study, preprocess=[{"name": "crop_or_pad", "options": {"shape": [2, 2, 2]}}, {"name": "zscore"}])
    found = plan(study, tmp_path / "run", ["runs.light.model.name=resnet50"])
    assert "\n".join(told(found))
    assert found.costs[0].reason or found.costs[0].epoch_seconds > 0


def test_the_shell_prints_it(study, tmp_path, monkeypatch, capsys):
    assert shell(monkeypatch, "plan", study, "-o", tmp_path / "run", "--limit", "300") == ""
    out = capsys.readouterr().out
    assert "smallest AUROC told from chance with 80 % power: 0.7" in out
    assert "light           8 x 8 x 8" in out


def test_two_series_for_one_role_are_a_warning_in_every_verb(study, tmp_path, monkeypatch, capsys):
    for folder in sorted((tmp_path / "scans").iterdir())[:12]:  # two equal series of 12 of 40 patients
        (folder / "t1_again.nii.gz").write_bytes((folder / "t1.nii.gz").read_bytes())
    scans, labels, run = tmp_path / "scans", tmp_path / "labels.csv", tmp_path / "run"
    verbs = (("curate", study, "-o", run), ("plan", study, "-o", run), ("qc", study, "--run", run),
             ("new", "--scans", scans, "--labels", labels, "-o", tmp_path / "new.yaml"))  # fmt: skip
    for words in verbs:
        assert shell(monkeypatch, *words) == ""
        assert "role t1: several series fit in 12 of 40 exams" in capsys.readouterr().out, words
    for page in (run / "qc.html", tmp_path / "new.yaml"):
        assert "several series fit in 12 of 40 exams" in page.read_text()


def test_what_does_not_fit_the_limit_is_left_open_with_the_reason(study, tmp_path, capsys):
    plan(study, tmp_path / "run", limit=0)  # indexed, curated and split
    began = time.monotonic()
    found = plan(study, tmp_path / "run", limit=0.5)
    assert time.monotonic() - began < 10  # the process that times is not waited for
    light, age = found.costs
    assert "--limit" in light.reason and light.fits == 4
    assert not age.reason  # a table needs no timing
    assert "timing 1 runs" in capsys.readouterr().out


def test_a_step_of_fewer_exams_is_extrapolated_and_said_so(study, tmp_path):
    plan(study, tmp_path / "run", limit=0)
    loaded = load_study(study, ["data.batch_size=8"])
    config = resolve(loaded, loaded.runs[0])
    tables = [read_csv(tmp_path / "run" / n) for n in ("cohort.csv", "split_table.csv")]
    counts = tables[1].astype({"train": int})
    cost = _cost_of(config, loaded.explain, tables[0], {"t1": np.zeros((8, 8, 8), np.float32)}, counts)
    whole, part = (cost(Step(seconds, 0.5, 1000 * size, 7, size), "") for seconds, size in ((4.0, 8), (0.5, 1)))
    assert (part.step_seconds, part.memory_bytes) == (whole.step_seconds, whole.memory_bytes) == (4.5, 40 * 2048 + 8007)
    assert whole.note == "" and "batch of 1" in part.note
    assert part.maps_seconds == whole.maps_seconds > 0


def test_a_network_that_can_learn_a_few_patients_does_and_one_that_cannot_is_named(study, tmp_path, monkeypatch):
    plan(study, tmp_path / "run", limit=0)
    out, loaded = RunDirectory(tmp_path / "run"), load_study(study)
    tables = out.cohort.read(), out.labels.read(), series_paths(loaded, out.path)
    config = resolve(loaded, loaded.runs[0])
    found = overfit(config, *tables, time.monotonic() + 60)
    assert (found.patients, found.auroc) == (16, 1.0) and found.steps <= 60  # of noise, learned by heart
    assert overfit(config, *tables, time.monotonic() - 1).patients == 0  # no time
    few = tables[1][tables[1]["patient_id"] < "P012"]  # six of each class
    assert overfit(config, tables[0], few, tables[2], time.monotonic() + 60).patients == 0
    still = replace(config, train=config.train.model_copy(update={"learning_rate": 1e-12}))
    monkeypatch.setattr("scan2gene.plan.overfit.STEPS", 8)
    dull = overfit(still, *tables, time.monotonic() + 60)
    assert dull.is_whole and dull.auroc < 1
    cost = Cost("light", (8, 8, 8), overfit=(dull.patients, dull.steps, dull.auroc))
    (warning,) = _cost_warnings([cost])
    assert warning.startswith("light does not learn 16 patients by heart: their AUROC is 0.")


@pytest.mark.slow
def test_the_untouched_gbm_recipe_is_planned_within_its_limit(tmp_path, capsys):
    write_brain_cohort(tmp_path, 12)
    (tmp_path / "study.yaml").write_text(recipe_text("gbm-mutations"))
    plan(tmp_path / "study.yaml", tmp_path / "run", limit=0)
    began = time.monotonic()
    found = plan(tmp_path / "study.yaml", tmp_path / "run", limit=60)
    assert time.monotonic() - began < 75
    assert all(cost.reason or cost.epoch_seconds > 0 for cost in found.costs)
    assert sum(cost.epoch_seconds > 0 for cost in found.costs) > len(found.costs) / 2
    assert all(cost.run in capsys.readouterr().out for cost in found.costs[:1])


def test_long_work_says_how_far_it_is_in_logs_too(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("scan2gene.core.console.time.monotonic", lambda: now[0])
    progress = Progress("embedding", 100)
    for done in range(1, 101):
        now[0] += 5.0
        progress.tell(done)
    lines = capsys.readouterr().out.splitlines()
    assert 10 <= len(lines) <= 17  # one every half minute
    assert "6 of 100, about 8 min left" in lines[0]
