"""From slices to exams: each way against its definition, for any order of slices."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from tests.bare_fit import bare_fit

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.forward.logits import NetworkOutput
from scan2gene.predict.aggregate import RULES, bags_of, check_fusion, fuse, load_aggregate
from scan2gene.tasks.outputs import Output, names_of
from scan2gene.train.fusion import fit_aggregate

DEFINED = {
    "mean": lambda p: p.mean(),
    "max": lambda p: p.max(),
    "top_k": lambda p: np.sort(p)[-3:].mean(),
    "noisy_or": lambda p: 1 - np.prod(1 - p),
}


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_way_is_what_its_name_says(name):
    rng = np.random.default_rng(0)
    for slices in (1, 2, 8):
        p = rng.uniform(0.02, 0.9, slices)
        value = RULES[name](np.log(p / (1 - p)))
        assert 1 / (1 + np.exp(-value)) == pytest.approx(DEFINED[name](p), rel=1e-9)


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-60, 60)), min_size=1, max_size=30), st.randoms())
def test_bags_do_not_mix_and_order_does_not_count(slices, random):
    present = sorted({b for b, _ in slices})
    bags = np.array([present.index(b) for b, _ in slices])
    logits = np.array([[v, -v] for _, v in slices])
    order = list(range(len(slices)))
    random.shuffle(order)
    for name in RULES:
        out = fuse(Plugin(name=name), logits, bags)
        assert np.isfinite(out).all()
        assert out.shape == (len(present), 2)
        np.testing.assert_allclose(fuse(Plugin(name=name), logits[order], bags[order]), out, rtol=1e-9, atol=1e-9)
        for bag in range(len(present)):
            alone = fuse(Plugin(name=name), logits[bags == bag], np.zeros((bags == bag).sum(), int))
            np.testing.assert_allclose(alone[0], out[bag], rtol=1e-9, atol=1e-9)


def test_k_is_an_option_and_others_are_refused():
    logits = np.array([[0.0], [2.0], [-1.0]])
    one = fuse(Plugin(name="top_k", options={"k": 1}), logits, np.zeros(3, int))
    np.testing.assert_allclose(one, [[2.0]])
    with pytest.raises(StudyError, match="'avg' is not known; valid: max, mean"):
        check_fusion([Plugin(name="avg")], {})
    with pytest.raises(StudyError, match="option 'n' is not known; valid: k"):
        check_fusion([Plugin(name="top_k", options={"n": 3})], {})
    for k in (0, "three", 1.5):
        with pytest.raises(StudyError, match=f"k is a whole number, 1 at least; got {k!r}"):
            check_fusion([Plugin(name="top_k", options={"k": k})], {})


@pytest.mark.parametrize("name", list(RULES))
def test_classes_that_share_a_softmax_still_add_up_to_one(name):
    rng = np.random.default_rng(4)
    logits, bags = rng.normal(size=(12, 4)), np.repeat([0, 1, 2], 4)
    fused = fuse(Plugin(name=name), logits, bags, [[0, 1, 2]])
    joined = softmax(fused[:, :3], axis=1)
    each = softmax(logits[:, :3], axis=1).reshape(3, 4, 3)
    hand = {"mean": each.mean(axis=1), "max": each.max(axis=1), "noisy_or": 1 - (1 - each).prod(axis=1),
            "top_k": np.sort(each, axis=1)[:, -3:].mean(axis=1)}[name]  # fmt: skip
    np.testing.assert_allclose(joined, hand / hand.sum(axis=1, keepdims=True), rtol=1e-9)
    np.testing.assert_allclose(fused[:, 3], fuse(Plugin(name=name), logits[:, [3]], bags)[:, 0])  # of two classes


def test_roles_are_weighed_alike_for_all_classes_of_a_target(tmp_path):
    answers = [Output("subtype", "", "multiclass", ("a", "b", "c")), Output("gene")]
    names = names_of(answers)
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 3, 40)
    rows = [(f"P{e}", f"E{e}", role) for e in range(40) for role in ("flair", "t1")]
    table = pd.DataFrame(rows, columns=["patient_id", "exam_id", "role"])
    logits = rng.normal(size=(80, 4))
    logits[::2, :3] += 4 * np.eye(3)[truth]  # flair knows
    targets = np.c_[np.eye(3)[truth], rng.integers(0, 2, 40)].repeat(2, axis=0)
    data = SimpleNamespace(table=table, targets=torch.from_numpy(targets), names=names)
    bags = bags_of(table, np.repeat("validation", 80))
    output = NetworkOutput({"original": logits})
    fit = bare_fit(tmp_path, outputs=answers)
    late, weights = fit_aggregate(fit, Plugin(name="late"), output, data, bags)
    of_class = weights.pivot(index="target", columns="member", values="weight")
    assert of_class.loc[names[:3], "flair"].nunique() == 1 and of_class.loc["subtype:a", "flair"] > 0.8
    weights.assign(run_id="net", split="cv", repeat=0, fold=0).to_csv(tmp_path / "fusion_weights.csv", index=False)
    again = load_aggregate(Plugin(name="late"), answers, tmp_path)
    fused = late(output, table)
    np.testing.assert_allclose(again(output, table), fused)
    assert (fused[:, :3].argmax(axis=1) == truth).mean() > 0.9
