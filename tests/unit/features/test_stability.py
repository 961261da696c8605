"""Jittered masks, intraclass correlation and the filter of correlation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from lesion_exams import LAS, SPACING, ball, exam

from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.stability import JITTERS, icc, jittered, jittered_features, stability, uncorrelated

AFFINE = LAS @ np.diag([*SPACING, 1.0])
SOLID = ball((50.0, 47.0, 46.0), 14)
# four judges of six targets: Shrout & Fleiss 1979, table 2, whose table 4 gives 0.29 and 0.71
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_icc_is_that_of_shrout_and_fleiss():
    assert icc(JUDGES) == pytest.approx((0.29, 0.71), abs=0.005)
    assert icc(JUDGES * 1e-9 + 1e3) == pytest.approx(icc(JUDGES), rel=1e-2)


def test_icc_of_easy_and_of_no_cases():
    values = np.arange(8.0)[:, None] + np.zeros(3)
    assert icc(values) == pytest.approx((1, 1))
    agree, consistent = icc(values + np.array([0, 5, 10]))
    assert agree < 0.5 and consistent == pytest.approx(1)
    assert np.isnan(icc(np.ones((8, 3)))).all()
    assert np.isnan(icc(values[:2])).all()
    values[3:, 1] = np.nan
    assert icc(values) == pytest.approx((1, 1))


@pytest.mark.parametrize("jitter", JITTERS)
@pytest.mark.parametrize("labels", [np.uint8, np.float32, np.int16])
def test_jitter_changes_little(jitter, labels):
    mask = Volume((SOLID * 2).astype(labels), AFFINE, "label")
    found = jittered(mask, jitter, np.random.default_rng(0))
    assert found.array.dtype == labels and set(np.unique(found.array)) == {0, 2}
    inside = found.array > 0
    overlap = 2 * (inside & SOLID).sum() / (inside.sum() + SOLID.sum())
    assert 0.8 < overlap < (1.0001 if jitter == "rotate" else 1)  # a ball turns into itself
    assert {"dilate": inside.sum() > SOLID.sum(), "erode": inside.sum() < SOLID.sum()}.get(jitter, True)
    again = jittered(mask, jitter, np.random.default_rng(0))
    np.testing.assert_array_equal(found.array, again.array)


def test_rotation_keeps_size_and_place():
    box = np.zeros(SOLID.shape, np.uint8)
    box[10:38, 20:30, 5:15] = 1
    found = jittered(Volume(box, AFFINE, "label"), "rotate", np.random.default_rng(1)).array
    assert found.sum() == pytest.approx(box.sum(), rel=0.03)
    assert (found != box).sum() > 50
    np.testing.assert_allclose(np.argwhere(found).mean(axis=0), np.argwhere(box).mean(axis=0), atol=0.3)


@pytest.mark.parametrize("jitter", JITTERS)
def test_smallest_masks_and_those_at_the_border_stay_masks(jitter):
    for place in ((0, 0, 0), (47, 47, 23), (20, 20, 10)):
        mask = np.zeros(SOLID.shape, np.uint8)
        mask[place] = 1
        assert jittered(Volume(mask, AFFINE, "label"), jitter, np.random.default_rng(3)).array.sum() >= 1
    empty = Volume(np.zeros(SOLID.shape, np.uint8), AFFINE, "label")
    assert jittered(empty, jitter, np.random.default_rng(0)) is empty


def test_stable_and_unstable_features_are_told_apart():
    exams = [exam(ball((40.0 + 2 * n, 47.0, 46.0), 8 + n), roles=("t1",)) for n in range(8)]

    def extract(one: Exam) -> dict[str, float]:
        noise = np.random.default_rng(int(one.masks["tumour"].array.sum() * 7919 % 2**31)).normal()
        inside = one.masks["tumour"].array > 0
        place = np.argwhere(inside)[:, 0].mean()
        return {"volume": inside.sum(), "place": place, "noise": noise, "missing": np.nan, "constant": 1.0}

    found = stability(extract, exams, seed=1).set_index("feature")
    assert list(found.index) == ["volume", "place", "noise", "missing", "constant"]
    assert found.loc["place", "icc"] > 0.95
    assert 0.95 > found.loc["volume", "icc"] > 0.7  # balls of 4 to 8 pixels across grow and shrink by one
    assert found.loc["noise", "icc"] < 0.5
    assert found.loc[["missing", "constant"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(found, stability(extract, exams, seed=1).set_index("feature"))
    assert stability(extract, exams[:1]).shape == (5, 3)


def test_jittered_features_begin_with_the_given_mask():
    whole = exam(SOLID)
    found = jittered_features(lambda e: {"n": float((e.masks["tumour"].array > 0).sum())}, whole, ("dilate", "erode"))
    assert found[0]["n"] == SOLID.sum() and found[1]["n"] > found[0]["n"] > found[2]["n"]


def test_uncorrelated_keeps_the_first_of_two():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 60))
    values = pd.DataFrame({
        "a": a, "constant": 3.0, "b": b, "like_a": -5 * a + 0.01 * b, "empty": np.nan, "half": a + b,
    })  # fmt: skip
    assert uncorrelated(values) == ["a", "b", "half"]
    assert uncorrelated(values, 0.6) == ["a", "b"]
    assert uncorrelated(values[["like_a", "a"]]) == ["like_a"]
    values.loc[:5, "a"] = np.nan
    assert "a" in uncorrelated(values)
    assert uncorrelated(values[["empty"]]) == []
