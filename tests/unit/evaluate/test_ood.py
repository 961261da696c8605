"""Ranges of training exams against a brute-force leave-one-out, simulated cohorts and planted oddities."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.evaluate.ood import NUMBERS, WIDENINGS, Ranges, _left_out, judge, learn

GREY = ["mean", "sd", "p1", "p25", "p50", "p75", "p99", "at_minimum", "roughness", "likeness"]


def cohort(n: int, seed: int = 0, mixing: np.ndarray | None = None) -> pd.DataFrame:
    """Correlated, heavy-tailed measures of exams of one role."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(len(NUMBERS)) if mixing is None else mixing
    table = pd.DataFrame(50 + rng.standard_t(5, (n, len(NUMBERS))) @ mixing, columns=list(NUMBERS))
    return table.assign(exam_id=[f"E{i:04d}" for i in range(n)], role="t1", plane="axial", sequence="T1")


@given(st.lists(st.integers(-20, 20), min_size=5, max_size=30), st.sampled_from([0.1, 3.0]))
def test_the_left_out_excess_is_that_of_leaving_each_out_by_hand(values, floor):
    array = np.array(values, float)
    expected = []
    for i, value in enumerate(array):
        others = np.delete(array, i)
        unit = max(np.subtract(*np.percentile(others, (75, 25))), floor)
        expected.append(max(others.min() - value, value - others.max(), 0) / unit)
    assert _left_out(array, floor, "mean") == pytest.approx(np.array(expected))


def test_of_exams_like_those_of_training_about_the_promised_share_is_refused():
    """Exchangeability: with nobody refused of n, a further one is with a probability of 1 / (n + 1)."""
    mixing = np.random.default_rng(1).normal(size=(len(NUMBERS), len(NUMBERS)))
    shares = []
    for n, most in ((20, 0.09), (150, 0.03)):
        refused = []
        for seed in range(8):
            table = cohort(n + 60, seed, mixing)
            ranges = learn(table[:n])
            assert ranges.refused <= 0.01 * n
            refused += [bool(judge(table[i : i + 1], ranges)) for i in range(n, n + 60)]
        shares.append(np.mean(refused))
        assert shares[-1] < most
    assert shares[1] < shares[0]


@pytest.mark.parametrize("measure", sorted(NUMBERS))
def test_an_oddity_in_any_measure_is_named_with_value_and_range(measure):
    table = cohort(40)
    ranges = learn(table)
    odd = table[:1].assign(**{measure: -1000.0})
    (reason,) = judge(odd, ranges)
    words, unit, _, _ = NUMBERS[measure]
    assert reason.startswith(f"t1: {words} -1000")
    assert f"{unit} is outside what training saw (" in reason


def test_every_training_exam_passes_and_ranges_survive_json():
    table = cohort(30)
    ranges = learn(table)
    assert not any(judge(table[i : i + 1], ranges) for i in range(30))
    again = Ranges.of_json(json.loads(json.dumps(ranges.as_json())))
    assert again == ranges


def test_one_odd_training_exam_does_not_open_the_other_ranges():
    table = cohort(40)
    table.loc[0, "spacing_slice_mm"] = 5000.0
    ranges = learn(table)
    assert ranges.widening == WIDENINGS[1]
    assert ranges.refused == 1
    assert "1 would be refused" in ranges.summary()
    assert judge(table[1:2].assign(mean=150.0), ranges)


def test_where_all_agree_small_differences_pass_and_doubling_does_not():
    table = cohort(30).assign(spacing_slice_mm=3.0, slices=40.0)
    ranges = learn(table)
    assert not judge(table[:1].assign(spacing_slice_mm=3.1, slices=41.0), ranges)
    (reason,) = judge(table[:1].assign(spacing_slice_mm=6.0), ranges)
    assert reason == "t1: slice spacing 6.00 mm is outside what training saw (3.00 to 3.00 mm)"


def test_words_not_seen_and_roles_never_absent():
    both = pd.concat([cohort(30), cohort(30, 1).assign(role="t2")])
    ranges = learn(both)
    exam = both[both["exam_id"] == "E0003"]
    assert judge(exam, ranges) == []
    assert judge(exam[exam["role"] == "t1"], ranges) == ["t2 is absent, and every training exam had it"]
    assert judge(exam.assign(plane=["sagittal", "axial"]), ranges) == [
        "t1: plane sagittal was not seen in training (axial)"
    ]
    some = learn(pd.concat([cohort(30), cohort(30, 1)[:10].assign(role="t2")]))
    assert judge(exam[exam["role"] == "t1"], some) == []


def test_with_too_few_exams_nothing_is_judged():
    ranges = learn(cohort(4))
    assert judge(cohort(1, 5).assign(mean=1e6, plane="coronal"), ranges) == []
    assert ranges.numbers == {"t1": {}}
    assert "not judged" in ranges.summary()
