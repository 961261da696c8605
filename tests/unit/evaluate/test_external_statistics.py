"""Drops and shifts as statistics: intervals, P values, corrections, and counts too small to say anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from scan2gene.core.tables import EXTERNAL
from scan2gene.evaluate import external
from scan2gene.evaluate.domain_shift import Shift, domain_auroc, domain_p_value
from scan2gene.evaluate.external import Transfer
from scan2gene.evaluate.shortcuts import Figure, named
from scan2gene.evaluate.subgroups import subgroups
from scan2gene.stats.auroc_difference import auroc_drop, difference_of_intervals
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.proportions import newcombe
from scan2gene.stats.resampling import Sample


def test_the_interval_of_a_drop_that_is_none_covers_zero():
    """Inside by three folds and outside by three networks, 60 cohorts; 95 % would miss 3."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(60):
        y = np.arange(150) % 2
        logit = 1.2 * y + rng.normal(0, 1, 150)
        table = pd.DataFrame({"patient_id": [f"P{n:03d}" for n in range(150)], "side": "", "y_true": y.astype(float),
                              "prob": norm.cdf(logit), "repeat": 0, "fold": np.arange(150) // 2 % 3})  # fmt: skip
        far = pd.concat([table[100:].assign(repeat=r, fold=0, prob=norm.cdf(logit[100:] + rng.normal(0, 0.3, 50)))
                         for r in range(3)])  # fmt: skip
        drop, p = auroc_drop(Sample(table[:100]), Sample(far), 200, 1)
        missed += not drop.low <= 0 <= drop.high
        assert (p < 0.05) == (not drop.low <= 0 <= drop.high) or abs(p - 0.05) < 0.03
    assert missed <= 8  # more are rarer than one in a hundred


def test_the_drop_of_independent_aurocs_agrees_with_delong():
    rng = np.random.default_rng(0)

    def sample(n: int, effect: float) -> tuple[Sample, np.ndarray, np.ndarray]:
        y = np.arange(n) % 2
        score = norm.cdf(rng.normal(effect * y))
        table = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": [f"{effect}{n}" for n in range(n)], "side": "",
                              "y_true": y.astype(float), "prob": score})  # fmt: skip
        return Sample(table), y, score

    def variance(y, score):
        above = (score[y == 1][:, None] > score[y == 0]).astype(float)
        return above.mean(1).var(ddof=1) / (y == 1).sum() + above.mean(0).var(ddof=1) / (y == 0).sum()

    (one, y1, s1), (two, y2, s2) = sample(200, 1.5), sample(160, 0.5)
    drop, p = auroc_drop(one, two, 4000, 1)
    value = roc_auc_score(y1, s1) - roc_auc_score(y2, s2)
    reach = 1.96 * np.sqrt(variance(y1, s1) + variance(y2, s2))
    assert drop.value == pytest.approx(value)
    assert (drop.low, drop.high) == pytest.approx((value - reach, value + reach), abs=0.02)
    assert p < 0.01


def test_a_perfect_auroc_is_not_known_without_error():
    """Inside 0.96 and outside 0.96, 50 times; where one is 1 by luck, its draws do not scatter."""
    rng, lost, seen = np.random.default_rng(0), 0, 0
    for _ in range(50):
        samples = []
        for tag in "ab":
            y = np.arange(30) % 4 == 0
            samples.append(Sample(pd.DataFrame({
                "repeat": 0, "fold": 0, "patient_id": [f"{tag}{n}" for n in range(30)], "side": "",
                "y_true": y.astype(float), "prob": norm.cdf(2.5 * y + rng.normal(size=30))})))  # fmt: skip
        p = auroc_drop(*samples, 200, 1)[1]
        one = 1.0 in [s.auroc(200, 1).value for s in samples]
        seen += one
        lost += one and p is not None and p < 0.05
    assert seen > 12
    assert lost <= 1
    found, p = difference_of_intervals(Estimate(1.0, 0.8, 1.0), Estimate(0.6, 0.4, 0.75))
    assert (found.low, found.high) == pytest.approx((0.4 - np.hypot(0.2, 0.15), 0.4 + 0.2))
    assert p == pytest.approx(2 * norm.sf(norm.isf(0.025) * 0.4 / 0.25))
    assert difference_of_intervals(Estimate(1.0, 0.8, 1.0), Estimate(None, reason="one class"))[0].reason == "one class"


def test_of_several_runs_the_lucky_one_is_not_said_to_lose():
    """P = 0.03 is no loss where four runs were looked at: the best inside is lucky there."""
    rows = [Transfer(f"net{n}", "cv", "gene", "the external site C", EXTERNAL, 3, Estimate(0.8, 0.7, 0.9),
                     Estimate(0.7, 0.6, 0.8), Estimate(0.7, 0.6, 0.8), Estimate(0.1, 0.01, 0.19), p, (100, 50),
                     (50, 25)) for n, p in enumerate((0.03, 0.4, 0.6, None))]  # fmt: skip
    lucky, *_ = external._corrected(rows)
    assert (lucky.p_holm, lucky.lost) == (pytest.approx(0.12), False)
    assert "a drop from the 0.800 inside is not shown" in lucky.row()["told"]
    assert "P = 0.120 corrected for 4 comparisons" in lucky.row()["told"]
    (alone,) = external._corrected(rows[:1])
    assert alone.lost and "single networks lose 0.100 of the 0.800 inside (+0.010 to +0.190)" in alone.row()["told"]
    sure = external._corrected([replace(rows[0], p=0.001), *rows[1:]])[0]
    assert sure.lost and "P = 0.004 corrected for 4 comparisons" in sure.row()["told"]
    adapted = replace(alone, adapted=True).row()["told"]
    assert "nothing was learned" not in adapted and "ComBat saw the columns" in adapted


def test_two_of_five_sites_named_are_not_called_more_than_the_commonest():
    """The interval of 2 of 5 reaches 0, and a lower end of 0 is an end."""
    group = ["A"] * 20 + ["B"] * 10 + ["B", "B", "B", "B", "A"]
    at = [1.0] * 20 + [-1.0] * 10 + [-1.0, -1.0, 1.0, 1.0, -1.0]
    ids = [f"P{n}" for n in range(35)]
    exams = pd.DataFrame({"repeat": 0, "fold": 0, "part": ["train"] * 30 + ["test"] * 5, "patient_id": ids,
                          "exam_id": ids, "embedding": [np.array([a, n % 3]) for n, a in enumerate(at)]})  # fmt: skip
    found = named("site", "cv", "net", exams, pd.Series(group, ids), 500, 1)
    assert (found.estimate.value, found.of) == (0.4, "0.2000")
    assert "not shown to be more often than by naming the commonest (20 %)" in found.told


def test_a_group_of_three_patients_with_two_sides_each_is_too_small():
    units = [(f"P{n}", side, float(n < 3)) for n in range(40) for side in "LR"]
    rows = pd.DataFrame(units, columns=["patient_id", "side", "y_true"])
    rows = rows.assign(repeat=0, fold=0, prob=np.linspace(0, 1, 80))
    network = Figure("network", "cv", "gene", "net", "", Estimate(0.7), 40, 6)
    sex = pd.Series("F", [f"P{n}" for n in range(40)]).mask(lambda s: s.index == "P39", "M")
    found = list(subgroups(network, rows, {"sex": sex}, 50, 1))
    assert "it has 3 patients of the rarer class" in found[0].estimate.reason


def test_columns_that_know_nothing_seldom_tell_external_patients():
    """By the interval alone one null cohort in sixteen is told apart; cross-validation's folds are not independent."""
    far = pd.Series(np.arange(60) >= 40, index=[f"P{n}" for n in range(60)])
    found = [domain_p_value(pd.DataFrame(np.random.default_rng(seed).normal(size=(60, 8)), far.index), far, 1, 99)
             for seed in range(40)]  # fmt: skip
    assert sum(p < 0.05 for p in found) <= 6  # more are rarer than one in a hundred
    assert 0.35 < np.mean(found) < 0.65
    known = pd.DataFrame({"age": np.random.default_rng(0).normal(far.to_numpy() * 1.5)}, far.index)
    assert domain_p_value(known, far, 1, 99) == 0.01
    told = Shift("cv", "scan", "", "told apart", "", "", Estimate(0.7, 0.55, 0.82), (40, 20), 0.2)
    assert not told.differs and replace(told, p=0.01).differs


def test_newcombe_gives_its_published_example():
    """Newcombe 1998, table II, (a) 56/70 against 48/80, method 10: 0.0524 to 0.3339."""
    found = newcombe(56, 70, 48, 80)
    assert (round(found.low, 4), round(found.high, 4)) == (0.0524, 0.3339)


def test_a_domain_that_is_known_is_told_apart_as_scikit_learn_would():
    rng = np.random.default_rng(0)
    far = pd.Series(np.arange(400) % 2 == 1, index=[f"P{n}" for n in range(400)])
    values = pd.DataFrame(rng.normal(size=(400, 3)) + far.to_numpy()[:, None] * (0.6, 0, 0), index=far.index)
    fitted = LogisticRegression().fit(values[:200], far[:200]).decision_function(values[200:])
    found = domain_auroc([(values, far)], 200, 1)
    assert found.value == pytest.approx(roc_auc_score(far[200:], fitted), abs=0.06)
    assert found.low < norm.cdf(0.6 / np.sqrt(2)) < found.high


def test_of_five_in_one_class_nothing_is_said():
    good = Estimate(0.9, 0.8, 1.0)
    found = Transfer("net", "cv", "gene", "the external site C", EXTERNAL, 3, good, good, good, Estimate(0.2, 0.1, 0.3),
                     0.001, (80, 33), (40, 28), p_holm=0.001)  # fmt: skip
    assert external.told(found).endswith(
        "gene cannot be estimated, because 5 of 33 are negative, and below 6 a single one can move an AUROC by a fifth "
        "or more."
    )
    assert not found.holds and not found.lost
    enough = replace(found, positive=(40, 27))
    assert enough.holds and enough.lost
