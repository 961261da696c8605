"""The training loop: masked loss, stopping, going on after a kill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scan2gene.core.errors import RunError
from scan2gene.core.study import Data, Train
from scan2gene.data.cohort import CohortTensors
from scan2gene.models import MODELS
from scan2gene.predict.forward import forward
from scan2gene.train.loop import fit_network
from scan2gene.train.loss import masked_bce

NAMES = {"split": "cv", "repeat": 0, "fold": 0}


def _cohort(n: int = 20) -> CohortTensors:
    generator = torch.Generator().manual_seed(3)
    y = (torch.arange(n) % 2).float()
    images = torch.randint(0, 200, (n, 1, 8, 8, 8), generator=generator).float()
    images[y == 1, :, 2:6, 2:6, 2:6] += 55  # easily learned
    targets = torch.stack([y, 1 - y], dim=1)
    targets[::5, 1] = torch.nan
    exams = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "exam_id": [f"E{i}" for i in range(n)]})
    return CohortTensors(exams, images.clamp(0, 255).byte(), torch.ones(n, 1), targets, {})


def _fit(folder: Path, build=None, **settings) -> pd.DataFrame:
    data = _cohort()
    view = Data(batch_size=4, flip_axes=["i"], shift_voxels=1)
    train = Train(**({"epochs": 6, "device": "cpu"} | settings))
    build = build or (lambda: MODELS["light_cnn"](1, 2))
    fit_network(build, data, np.arange(14), np.arange(14, 20), view, train, 5, folder, NAMES)
    return pd.read_csv(folder / "history.csv")


def test_missing_labels_carry_no_loss_and_no_gradient():
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.7]], requires_grad=True)
    targets = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    loss = masked_bce(logits, targets)
    p = torch.sigmoid(logits.detach())
    wanted = -(torch.log(p[0, 0]) + torch.log(1 - p[1, 0]) + torch.log(p[1, 1])) / 3
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert (logits.grad != 0).sum() == 3


def test_a_batch_without_labels_gives_zero_not_nan():
    logits = torch.zeros(2, 1, requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 1), torch.nan))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(2, 1))


class _Interrupted(nn.Module):
    """A network that is stopped in the middle of an epoch, as by Ctrl-C."""

    def __init__(self, passes: int):
        super().__init__()
        self.inner = MODELS["light_cnn"](1, 2)
        self.left = passes

    def forward(self, x, present=None):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return self.inner(x, present)


@pytest.mark.parametrize("passes", [3, 9, 17, 23])
def test_going_on_after_an_interruption_equals_an_unbroken_run(passes, tmp_path):
    unbroken = _fit(tmp_path / "a", build=lambda: _Interrupted(10**9))
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path / "b", build=lambda: _Interrupted(passes))
    resumed = _fit(tmp_path / "b", build=lambda: _Interrupted(10**9))
    columns = [c for c in unbroken.columns if c != "seconds"]
    pd.testing.assert_frame_equal(unbroken[columns], resumed[columns], check_exact=True)
    one, two = (torch.load(tmp_path / d / "best.pt", weights_only=True) for d in "ab")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not list((tmp_path / "b").glob(".tmp-*"))


def test_best_checkpoint_is_the_one_of_the_lowest_validation_loss(tmp_path):
    history = _fit(tmp_path, epochs=8)
    best = history.loc[history["validation_loss"].idxmin()]
    assert history[history["best"] == 1]["epoch"].max() == best["epoch"]
    model = MODELS["light_cnn"](1, 2)
    model.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    data = _cohort()
    logits = forward(model, data, range(14, 20), 4)
    loss = masked_bce(torch.from_numpy(logits), data.targets[14:].double())
    assert float(loss) == pytest.approx(best["validation_loss"], abs=1e-6)


def test_stops_after_patience_epochs_without_a_better_loss(tmp_path):
    history = _fit(tmp_path, epochs=100, patience=3, learning_rate=0.05)
    assert len(history) < 100
    assert len(history) - history[history["best"] == 1]["epoch"].max() == 3


def test_divergence_is_said_plainly(tmp_path):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x, present=None):
            return torch.full((len(x), 2), torch.nan) * self.w

    with pytest.raises(RunError, match=r"diverged in epoch 1.*learning_rate"):
        _fit(tmp_path, build=Broken)


def test_forward_does_not_depend_on_batch_size():
    model = MODELS["light_cnn"](1, 2)
    data = _cohort()
    np.testing.assert_allclose(forward(model, data, range(20), 3), forward(model, data, range(20), 20), atol=1e-6)
