"""Scores of maps, the choice of exams, and the randomisation of layers."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import ask, small
from scipy.stats import spearmanr

from scan2gene.explain.choose import chosen_exams
from scan2gene.explain.randomise import cascade
from scan2gene.explain.score import hit, rank_correlation, summary


def test_a_map_without_aim_has_the_lesions_share_of_its_energy():
    lesion = np.zeros((8, 10, 6), bool)
    lesion[2:5, 1:4, 2:4] = True
    even = hit(np.ones(lesion.shape), lesion)
    assert even and even.energy == pytest.approx(even.fraction) == pytest.approx(18 / 480)
    assert even.pointing == pytest.approx(18 / 480)  # every voxel is a maximum
    inside = hit(lesion.astype(float), lesion)
    assert inside and (inside.energy, inside.pointing) == (1, 1)
    outside = hit(1.0 - lesion, lesion)
    assert outside and (outside.energy, outside.pointing) == (0, 0)
    assert hit(np.zeros(lesion.shape), lesion) is None
    assert hit(np.ones(lesion.shape), np.zeros_like(lesion)) is None


@given(st.integers(0, 2**32 - 1))
def test_rank_correlation_is_scipys_and_blind_to_scale(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 9, (2, 5, 4, 3)).astype(float)
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.ravel(), other.ravel()).statistic)
    assert rank_correlation(one, 3 * one + 1) == pytest.approx(1)
    assert rank_correlation(one, np.ones_like(one)) is None


def test_summary_resamples_patients_and_counts_only_those_drawn():
    rng = np.random.default_rng(0)
    fraction = rng.uniform(0.01, 0.05, 40)
    maps = pd.DataFrame({"run_id": "net", "split": "cv", "target": "t", "method": "m", "lesion_fraction": fraction})
    maps["energy"], maps["energy_random"] = 6 * fraction * rng.uniform(0.5, 1.5, 40), fraction
    maps["pointing"], maps["drawn"] = (np.arange(40) % 4 == 0).astype(float), np.arange(40) < 30
    maps.loc[35, "energy"] = 1e9  # not drawn
    maps.loc[3, ["energy", "lesion_fraction", "pointing"]] = np.nan  # without a mask
    steps = pd.DataFrame({"run_id": "net", "split": "cv", "target": "t", "method": "m", "step": ["1 of 2", "2 of 2"]})
    table = summary(maps, steps.assign(correlation=[0.5, np.nan]), 400, 1).set_index(["measure", "step"])
    used = maps[maps["drawn"]].dropna(subset=["energy"])
    ratio = table.loc[("energy_ratio", "")]
    assert ratio["value"] == pytest.approx(used["energy"].sum() / used["lesion_fraction"].sum())
    assert ratio["n"] == 29 and 5 < ratio["low"] < ratio["value"] < ratio["high"] < 7
    assert table.loc[("energy_ratio_random", "")]["value"] == pytest.approx(1)
    assert table.loc[("pointing", "")]["value"] == pytest.approx(used["pointing"].mean())
    assert table.loc[("rank_correlation", "1 of 2")]["value"] == 0.5
    assert table.loc[("rank_correlation", "2 of 2")]["reason"] == "no map left"


def _predictions(n: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"patient_id": [f"P{i // 2}" for i in range(n)], "exam_id": [f"E{i}" for i in range(n)]})
    table["y_true"] = (np.arange(n) // 2 % 2).astype(float)
    table["prob"], table["part"] = rng.uniform(0, 1, n), np.where(np.arange(n) < 30, "test", "train")
    return table.assign(run_id="net", split="cv", repeat=0, fold=1, target="t", side="", variant="original")


CUT = [{"run_id": "net", "split": "cv", "repeat": 0, "fold": 1, "target": "t", "threshold": 0.4}]


def test_the_surest_of_each_kind_are_picked_from_test_patients_only():
    table = _predictions()
    found = chosen_exams(table, CUT, ["net"], ["cv"], ["t"], 2, 5, seed=1)
    test = table[table["part"] == "test"].assign(positive=lambda t: t["prob"] >= 0.4)
    assert set(found["exam_id"]) <= set(test["exam_id"])
    picked = found[found["picked"]]
    assert picked["kind"].value_counts().max() <= 2
    for kind, (decided, truth) in {"TP": (1, 1), "FP": (1, 0), "TN": (0, 0), "FN": (0, 1)}.items():
        of_kind = test[(test["positive"] == decided) & (test["y_true"] == truth)]
        best = of_kind.groupby("patient_id")["prob"].agg("max" if decided else "min")
        expected = sorted(best, reverse=bool(decided))[:2]
        assert sorted(picked.loc[picked["kind"] == kind, "prob"], reverse=bool(decided)) == expected
        assert (picked.loc[picked["kind"] == kind, "class"] == ("positive" if decided else "negative")).all()
    assert found["drawn"].sum() == 5 and found.loc[found["drawn"], "patient_id"].is_unique


def test_the_choice_does_not_depend_on_row_order_and_the_sample_not_on_the_run():
    table = _predictions()
    two = pd.concat([table, table.assign(run_id="other", prob=1 - table["prob"])], ignore_index=True)
    cuts = [*CUT, CUT[0] | {"run_id": "other"}]
    one = chosen_exams(two, cuts, ["net", "other"], ["cv"], ["t"], 1, 6, seed=1)
    again = chosen_exams(two.sample(frac=1, random_state=3), cuts, ["net", "other"], ["cv"], ["t"], 1, 6, seed=1)
    key = ["run_id", "exam_id"]
    pd.testing.assert_frame_equal(
        one.sort_values(key).reset_index(drop=True), again.sort_values(key).reset_index(drop=True)
    )
    drawn = [set(part["patient_id"]) for _, part in one[one["drawn"]].groupby("run_id")]
    assert drawn[0] == drawn[1]
    assert chosen_exams(table, CUT, [], ["cv"], ["t"], 1, 6, seed=1).empty


def test_the_cascade_ends_at_random_weights_and_leaves_the_network_alone():
    model, x = small(3, seed=1)
    fresh, _ = small(3, seed=2)
    before = copy.deepcopy(model.state_dict())
    outputs = [(step, broken(x)) for step, broken in cascade(model, fresh)]
    assert [step for step, _ in outputs] == ["1 of 3", "2 of 3", "3 of 3"]
    assert not torch.allclose(outputs[0][1], model(x)) and torch.equal(outputs[-1][1], fresh(x))
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    first = next(iter(cascade(model, fresh)))[1]
    torch.testing.assert_close(first.body(first.first(x)), model.body(model.first(x)))  # only the head is random
    assert ask(first, x).score(x).shape == (2,)
