"""Sentences hold where figures are equal, missing, or of sides."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.fake_run import write_run

from scan2gene.cli.tables import print_results
from scan2gene.core.files import write_json
from scan2gene.core.rundir import RunDirectory
from scan2gene.report.cards import figures as card_figures
from scan2gene.report.inputs import Scored
from scan2gene.report.known_sites import _outside
from scan2gene.report.looking import _checks
from scan2gene.report.making import _training_notes
from scan2gene.report.models_table import _sentence
from scan2gene.stages.job import Job
from scan2gene.stages.pipeline import _do
from scan2gene.stats.intervals import Estimate


@pytest.mark.parametrize(("last", "depends"), [(0.62, "no"), (-0.7, "no"), (0.1, "yes"), (None, "")])
def test_maps_depend_on_what_was_learnt_only_where_the_random_map_was_there_to_compare(last, depends):
    base = {"run_id": "net", "split": "cv", "target": "idh", "method": "hires_cam", "measure": "rank_correlation",
            "low": None, "high": None, "reason": None, "n": 4}  # fmt: skip
    scores = pd.DataFrame([base | {"step": "1 of 2", "value": 0.9}, base | {"step": "2 of 2", "value": last}])
    assert [row["depends"] for row in _checks(scores)] == [depends]


def _family(**differences: float) -> pd.DataFrame:
    rows = [{"best": "a", "run_id": run, "difference": d, "p_holm": 0.001 if d > 0.1 else 1.0}
            for run, d in differences.items()]  # fmt: skip
    return pd.DataFrame(rows)


def test_equal_runs_are_not_called_highest_alone():
    said = _sentence("auroc", _family(b=0.0))
    assert "a and b are equal" in said and "highest" not in said
    assert "a and b are equal and highest" in _sentence("auroc", _family(b=0.0, c=0.05))
    assert "better than the other run" in _sentence("auroc", _family(b=0.0, c=0.2))
    assert "better than 1 of 2" in _sentence("auroc", _family(b=0.0, c=0.2, d=0.05))
    assert "a is highest" in _sentence("auroc", _family(b=0.05))
    assert "a is highest" in _sentence("auroc", _family(b=np.nan))


def test_training_that_ended_at_its_best_epoch_is_not_called_hardly_trained(tmp_path):
    study, *_ = write_run(tmp_path)
    inputs, run = SimpleNamespace(study=study), study.runs[0]

    def notes(best: int, epochs: int) -> str:
        fit = {"best": best, "epoch": np.arange(1, epochs + 1), "early": False}
        return " ".join(_training_notes(inputs, run, [fit, fit]))

    assert "Hardly trained" in notes(2, 10)
    assert "Hardly trained" not in notes(2, 2)


SIDED = Scored(Estimate(0.8, 0.6, 0.9), 8, 7, 16)


def test_seven_of_sixteen_breasts_are_not_seven_of_eight_patients(tmp_path, capsys):
    known = SimpleNamespace(scores={("net", "cv", "bad", "auroc"): SIDED})
    assert card_figures(known)["patients"].tolist() == ["8 with 16 sides, 7 positive"]
    row = {"target": "bad", "run": "net", "where": "site C", "outside": 0.8, "outside_low": None, "outside_high": None,
           "inside": None, "n_outside": 8, "positive_outside": 7, "units_outside": 16}  # fmt: skip
    assert "8 patients with 16 sides, 7 positive" in _outside(SimpleNamespace(inputs=SimpleNamespace(hide=str)), row)
    metrics = {"run_id": "net", "split": "cv", "target": "bad", "variant": "original", "metric": "auroc", "n": 8,
               "n_units": 16, "n_positive": 7, "n_failed": 0, "n_rarer_patients": 7, "value": 0.8,
               "low": 0.6, "high": 0.9, "reason": ""}  # fmt: skip
    pd.DataFrame([metrics]).to_csv(tmp_path / "metrics.csv", index=False)
    write_json(tmp_path / "study.json", {"runs": [{"name": "net"}]})
    print_results(tmp_path)
    assert "8 (16 sides)" in capsys.readouterr().out


def test_what_was_never_done_is_not_done_as_before(tmp_path, capsys):
    job = Job(SimpleNamespace(), RunDirectory(tmp_path))

    def stage(again: bool):
        def work(job: Job) -> str:
            if again and not job.is_done("split", "key"):
                job.done("split", "key", [])
            return "told"

        return work

    _do(job, "explain", stage(False))
    _do(job, "split", stage(True))
    assert "as before" not in capsys.readouterr().out
    _do(job, "split", stage(True))
    assert "as before" in capsys.readouterr().out
