"""From slices to exams: each way against its definition, for any order of slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.predict.aggregate import RULES, check_fusion, fuse

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
