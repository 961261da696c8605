"""The best run against the others: against closed forms, against counting, and where nothing is there to find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scan2gene.core.levels import ALPHA
from scan2gene.evaluate.compare_runs import COMPARED, compare_with_best, holm
from scan2gene.stats.intervals import bca_interval, bootstrap_counts, p_value, resample
from scan2gene.stats.metrics import METRICS, auroc
from scan2gene.stats.resampling import Sample


def _mean(values: np.ndarray):
    return lambda w: (w * values).sum(axis=-1) / w.sum(axis=-1)


def _sample(y: np.ndarray, score: np.ndarray, names: np.ndarray | None = None) -> Sample:
    prob = 1 / (1 + np.exp(-score))
    names = np.arange(len(y)) if names is None else names
    table = {"repeat": 0, "fold": 0, "patient_id": [f"P{n:04d}" for n in names], "side": "", "y_true": y.astype(float)}
    return Sample(pd.DataFrame(table | {"prob": prob, "decision": (prob >= 0.5).astype(float)}))


def _compared(samples: dict[str, Sample], draws: int = 500, metric: str = "auroc") -> pd.DataFrame:
    found = {run: {metric: bca_interval(s.resampled([metric], draws, 1)[metric])} for run, s in samples.items()}
    return pd.DataFrame(compare_with_best(samples, found, draws, 1)).set_index("run_id")


def test_a_paired_difference_of_means_has_the_interval_and_p_value_of_the_t_test():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 3, 200)  # what both have in common
    one, two = hard + rng.normal(0.1, 0.5, 200), hard + rng.normal(0, 0.5, 200)
    counts = bootstrap_counts(np.zeros(200), 20_000, seed=1)
    paired = resample(_mean(one), counts) - resample(_mean(two), counts)
    theirs = stats.ttest_rel(one, two)
    ends = theirs.confidence_interval(0.95)
    ours = bca_interval(paired)
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high), abs=0.01)
    assert p_value(paired) == pytest.approx(theirs.pvalue, abs=0.02)
    apart = resample(_mean(one), counts) - resample(_mean(two), bootstrap_counts(np.zeros(200), 20_000, seed=2))
    width = bca_interval(apart).high - bca_interval(apart).low
    assert width > 4 * (ours.high - ours.low)  # unpaired draws would not see it


@pytest.mark.parametrize("seed", range(6))
def test_p_is_one_less_the_coverage_of_the_interval_that_reaches_zero(seed):
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=40) - rng.uniform(0.5, 1.4)
    found = resample(_mean(values), bootstrap_counts(np.zeros(40), 4000, seed))
    estimate = bca_interval(found)
    for end in (estimate.low, estimate.high):
        assert p_value(found, end) == pytest.approx(0.05, abs=0.002)
    assert (p_value(found) < 0.05) == (not estimate.low <= 0 <= estimate.high)


def test_p_values_of_no_difference_are_uniform():
    rng = np.random.default_rng(7)
    found = []
    for trial in range(300):
        y = np.repeat([0, 1], 30)
        easy = rng.normal(y)
        one, two = (_sample(y, easy + rng.normal(0, 0.7, 60)) for _ in range(2))
        draws = [s.resampled(["auroc"], 300, trial)["auroc"] for s in (one, two)]
        found.append(p_value(draws[0] - draws[1]))
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.09
    assert 0.40 <= np.mean(np.array(found) < 0.5) <= 0.60


def test_the_interval_covers_the_true_difference_as_often_as_it_says():
    rng = np.random.default_rng(8)
    truth = stats.norm.cdf(1.5 / np.sqrt(2 * 1.25)) - stats.norm.cdf(1 / np.sqrt(2 * 1.25))
    covered = 0
    for trial in range(200):
        y = np.repeat([0, 1], 40)
        shared = rng.normal(size=80)
        one = _sample(y, 1.5 * y + shared + rng.normal(0, 0.5, 80))
        two = _sample(y, 1.0 * y + shared + rng.normal(0, 0.5, 80))
        first, second = (s.resampled(["auroc"], 400, trial)["auroc"] for s in (one, two))
        estimate = bca_interval(first - second)
        covered += estimate.low <= truth <= estimate.high
    assert 0.90 <= covered / 200 <= 0.99


@pytest.mark.parametrize("cohorts", [60, pytest.param(150, marks=pytest.mark.slow)])
def test_where_all_are_equal_hardly_ever_is_one_better_than_every_other(cohorts):
    """The rule of the table's bold figures, the best one being chosen on the same patients."""
    rng = np.random.default_rng(9)
    bold = 0
    for _ in range(cohorts):
        y = np.repeat([0, 1], 25)
        easy = rng.normal(0.8 * y)
        samples = {f"r{n}": _sample(y, easy + rng.normal(0, 1, 50)) for n in range(3)}
        bold += bool((_compared(samples, 150)["p_holm"] < ALPHA).all())
    assert bold / cohorts <= 0.05


def test_a_real_difference_is_found_and_a_twin_is_not():
    rng = np.random.default_rng(10)
    y = np.repeat([0, 1], 60)
    good, bad = _sample(y, rng.normal(2.0 * y)), _sample(y, rng.normal(0.2 * y))
    table = _compared({"good": good, "bad": bad, "twin": Sample(good.table.copy())})
    assert (table["best"] == "good").all()
    assert table.loc["bad", "p_holm"] < 0.01
    assert 0 < table.loc["bad", "low"] < table.loc["bad", "difference"] < table.loc["bad", "high"]
    assert table.loc["twin", "p_holm"] == 1
    assert table.loc["twin", "difference"] == 0


def test_runs_are_compared_on_the_patients_that_both_have():
    rng = np.random.default_rng(11)
    y = np.repeat([0, 1], 30)
    score = rng.normal(y)
    whole = _sample(y, score)
    kept = np.flatnonzero(rng.random(60) < 0.8)
    part = _sample(y[kept], -score[kept], kept)
    row = _compared({"whole": whole, "part": part}).loc["part"]
    assert row["n"] == len(kept)
    # of a score and its opposite: A - (1 - A)
    area = auroc(y[kept].astype(float), score[kept])
    assert row["difference"] == pytest.approx(2 * area - 1)
    again = _compared({"part": part, "whole": Sample(whole.table.sample(frac=1, random_state=0))}).loc["part"]
    assert (row["low"], row["high"]) == pytest.approx((again["low"], again["high"]))


@pytest.mark.parametrize("apart", [2, 3, 4, 5])
def test_few_patients_are_no_more_certain_than_the_exact_sign_test(apart):
    y = np.repeat([0, 1], 6)
    found, missed = np.ones(12), np.ones(12)
    missed[6 : 6 + apart] = -1  # so many positives that only the first run finds
    row = _compared({"found": _sample(y, found), "missed": _sample(y, missed)}, metric="recall").loc["missed"]
    assert row["p"] >= stats.binomtest(apart, apart).pvalue - 1e-12
    assert row["difference"] == pytest.approx(apart / 6)


def test_what_cannot_be_compared_has_a_reason_and_counts():
    y = np.repeat([0, 1], 20)
    score = np.random.default_rng(12).normal(y)
    one, two = _sample(y, score), _sample(y[:20], score[:20] - 5)  # the second has negatives only
    found = {r: {m: bca_interval(s.resampled(METRICS, 200, 1)[m]) for m in COMPARED} for r, s in
             (("one", one), ("two", two))}  # fmt: skip
    row = next(r for r in compare_with_best({"one": one, "two": two}, found, 200, 1) if r["metric"] == "accuracy")
    assert (row["p"], row["difference"]) == (None, None)
    assert "both classes are needed" in row["reason"]


def test_holm_as_in_a_worked_example():
    """Steps 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, None]) == [pytest.approx(1.0), None]
    assert holm([]) == []


def test_a_fixed_run_is_compared_with_the_others_though_one_is_higher():
    rng = np.random.default_rng(3)
    y = np.arange(60) % 2
    samples = {name: _sample(y, strength * y + rng.normal(size=60)) for name, strength in (("a", 0.5), ("b", 3.0))}
    found = {run: {"auroc": bca_interval(s.resampled(["auroc"], 100, 1)["auroc"])} for run, s in samples.items()}
    assert {row["best"] for row in compare_with_best(samples, found, 100, 1)} == {"b"}
    rows = compare_with_best(samples, found, 100, 1, fixed="a")
    assert [(row["best"], row["run_id"]) for row in rows] == [("a", "b")] and rows[0]["difference"] < 0
    assert {row["best"] for row in compare_with_best(samples, found, 100, 1, fixed="absent")} == {"b"}
