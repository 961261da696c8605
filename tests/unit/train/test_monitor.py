"""Early stopping by a metric: against scikit-learn on the same rows, by target, sides together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, brier_score_loss, roc_auc_score
from tests.bare_fit import bare_fit
from tiny_fits import tiny_cohort

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.study_runs import Data, Train
from scan2gene.models import MODELS
from scan2gene.train.loop import fit_network
from scan2gene.train.monitor import check_monitor, monitored, to_lower

OUTPUTS = ("malignant.L", "malignant.R", "brca")


def _answers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    truth = (rng.random((40, 3)) < 0.4).astype(float)
    logits = rng.normal(size=(40, 3)) + truth
    truth[::7, 1] = np.nan
    return truth, logits


def test_a_target_is_watched_with_its_sides_together():
    truth, logits = _answers()
    y, z = truth[:, :2].ravel(), logits[:, :2].ravel()
    known = ~np.isnan(y)
    y, z = y[known], z[known]
    prob, decided = 1 / (1 + np.exp(-z)), z >= 0
    for name, wanted in (
        ("auroc", roc_auc_score(y, z)), ("average_precision", average_precision_score(y, z)),
        ("brier", brier_score_loss(y, prob)), ("balanced_accuracy", balanced_accuracy_score(y, decided)),
    ):  # fmt: skip
        assert monitored(f"{name}:malignant", truth, logits, OUTPUTS) == pytest.approx(wanted)
    both = [monitored(f"auroc:{t}", truth, logits, OUTPUTS) for t in ("malignant", "brca")]
    assert monitored("auroc", truth, logits, OUTPUTS) == pytest.approx(np.mean(both))
    truth[:, 2] = 1  # of one class only: no AUROC, and the mean is over the others
    assert monitored("auroc", truth, logits, OUTPUTS) == pytest.approx(both[0])


def test_what_is_better_is_lower():
    assert to_lower("auroc:brca", 0.9) < to_lower("auroc:brca", 0.8)
    assert to_lower("brier", 0.1) < to_lower("brier", 0.2)
    assert to_lower("precision", float("nan")) == float("inf")


@pytest.mark.parametrize(
    ("name", "word"), [("aucroc", "auroc"), ("auroc:malign", "malignant"), ("auroc:", "malignant")]
)
def test_unknown_metrics_and_targets_are_named_with_the_valid_ones(name, word):
    with pytest.raises(StudyError, match=word):
        check_monitor(name, ["malignant", "brca"])
    check_monitor("auroc:malignant", ["malignant", "brca"])


def _fit(folder: Path, epochs: int, monitor: str, **settings: object) -> pd.DataFrame:
    data = tiny_cohort()
    data = type(data)(**(vars(data) | {"names": ("malignant.L", "malignant.R")}))
    train = Train(epochs=epochs, patience=20, device="cpu", monitor=monitor, **settings)
    fit = bare_fit(folder, Data(batch_size=4), train, 5)
    fit_network(fit, lambda: MODELS["light_cnn"](1, 2), data, np.arange(12), np.arange(12, 20))
    return pd.read_csv(folder / "history.csv")


def test_the_epoch_kept_is_the_best_by_the_metric_and_goes_on_after_a_stop(tmp_path):
    whole = _fit(tmp_path / "whole", 6, "auroc:malignant", learning_rate=1e-2)
    best = whole.loc[whole["best"] == 1, "epoch"].iloc[-1]
    assert best == whole.loc[whole["monitored"].idxmax(), "epoch"]
    _fit(tmp_path / "parts", 3, "auroc:malignant", learning_rate=1e-2)
    parts = _fit(tmp_path / "parts", 6, "auroc:malignant", learning_rate=1e-2)
    columns = [c for c in whole if not c.startswith("seconds")]
    pd.testing.assert_frame_equal(whole[columns], parts[columns], check_exact=True)
    one, two = (torch.load(tmp_path / f / "best.pt", weights_only=True) for f in ("whole", "parts"))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_validation_of_one_class_is_refused_with_what_to_change(tmp_path):
    data = tiny_cohort()
    rows = np.flatnonzero(data.targets[:, 0].numpy() == 1)
    data = type(data)(**(vars(data) | {"names": ("idh", "rare")}))
    train = Train(epochs=1, device="cpu", monitor="auroc:idh")
    fit = bare_fit(tmp_path, Data(batch_size=4), train, 5)
    with pytest.raises(CohortError, match="monitor: loss"):
        fit_network(fit, lambda: MODELS["light_cnn"](1, 2), data, np.arange(12), rows[-3:])
