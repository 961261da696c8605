"""Schedules of the learning rate, alone and with layers that start from weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_fits import Started, tiny_fit
from torch import nn

from scan2gene.core.section import Plugin
from scan2gene.train.schedules import SCHEDULES


def _rates(name: str, epochs: int, losses=None, **options) -> list[float]:
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    schedule = SCHEDULES[name](optimizer, epochs, 1, **options)
    rates = []
    for epoch in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([losses[epoch]] if losses else []))
    return rates


def test_schedules_do_what_they_say():
    assert _rates("constant", 3) == [1, 1, 1]
    one = _rates("one_cycle", 20, rise_share=0.25, start_share=0.1, final_share=0.01)
    np.testing.assert_allclose([one[0], max(one), one[-1]], [0.1, 1, 0.01], atol=1e-9)
    assert one.index(max(one)) == 4
    assert _rates("multistep", 5, milestones=[2, 4], factor=0.5) == [1, 1, 0.5, 0.5, 0.25]
    np.testing.assert_allclose(
        _rates("plateau", 6, [1, 2, 2, 2, 2, 2], factor=0.1, patience=1), [1, 1, 1, 0.1, 0.1, 0.01]
    )
    cosine = _rates("cosine", 20, warmup_epochs=4, final_share=0.0)
    np.testing.assert_allclose(cosine[:5], [0.2, 0.4, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(cosine[5:], 0.5 * (1 + np.cos(np.pi * np.arange(1, 16) / 15)), atol=1e-6)
    np.testing.assert_allclose(_rates("cyclic", 5, lowest_share=0.2, period_epochs=4), [0.2, 0.6, 1.0, 0.6, 0.2])


SCHEDULED = {
    "plateau": {},
    "one_cycle": {},
    "cosine": {"warmup_epochs": 2},
    "multistep": {"milestones": [2], "factor": 0.5},
    "cyclic": {"period_epochs": 4},
    "constant": {},
}


@pytest.mark.parametrize("name", SCHEDULED)
def test_pretrained_layers_keep_their_share_of_the_rate(name, tmp_path, monkeypatch):
    """Plain gradient descent: the share shows in how far the weights move in a first step."""
    from scan2gene.train import loop

    seen = []
    real = loop.run_epoch
    monkeypatch.setattr(
        loop,
        "run_epoch",
        lambda state, *rest: (seen.append([g["lr"] for g in state.optimizer.param_groups]), real(state, *rest))[1],
    )
    plugin = Plugin(name=name, options=SCHEDULED[name])
    history = tiny_fit(tmp_path, build=Started, schedule=plugin, pretrained_rate=0.1)
    assert history["learning_rate"].tolist() == [rates[0] for rates in seen]
    np.testing.assert_allclose([rates[1] / rates[0] for rates in seen], 0.1)
    assert len(seen) > 3
    assert len(set(history["learning_rate"])) > 1 or name in ("plateau", "constant")


@pytest.mark.parametrize("name", ["one_cycle", "cosine"])
def test_a_schedule_of_steps_ends_with_the_training(name, tmp_path):
    schedule = Plugin(name=name, options={"final_share": 0.01})
    settings = {"epochs": 7, "accumulate": 2, "patience": None, "learning_rate": 0.1}
    history = tiny_fit(tmp_path, build=Started, schedule=schedule, pretrained_rate=0.1, **settings)
    assert history["steps"].tolist() == [2 * epoch for epoch in range(1, 8)]  # four batches, two and two
    assert history["last_rate"].iloc[-1] == pytest.approx(0.001)
    assert history["last_rate"].max() > 0.08
    assert (history["learning_rate"] != history["last_rate"]).all()
