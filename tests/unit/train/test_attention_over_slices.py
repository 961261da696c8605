"""Learned fusion: attention finds the slice that shows it, weights follow validation, tests are never seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from scan2gene.core.section import Plugin
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.stacking import late_ensembles, late_weights, weighted
from scan2gene.models.mil import AttentionMIL
from scan2gene.predict.aggregate import Bags, attended
from scan2gene.train.mil import fit_attention

FEATURES = 12


def bags_with_a_sign(exams: int = 200, seed: int = 0):
    """Slices of noise; in a positive exam one of them has the sign, in every exam one is merely strange."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, exams).astype(float)
    x, bags, signs = [], [], []
    for n, label in enumerate(y):
        slices = int(rng.integers(6, 14))
        own = rng.standard_normal((slices, FEATURES))
        where, strange = rng.choice(slices, 2, replace=False)
        own[where, 0] += 4 * label
        own[strange, 1] += 4
        x.append(own)
        bags += [n] * slices
        signs.append(len(bags) - slices + where)
    part = np.array(["train", "train", "validation", "test"])[np.arange(exams) % 4]
    return np.concatenate(x), np.array(bags), y[:, None], part, np.array(signs)


@pytest.mark.parametrize("name", ["attention", "gated_attention"])
def test_attention_finds_the_slice_that_shows_it(name):
    x, bags, y, part, signs = bags_with_a_sign()
    model = fit_attention(Plugin(name=name), x, Bags(pd.DataFrame({"part": part}), bags), y, 1)
    logits = attended(model, x, bags)
    tested = part == "test"
    found = roc_auc_score(y[tested, 0], logits[tested, 0])
    mean = roc_auc_score(y[tested, 0], [x[bags == n, 0].mean() for n in np.flatnonzero(tested)])
    assert found > max(0.9, mean)
    scaled = torch.from_numpy(((x - model.centre.numpy()) / model.scale.numpy()).astype(np.float32))
    weight = model.weights(scaled, torch.from_numpy(bags), len(y)).detach().numpy()
    np.testing.assert_allclose(np.bincount(bags, weight), 1, rtol=1e-5)
    positive = tested & (y[:, 0] == 1)
    at_sign = weight[signs[positive]] * np.bincount(bags)[positive]
    assert np.median(at_sign) > 2  # against 1 for a mean


def test_test_exams_teach_attention_nothing():
    x, bags, y, part, _ = bags_with_a_sign(40)
    way = Plugin(name="gated_attention", options={"epochs": 3})
    of_exams = Bags(pd.DataFrame({"part": part}), bags)
    first = fit_attention(way, x, of_exams, y, 1).state_dict()
    changed = np.where((part == "test")[:, None], 1 - y, y)
    spoilt = np.where((part == "test")[bags][:, None], 1e3, x)
    again = fit_attention(way, spoilt, of_exams, changed, 1).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_bags_do_not_mix_and_order_does_not_count():
    torch.manual_seed(0)
    model = AttentionMIL(FEATURES, 2, gated=True).eval()
    for weight in (model.score.weight, model.head.weight):
        torch.nn.init.normal_(weight)
    x, bags = torch.randn(9, FEATURES), torch.tensor([0, 1, 1, 0, 2, 2, 2, 1, 0])
    out = model(x, bags, 3)
    order = torch.randperm(9)
    torch.testing.assert_close(model(x[order], bags[order], 3), out)
    for bag in range(3):
        own = x[bags == bag]
        torch.testing.assert_close(model(own, torch.zeros(len(own), dtype=torch.long), 1)[0], out[bag])
    alone = model(x[4:5], torch.tensor([0]), 1)
    torch.testing.assert_close(alone, model.head(x[4:5]))  # one slice is its exam


def test_late_weights_follow_the_member_that_knows():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60).astype(float)
    logits = np.stack([3 * (2 * y - 1) + rng.standard_normal(60), 3 * rng.standard_normal(60)], axis=1)
    weights, reason = late_weights(logits, y)
    assert reason == ""
    assert weights.sum() == pytest.approx(1)
    assert weights[0] > 0.85
    few, _ = late_weights(logits[:4], np.array([1.0, 0, 1, 0]))
    assert 0.2 < few.min() < 0.5  # four exams decide little
    equal, reason = late_weights(logits[:5], np.ones(5))
    assert equal.tolist() == [0.5, 0.5]
    assert reason == "validation has 5 positive of 5 labelled exams; all weigh the same"


def test_a_member_without_an_answer_leaves_the_word_to_the_others():
    out = weighted(np.array([[1.0, 3.0], [np.nan, 3.0], [np.nan, np.nan]]), np.array([0.75, 0.25]))
    np.testing.assert_allclose(out, [1.5, 3.0, np.nan])
    np.testing.assert_allclose(weighted(np.array([[np.nan, 2.0]]), np.array([1.0, 0.0])), [2.0])


def _predictions(runs=("axial", "coronal"), seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    y = rng.integers(0, 2, 80)
    for run in runs:
        for n in range(80):
            z = (4 * y[n] - 2 if run == "axial" else 0) + rng.standard_normal()
            part = "train" if n < 30 else "validation" if n < 55 else "test"
            rows.append(dict.fromkeys(PREDICTION_COLUMNS, "") | {
                "run_id": run, "split": "s", "repeat": 0, "fold": 0, "part": part, "variant": "original",
                "unit": "exam", "patient_id": f"p{n}", "exam_id": f"e{n}", "unit_id": f"e{n}", "target": "g",
                "y_true": float(y[n]),
                "logit": z, "prob": 1 / (1 + np.exp(-z)), "status": "ok",
            })  # fmt: skip
    return pd.DataFrame(rows)


def test_runs_are_weighed_by_validation_alone():
    table = _predictions()
    fused, weights = late_ensembles(table, {"both": ["axial", "coronal"]})
    assert set(fused["variant"]) == {"late fusion"}
    assert len(fused) == 80
    assert weights.set_index("member")["weight"]["axial"] > 0.7
    z = table.pivot(index="exam_id", columns="run_id", values="logit")
    expected = sum(z[m] * w for m, w in weights[["member", "weight"]].itertuples(index=False))
    np.testing.assert_allclose(fused.set_index("exam_id")["logit"], expected.reindex(fused["exam_id"]))
    spoilt = table.assign(y_true=table["y_true"].where(table["part"] == "validation", 1 - table["y_true"]))
    _, again = late_ensembles(spoilt, {"both": ["axial", "coronal"]})
    np.testing.assert_array_equal(again["weight"], weights["weight"])
