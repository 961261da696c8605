"""The training loop: stopping, going on after a kill, and what it leaves in its folder."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tests.bare_fit import bare_fit
from tiny_fits import Started, tiny_cohort, tiny_fit
from torch import nn

from scan2gene.core.errors import RunError
from scan2gene.core.section import Plugin
from scan2gene.core.study_runs import Data, Train
from scan2gene.forward.logits import forward
from scan2gene.models import MODELS
from scan2gene.tasks.outputs import Output
from scan2gene.train.loop import fit_network
from scan2gene.train.loss import masked_loss


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
    unbroken = tiny_fit(tmp_path / "a", build=lambda: _Interrupted(10**9))
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "b", build=lambda: _Interrupted(passes))
    resumed = tiny_fit(tmp_path / "b", build=lambda: _Interrupted(10**9))
    columns = [c for c in unbroken.columns if not c.startswith("seconds")]
    pd.testing.assert_frame_equal(unbroken[columns], resumed[columns], check_exact=True)
    one, two = (torch.load(tmp_path / d / "best.pt", weights_only=True) for d in "ab")
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert not list((tmp_path / "b").glob(".tmp-*"))


def test_stopped_before_any_file_is_in_place_it_ends_the_same(tmp_path, monkeypatch):
    """Files change by renaming only, so these are all the states that a kill can leave behind."""
    unbroken = tiny_fit(tmp_path / "whole", epochs=3)
    columns = [c for c in unbroken.columns if not c.startswith("seconds")]
    renamed, replace = [0, 0], Path.replace

    def counted(path, target):
        renamed[0] += 1
        if renamed[0] == renamed[1]:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    for strike in range(1, 100):
        renamed[:] = 0, strike
        folder = tmp_path / str(strike)
        try:
            tiny_fit(folder, epochs=3)
        except KeyboardInterrupt:
            resumed = tiny_fit(folder, epochs=3)
            pd.testing.assert_frame_equal(unbroken[columns], resumed[columns], check_exact=True)
            one, two = (torch.load(d / "best.pt", weights_only=True) for d in (tmp_path / "whole", folder))
            assert all(torch.equal(one[k], two[k]) for k in one)
        else:
            break
    assert strike > 3 * 2  # history.csv and last.pt of three epochs, and best.pt of some


def test_best_checkpoint_is_the_one_of_the_lowest_validation_loss(tmp_path):
    history = tiny_fit(tmp_path, epochs=8)
    best = history.loc[history["validation_loss"].idxmin()]
    assert history[history["best"] == 1]["epoch"].max() == best["epoch"]
    model = MODELS["light_cnn"](1, 2)
    model.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    data = tiny_cohort()
    logits = forward(model, data, range(14, 20), 4)
    loss = masked_loss(torch.from_numpy(logits), data.targets[14:].double())
    assert float(loss) == pytest.approx(best["validation_loss"], abs=1e-6)


def test_stops_after_patience_epochs_without_a_better_loss(tmp_path):
    history = tiny_fit(tmp_path, epochs=100, patience=3, learning_rate=0.05)
    assert len(history) < 100
    assert len(history) - history[history["best"] == 1]["epoch"].max() == 3


@pytest.mark.parametrize("batch", [1, 13])
def test_a_batch_of_one_exam_trains_a_normalised_head(batch, tmp_path):
    data = tiny_cohort()
    settings = Train(epochs=3, device="cpu", patience=None, schedule=Plugin(name="one_cycle"))
    for rows in (np.arange(14), np.arange(2)):
        folder = tmp_path / str(len(rows))
        fit_network(bare_fit(folder, Data(batch_size=batch), settings), partial(MODELS["light_cnn"], 1, 2), data, rows,
                    rows[:0])  # fmt: skip
        state = torch.load(folder / "best.pt", weights_only=True)
        assert all(value.isfinite().all() for value in state.values())


def test_divergence_is_said_plainly(tmp_path):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.ones(1))

        def forward(self, x, present=None):
            return torch.full((len(x), 2), torch.nan) * self.w

    with pytest.raises(RunError, match=r"diverged in epoch 1.*learning_rate"):
        tiny_fit(tmp_path, build=Broken)


def test_forward_does_not_depend_on_batch_size():
    model = MODELS["light_cnn"](1, 2)
    data = tiny_cohort()
    np.testing.assert_allclose(forward(model, data, range(20), 3), forward(model, data, range(20), 20), atol=1e-6)


EXTRAS = {
    "accumulate": {"accumulate": 3, "clip_norm": 0.5},
    "ema": {"ema": 0.9, "schedule": Plugin(name="cosine", options={"warmup_epochs": 2})},
    "one_cycle": {"schedule": Plugin(name="one_cycle"), "patience": None, "optimizer": "adamw", "pretrained_rate": 0.5},
    "no_validation": {
        "schedule": Plugin(name="one_cycle"),
        "patience": None,
        "ema": 0.9,
        "parts": (np.arange(17), np.arange(0)),
    },
    "mixup": {"mixup": 0.4, "label_smoothing": 0.1, "optimizer": "adamw", "weight_decay": 0.01},
    "balanced": {"balanced_sampling": True, "class_weights": "balanced", "schedule": Plugin(name="cyclic")},
    "sgd": {
        "optimizer": "sgd",
        "learning_rate": 0.01,
        "schedule": Plugin(name="multistep", options={"milestones": [2]}),
    },
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_option_goes_on_bit_equal_after_an_interruption(extra, tmp_path):
    unbroken = tiny_fit(tmp_path / "a", build=lambda: _Interrupted(10**9), **EXTRAS[extra])
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "b", build=lambda: _Interrupted(14), **EXTRAS[extra])
    resumed = tiny_fit(tmp_path / "b", build=lambda: _Interrupted(10**9), **EXTRAS[extra])
    columns = [c for c in unbroken.columns if not c.startswith("seconds")]
    pd.testing.assert_frame_equal(unbroken[columns], resumed[columns], check_exact=True)
    one, two = (torch.load(tmp_path / d / "best.pt", weights_only=True) for d in "ab")
    assert all(torch.equal(one[k], two[k]) for k in one)


def _plain_fit(folder: Path, batch: int, **settings) -> dict:
    """Weights after two epochs without augmentation and dropout, by plain gradient descent."""
    data = tiny_cohort(17)
    train = Train(
        epochs=2, device="cpu", optimizer="sgd", learning_rate=0.05, schedule=Plugin(name="constant"), **settings
    )
    build = partial(MODELS["light_cnn"], 1, 2, dropout=0.0, head_norm="none")  # whose statistics are a batch's own
    fit = bare_fit(folder, Data(batch_size=batch), train, 5)
    fit_network(fit, build, data, np.arange(12), np.arange(12, 17))
    return torch.load(folder / "best.pt", weights_only=True)


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    """Also with missing labels, of which the batches hold different numbers."""
    large = _plain_fit(tmp_path / "a", 12)
    small = _plain_fit(tmp_path / "b", 4, accumulate=3)
    for key in large:
        torch.testing.assert_close(large[key], small[key], rtol=1e-4, atol=1e-5)


def test_two_devices_equal_one(tmp_path):
    one = _plain_fit(tmp_path / "a", 4)
    two = _plain_fit(tmp_path / "b", 4, devices=2)
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-5)
    told = [pd.read_csv(tmp_path / n / "history.csv").filter(regex="^train_(auroc|accuracy)") for n in "ab"]
    pd.testing.assert_frame_equal(*told)


def test_images_that_do_not_fit_stay_on_disk_and_train_the_same(tmp_path):
    from scan2gene.data.images import StoredImages
    from scan2gene.data.load import load_samples
    from scan2gene.data.samples import Sampling

    rng = np.random.default_rng(0)
    rows = []
    for n in range(20):
        for role in ("t1", "t2")[: 1 + (n % 3 > 0)]:
            file = f"P{n}_{role}.nii"
            nib.save(nib.Nifti1Image(rng.integers(0, 255, (8, 9, 10), dtype=np.uint8), np.eye(4)), tmp_path / file)
            rows.append({"exam_id": f"E{n}", "role": role, "file": file, "status": "ok", "reason": ""})
    cohort = pd.DataFrame({"patient_id": [f"P{n}" for n in range(20)], "exam_id": [f"E{n}" for n in range(20)]})
    values = {"side": "", "target": "gene", "value": [n % 2 for n in range(20)]}
    labels = pd.DataFrame({"patient_id": cohort["patient_id"], **values})
    sampling = Sampling(("t1", "t2"), (Output("gene"),))
    both = [load_samples(tmp_path, pd.DataFrame(rows), cohort, labels, sampling, m) for m in (0, 10**9)]
    assert isinstance(both[0].images, StoredImages)
    assert "memory-mapped" in both[0].description()
    assert "in memory" in both[1].description()
    index = torch.tensor([3, 0, 19])
    assert torch.equal(both[0].images[index], both[1].images[index])
    for n, data in enumerate(both):
        build = partial(MODELS["light_cnn"], 2, 1)
        train = Train(epochs=2, device="cpu")
        fit = bare_fit(tmp_path / str(n), Data(batch_size=4), train, 5)
        fit_network(fit, build, data, np.arange(14), np.arange(14, 20))
    first, second = (pd.read_csv(tmp_path / n / "history.csv")["validation_loss"] for n in "01")
    assert first.equals(second)


def test_without_early_stopping_the_last_weights_are_kept(tmp_path):
    history = tiny_fit(tmp_path, epochs=5, patience=None, learning_rate=0.05, schedule=Plugin(name="constant"))
    assert history["best"].tolist() == [0, 0, 0, 0, 1]
    model = MODELS["light_cnn"](1, 2)
    model.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    logits = forward(model, tiny_cohort(), range(14, 20), 4)
    loss = masked_loss(torch.from_numpy(logits), tiny_cohort().targets[14:].double())
    assert float(loss) == pytest.approx(history["validation_loss"].iloc[-1], abs=1e-6)


def test_a_tiny_planted_cohort_is_learned_as_evaluation_sees_it(tmp_path):
    """Also without a validation part, whose cells in history.csv are empty then."""
    data, train = tiny_cohort(), np.arange(20)
    settings = {"epochs": 30, "patience": None, "optimizer": "adamw", "schedule": Plugin(name="one_cycle")}
    history = tiny_fit(tmp_path, parts=(train, train[:0]), **settings)
    assert history.filter(like="validation").isna().all(axis=None)
    assert history["final_train_auroc"].isna().tolist() == [True] * 29 + [False]
    assert history["final_train_auroc"].iloc[-1] == 1.0
    model = MODELS["light_cnn"](1, 2)
    model.load_state_dict(torch.load(tmp_path / "best.pt", weights_only=True))
    assert roc_auc_score(data.targets[:, 0], forward(model, data, train, 4)[:, 0]) == 1.0


def test_frozen_layers_and_their_batch_statistics_stay(tmp_path):
    torch.manual_seed(5)
    before = {k: v.clone() for k, v in Started().state_dict().items()}
    tiny_fit(tmp_path, build=Started, pretrained_rate=0.5, weight_decay=0.1)
    after = torch.load(tmp_path / "best.pt", weights_only=True)
    for name, value in before.items():
        assert torch.equal(value, after[name]) == name.startswith("frozen"), name


def test_a_started_network_goes_on_bit_equal_after_an_interruption(tmp_path):
    class Stopped(Started):
        left = 10**9

        def forward(self, x, present=None):
            Stopped.left -= 1
            if Stopped.left < 0:
                raise KeyboardInterrupt
            return super().forward(x, present)

    settings = {"pretrained_rate": 0.1, "schedule": Plugin(name="cosine", options={"warmup_epochs": 2})}
    unbroken = tiny_fit(tmp_path / "a", build=Stopped, **settings)
    Stopped.left = 14
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "b", build=Stopped, **settings)
    Stopped.left = 10**9
    resumed = tiny_fit(tmp_path / "b", build=Stopped, **settings)
    columns = [c for c in unbroken.columns if not c.startswith("seconds")]
    pd.testing.assert_frame_equal(unbroken[columns], resumed[columns], check_exact=True)


def test_history_has_the_accuracy_of_training_and_of_each_target(tmp_path):
    torch.manual_seed(1)
    plain = Linear()
    data = replace(tiny_cohort(), names=("a", "b"))
    train, validation = np.arange(14), np.arange(14, 20)
    settings = Train(epochs=1, device="cpu", learning_rate=1e-12, label_smoothing=0.2)
    fit_network(bare_fit(tmp_path, Data(batch_size=4), settings, 5), lambda: plain, data, train, validation)
    (row,) = pd.read_csv(tmp_path / "history.csv").to_dict("records")
    for part, rows in (("train", train), ("validation", validation)):
        z, y = forward(plain, data, rows, 4), data.targets.numpy()[rows]
        each = [((z[:, t] > 0) == y[:, t])[~np.isnan(y[:, t])].mean() for t in (0, 1)]
        assert [row[f"{part}_accuracy:{n}"] for n in "ab"] == pytest.approx(each)
        assert row[f"{part}_accuracy"] == pytest.approx(np.mean(each))
        known = ~np.isnan(y)
        each = [roc_auc_score(y[known[:, t], t], z[known[:, t], t]) for t in (0, 1)]
        assert [row[f"{part}_auroc:{n}"] for n in "ab"] == pytest.approx(each)
    assert row["validation_auroc"] == pytest.approx((row["validation_auroc:a"] + row["validation_auroc:b"]) / 2)
    assert {"train_loss", "validation_loss"} <= set(row)


class Linear(nn.Module):
    """Without dropout or batch statistics, so that it answers in training as it does afterwards."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(512, 2)

    def forward(self, x, present=None):
        return self.head(x.flatten(1))
