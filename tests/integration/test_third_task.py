"""A kind of target that the product does not have: a file, a line in TASKS and a loss are all that it takes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import scan2gene
from scan2gene.core.rundir import RunDirectory
from scan2gene.stats.linear import logit, sigmoid
from scan2gene.tasks import TASKS
from scan2gene.tasks.task import Task
from scan2gene.train.loss import LOSSES
from tests.integration.test_several_classes import NAMES, study_of, write_patients


def _steps(values: np.ndarray, count: int) -> np.ndarray:
    """Whether each value reaches the second class, the third, and so on."""
    reached = (values[:, None] >= np.arange(1, count)).astype(float)
    reached[np.isnan(values)] = np.nan
    return reached


def _classes(logits: np.ndarray) -> np.ndarray:
    """Probabilities of reaching a class, never rising along the classes, to log odds of being in each."""
    reached = np.minimum.accumulate(sigmoid(logits), axis=1)
    edges = np.concatenate([np.ones((len(logits), 1)), reached, np.zeros((len(logits), 1))], axis=1)
    return logit(edges[:, :-1] - edges[:, 1:])


ORDINAL = Task("classes in order", "steps", tuple, lambda classes: tuple(classes[1:]), _steps, _classes)


def _loss(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    entries = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (entries * weights).sum()


def test_classes_in_order_run_from_labels_to_report(tmp_path, monkeypatch):
    monkeypatch.setitem(TASKS, "ordinal", ORDINAL)
    monkeypatch.setitem(LOSSES, "steps", _loss)
    write_patients(tmp_path)
    grade = {"column": "null", "task": "ordinal", "classes": {name: [name] for name in NAMES}}
    table = pd.read_csv(tmp_path / "labels.csv")
    order = {"Luminal A": 0, "Luminal B": 1, "LumB": 1, "HER2": 2, "TNBC": 3}
    table["null"] = [NAMES[order[c]] if c in order else "" for c in table["subtype"]]
    table.to_csv(tmp_path / "labels.csv", index=False)
    study = study_of(tmp_path, targets={"grade": grade}, explain={"exams": 1, "methods": [{"name": "grad_cam"}]})
    run = RunDirectory(scan2gene.run(study, tmp_path / "run"))
    rows = run.predictions.read()
    rows = rows[(rows["run_id"] == "age") & (rows["part"] == "test") & rows["y_true"].notna()]
    wide = rows.pivot(index="patient_id", columns="label", values="prob")[NAMES]
    assert wide.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-6)
    truth = rows[rows["y_true"] == 1].set_index("patient_id")["label"][wide.index].map(NAMES.index)
    expected = wide.to_numpy() @ np.arange(4)
    assert np.corrcoef(truth, expected)[0, 1] > 0.6
    assert "grade" in run.report.path.read_text(encoding="utf-8")
    maps = pd.read_csv(run.path / "explain" / "maps.csv")
    assert "grade:luminal_a" in set(maps["target"])  # which has no output of its own
