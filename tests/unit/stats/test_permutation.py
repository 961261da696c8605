"""The P value against chance: every permutation counted, nothing found in nothing, and sides kept together."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from scan2gene.stats.metrics import auroc
from scan2gene.stats.permutation import _aurocs, p_chance
from scan2gene.stats.resampling import Sample


def _sample(y, score, fold=0, repeat=0, patient=None, side="") -> Sample:
    patient = np.arange(len(y)) if patient is None else patient
    table = {"repeat": repeat, "fold": fold, "patient_id": [f"P{n:03d}" for n in patient], "side": side,
             "y_true": np.asarray(y, float), "prob": score}  # fmt: skip
    return Sample(pd.DataFrame(table))


def test_it_equals_the_exact_rank_test_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [8, 7])
    score = rng.normal(0.9 * y)
    exact = stats.mannwhitneyu(score[y == 1], score[y == 0], method="exact").pvalue
    assert p_chance(_sample(y, score), 19_999) == pytest.approx(exact, abs=0.01)


def test_it_equals_counting_every_arrangement_within_folds_with_ties():
    y, fold = np.array([0, 1, 0, 1, 1, 0, 0, 1]), np.repeat([0, 1], 4)
    score = np.array([0.1, 0.6, 0.2, 0.9, 0.4, 0.4, 0.1, 0.3])
    choices = [list(combinations(range(4), 2)), [tuple(4 + i for i in c) for c in combinations(range(4), 2)]]
    values = []
    for one, two in product(*choices):
        other = np.isin(np.arange(8), [*one, *two]).astype(int)
        values.append(np.mean([roc_auc_score(other[fold == f], score[fold == f]) for f in (0, 1)]))
    seen = np.mean([roc_auc_score(y[fold == f], score[fold == f]) for f in (0, 1)])
    exact = np.mean(np.abs(np.array(values) - 0.5) >= abs(seen - 0.5) - 1e-12)
    assert p_chance(_sample(y, score, fold), 19_999) == pytest.approx(exact, abs=0.012)


def test_sides_of_a_patient_stay_together():
    """Both sides alike in label and score: two rows say no more than one, and the P value is that of patients."""
    y, score = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.5, 0.3, 0.6, 0.4, 0.9])
    both = _sample(np.repeat(y, 2), np.repeat(score, 2), patient=np.repeat(np.arange(6), 2), side=list("LR") * 6)
    every = [np.abs(roc_auc_score(y[list(o)], score) - 0.5) for o in permutations(range(6))]
    exact = np.mean(np.array(every) >= np.abs(roc_auc_score(y, score) - 0.5) - 1e-12)
    assert p_chance(both, 9_999) == pytest.approx(exact, abs=0.015)
    loose = _sample(np.repeat(y, 2), np.repeat(score, 2))  # as if they were twelve patients
    assert p_chance(loose, 9_999) < exact - 0.02


@pytest.mark.parametrize("kind", ["plain", "folds", "sides", "repeats", "ties"])
def test_where_nothing_is_to_be_found_p_values_are_uniform(kind):
    rng = np.random.default_rng(1)
    found = []
    for trial in range(400):
        y, score = rng.permutation(np.repeat([0, 1], [24, 16])), rng.normal(size=40)
        if kind == "folds":
            fold = rng.integers(0, 5, 40)
            sample = _sample(y, score + 10 * fold, fold)  # scores of folds share no scale
        elif kind == "sides":
            sick, shared = rng.random(20) < 0.5, rng.normal(size=20)  # one lesion makes both sides score alike
            y = np.repeat(sick, 2)
            sample = _sample(y, np.repeat(shared, 2) + 0.1 * score, patient=np.repeat(np.arange(20), 2),
                             side=list("LR") * 20)  # fmt: skip
        elif kind == "repeats":
            one = _sample(y, score, rng.integers(0, 3, 40)).table
            two = _sample(y, score + 0.1 * rng.normal(size=40), rng.integers(0, 3, 40), repeat=1).table
            sample = Sample(pd.concat([one, two], ignore_index=True))
        else:
            sample = _sample(y, score.round(0 if kind == "ties" else 9))
        found.append(p_chance(sample, 199, trial))
    p = np.array(found)
    assert 0.02 <= np.mean(p <= 0.05) <= 0.085  # 0.05, standard error 0.011
    assert 0.42 <= np.mean(p <= 0.5) <= (0.58 if kind != "ties" else 0.62)


def test_the_rank_sums_are_the_aurocs_of_the_weighted_function():
    rng = np.random.default_rng(2)
    fold, score = np.sort(rng.integers(0, 4, 50)), rng.normal(size=50).round(1)
    labels = (rng.random((6, 50)) < 0.4).astype(float)
    assert _aurocs(score, np.zeros(50), fold, labels) == pytest.approx(
        [auroc(row, score, groups=fold) for row in labels]
    )


def test_small_and_hopeless_samples():
    perfect = _sample([0, 0, 0, 1, 1, 1], np.arange(6.0))
    assert p_chance(perfect, 9_999) == pytest.approx(2 / 20, abs=0.012)  # of 20 arrangements, two are as extreme
    assert p_chance(_sample([0, 1, 0, 1], np.ones(4)), 99) == 1
    assert p_chance(_sample([1, 1, 1], np.arange(3.0))) is None
    assert p_chance(_sample([0, 1], np.arange(2.0), fold=[0, 1])) is None
    y = np.repeat([0, 1], 100)
    assert p_chance(_sample(y, y + np.random.default_rng(3).normal(size=200)), 9_999) == 1 / 10_000


def test_rows_may_come_in_any_order():
    rng = np.random.default_rng(4)
    y = rng.permutation(np.repeat([0, 1], 20))
    sample = _sample(y, rng.normal(0.5 * y), rng.integers(0, 3, 40))
    shuffled = Sample(sample.table.sample(frac=1, random_state=1))
    assert p_chance(sample, 999, 7) == p_chance(shuffled, 999, 7)
