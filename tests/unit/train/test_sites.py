"""Balanced draws are what they say; the adversary makes a planted site hard to read and leaves the label."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from tests.bare_fit import bare_fit

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Data, Predict, SiteAdversary, Train
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import forward_variants
from scan2gene.learners.fold import check_run
from scan2gene.models import MODELS
from scan2gene.models.probe import Probe
from scan2gene.models.sides import TwoSides
from scan2gene.tasks.run_config import RunConfig, resolve
from scan2gene.train.loop import fit_network
from scan2gene.train.sites import Adversary, pull, share_table, site_codes, site_shares

PROBE = partial(Probe, 6, 1, 1, hidden=16)


def _planted(n: int = 320) -> Samples:
    """Six numbers: two tell the label, two the site, which has nothing to do with the label beyond training's luck."""
    rng = np.random.default_rng(0)
    y, site = np.arange(n) % 2, (np.arange(n) // 2) % 2
    values = rng.normal(0, 1, (n, 6))
    values[:, :2] += 1.2 * y[:, None]
    values[:, 2:4] += 1.5 * site[:, None]
    values[:, 4] += 0.8 * y + 0.8 * site
    exams = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "exam_id": [f"E{i}" for i in range(n)],
                          "site": np.where(site, "A", "B")})  # fmt: skip
    return Samples(exams, torch.tensor(values, dtype=torch.float32), torch.ones(n, 1),
                         torch.tensor(y[:, None], dtype=torch.float32), {}, ("gene",))  # fmt: skip


def _fitted(folder: Path, build=PROBE, **settings) -> tuple[float, float]:
    """AUROC of the label, and of the site read from the features, on 160 exams that were not learned from."""
    data = _planted()
    train = Train(**({"epochs": 40, "patience": 40, "learning_rate": 0.01, "device": "cpu",
                      "weight_decay": 1e-3, "optimizer": "adamw"} | settings))  # fmt: skip
    fit_network(bare_fit(folder, Data(batch_size=24), train, 3), build, data, np.arange(120), np.arange(120, 160))
    # the network as it stands at the end, when the pull is whole
    model = build()
    model.load_state_dict(torch.load(folder / "last.pt", weights_only=True)["model"])
    passed = forward_variants(model, data, range(160, 320), 64, Predict())
    y, site = data.targets[160:, 0].numpy(), (data.table["site"] == "A").to_numpy()[160:]
    half = np.arange(160) // 4 % 2 == 0
    read = LogisticRegression(max_iter=1000).fit(passed.embeddings[half], site[half])
    told = read.decision_function(passed.embeddings[~half])
    return roc_auc_score(y, passed.logits["original"][:, 0]), roc_auc_score(site[~half], told)


def test_the_adversary_makes_the_site_hard_to_read_and_keeps_the_label(tmp_path):
    label, site = _fitted(tmp_path / "plain")
    label_against, site_against = _fitted(tmp_path / "against", site_adversary={"weight": 2.0, "rise": 10})
    assert site > 0.75
    assert site_against < site - 0.12
    assert label_against > label - 0.05 > 0.7
    history = pd.read_csv(tmp_path / "against" / "history.csv")
    assert history["site_pull"].is_monotonic_increasing
    assert history["site_pull"].iloc[-1] == pytest.approx(2.0, rel=1e-3)
    assert history["site_loss"].notna().all()
    assert "adversary" not in " ".join(torch.load(tmp_path / "against" / "best.pt", weights_only=True))


def test_the_gradient_of_naming_sites_comes_back_turned_round():
    data, settings = _planted(), SiteAdversary(weight=0.5, rise=1)
    torch.manual_seed(0)
    network = PROBE()
    adversary = Adversary(network, data, np.arange(100), settings)
    chosen, factor = torch.arange(20), pull(settings, 1)
    network(data.images[chosen])
    adversary.loss(chosen, 1).backward()
    turned = network.hidden[0].weight.grad.clone()
    network.zero_grad()
    named = adversary.layers(network.hidden((data.images[chosen] - network.mean) / network.deviation))
    torch.nn.functional.cross_entropy(named, adversary.codes[chosen], adversary.weights).backward()
    torch.testing.assert_close(turned, -factor * network.hidden[0].weight.grad)
    assert factor == pytest.approx(0.5 * (2 / (1 + np.exp(-10)) - 1))


def test_a_fit_with_an_adversary_goes_on_as_if_it_had_never_stopped(tmp_path):
    against = {"site_adversary": {}, "site_sampling": True}
    _fitted(tmp_path / "whole", epochs=4, **against)
    _fitted(tmp_path / "parts", epochs=2, **against)
    _fitted(tmp_path / "parts", epochs=4, **against)
    one, two = (torch.load(tmp_path / d / "last.pt", weights_only=True)["adversary"] for d in ("whole", "parts"))
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_images_and_sides_reach_the_adversary_too():
    data = _planted(8)
    images = Samples(data.table, torch.rand(8, 1, 8, 8, 8), torch.ones(8, 1), data.targets, {})
    for sided in (False, True):
        network = MODELS["light_cnn"](1, 1)
        whole = TwoSides(network, [("gene", "L"), ("gene", "R")], "i", "L") if sided else network
        adversary = Adversary(whole, images, np.arange(8), SiteAdversary())
        whole(images.images)
        adversary.loss(torch.arange(8), 3).backward()
        assert network.blocks[0][0].weight.grad.abs().sum() > 0


def test_few_exams_of_a_site_are_made_up_for_once():
    """By weights of the adversary's loss, or by balanced draws; by both it would weigh nine times as much."""
    data = _planted(40)
    data = Samples(data.table.assign(site=["A"] * 36 + ["B"] * 4), data.images, data.present, data.targets, {})
    plain, drawn = (Adversary(PROBE(), data, np.arange(40), SiteAdversary(), even).weights for even in (False, True))
    assert float(plain[1] / plain[0]) == pytest.approx(9)
    assert drawn.tolist() == [1, 1]


def test_sites_are_drawn_alike_and_so_are_the_classes_in_them():
    codes = torch.tensor([0] * 6 + [1] * 3 + [-1] * 2)
    targets = torch.tensor([[1.0]] + [[0.0]] * 5 + [[1.0], [1.0], [torch.nan]] + [[0.0], [1.0]])
    shares = site_shares(targets, codes)
    assert float(shares.sum()) == pytest.approx(1)
    assert [float(shares[codes == s].sum()) for s in (0, 1, -1)] == pytest.approx([1 / 3] * 3)
    assert float(shares[0]) == pytest.approx(float(shares[1:6].sum()))
    assert float(shares[8]) == 0
    table = share_table(targets, codes, ["A", "B"], ("gene",), shares).set_index(["site", "class"])
    assert table.loc[("A", "positive"), "draws_per_epoch"] == pytest.approx(11 / 6)
    assert table.loc[("A", "negative"), "exams"] == 5
    assert table.loc[("B", "negative"), "exams"] == 0


def test_what_needs_two_sites_says_so(tmp_path):
    data = _planted(40)
    one = Samples(data.table.assign(site="A"), data.images, data.present, data.targets, {}, ("gene",))
    for settings in ({"site_sampling": True}, {"site_adversary": {}}):
        fit = bare_fit(tmp_path / "f", Data(), Train(epochs=1, device="cpu", **settings), 1)
        with pytest.raises(CohortError, match="training has 1 site, and"):
            fit_network(fit, PROBE, one, np.arange(30), np.arange(30, 40))
    other = data.table["site"].mask(np.arange(40) >= 30, "C")  # a site that training lacks has no number
    names, codes = site_codes(Samples(data.table.assign(site=other), *[data.images] * 3, {}), np.arange(30))
    assert names == ["A", "B"]
    assert set(codes[30:].tolist()) == {-1}


@pytest.mark.parametrize(
    ("train", "weights", "why"),
    [
        ({"site_adversary": {}, "mixup": 0.2}, None, "does not go with train.mixup"),
        ({"site_adversary": {}, "compile": True}, None, "does not go with train.compile"),
        ({"site_adversary": {}}, {"name": "medicalnet-resnet10", "freeze": "all"}, "linear probe has none of its own"),
    ],
)
def test_what_an_adversary_cannot_go_with_is_refused_before_any_work(train, weights, why):
    with pytest.raises(StudyError, match=why):
        check_run(_config(train, weights))


def test_sites_must_be_named():
    nameless = replace(_config({"site_sampling": True}, None), has_sites=False)
    with pytest.raises(StudyError, match=r"train\.site_sampling needs cohort\.site_column"):
        check_run(nameless)


def _config(train: dict, weights: dict | None) -> RunConfig:
    study = Study.model_validate({
        "name": "s", "targets": {"gene": {}}, "train": train, "splits": [{"name": "cv", "kind": "kfold"}],
        "cohort": {"scans": ["s"], "labels": "l.csv", "roles": {"t1": {"match": {"path": "t1"}}},
                   "site_column": "site"},
        "runs": [{"name": "net", "model": {"name": "resnet10"}, "weights": weights}],
    })  # fmt: skip
    return resolve(study, study.runs[0])
