"""Linear models against scikit-learn's, and where they have no solution."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from scan2gene.stats.linear import (
    logistic_regression,
    logistic_scores,
    logit,
    ridge_logistic,
    sigmoid,
    standardised,
)


def _table(n: int = 50, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    return x, (rng.random((n, 3)) < sigmoid(2 * x[:, :3])).astype(float)


@pytest.mark.parametrize("strength", [0.1, 1.0, 100.0])
def test_ridge_is_scikit_learns_for_one_and_for_many_labellings(strength):
    x, labels = _table()
    weights, intercepts = ridge_logistic(x, labels, strength)
    for n, y in enumerate(labels.T):
        theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12).fit(x, y)
        assert weights[:, n] == pytest.approx(theirs.coef_[0], abs=1e-8)
        assert intercepts[n] == pytest.approx(theirs.intercept_[0], abs=1e-8)
        alone, intercept = ridge_logistic(x, y, strength)
        assert [*alone, intercept] == pytest.approx([*weights[:, n], intercepts[n]], abs=1e-12)


def test_a_ridge_is_found_where_classes_part_and_columns_are_many():
    x, _ = _table(40, 60)
    y = (x[:, 0] > 0).astype(float)
    weights, intercept = ridge_logistic(x, y, 1e3)
    p = sigmoid(x @ weights + intercept)
    assert x.T @ (y - p) == pytest.approx(weights / 1e3, abs=1e-8)  # where the gradient is nil


def test_an_offset_and_shares_for_labels_leave_no_gradient():
    x, labels = _table()
    columns, offset, shares = np.c_[np.ones(50), x], x[:, 1] - 0.3, 0.05 + 0.9 * labels[:, 0]
    beta = logistic_regression(columns, shares, offset=offset)
    assert columns.T @ (shares - sigmoid(offset + columns @ beta)) == pytest.approx(np.zeros(5), abs=1e-9)


def test_without_a_penalty_classes_that_part_have_no_solution_and_the_others_still_have_theirs():
    columns = np.c_[np.ones(20), np.arange(20.0)]
    apart, mixed = (np.arange(20) >= 10).astype(float), (np.arange(20) % 3 == 0).astype(float)
    both = logistic_regression(columns, np.stack([apart, mixed], axis=1))
    assert np.isnan(both[:, 0]).all()
    assert both[:, 1] == pytest.approx(logistic_regression(columns, mixed), abs=1e-9)


def test_what_columns_do_not_decide_stays_near_the_start():
    same = np.c_[np.ones(10), np.full(10, 2.0)]
    beta = logistic_regression(same, np.full(10, 0.7), start=np.array([0.0, 1.0]))
    assert beta @ [1, 2] == pytest.approx(logit(0.7))
    assert beta - [0, 1] == pytest.approx((beta[0]) * np.array([1, 2]))  # moved along the columns only


def test_standardised_is_scikit_learns_and_constant_columns_are_nil():
    train, test = np.random.default_rng(1).normal(3, 2, (2, 12, 3))
    train[:, 2] = 0.1
    x, new = standardised(train, test)
    theirs = StandardScaler().fit(train)
    assert x[:, :2] == pytest.approx(theirs.transform(train)[:, :2])
    assert new[:, :2] == pytest.approx(theirs.transform(test)[:, :2])
    assert not x[:, 2].any() and not new[:, 2].any()


def test_a_labelling_of_one_class_scores_nothing():
    x, labels = _table()
    labels[:, 1] = 1
    scores = logistic_scores(x, labels, x)
    assert not scores[:, 1].any() and scores[:, 0].any()


def test_sigmoid_and_logit_undo_each_other_to_the_ends():
    z = np.array([-700.0, -30.0, 0.0, 25.0])
    assert logit(sigmoid(z), 1e-300) == pytest.approx([-690.775, -30, 0, 25], rel=1e-5)
    assert np.isfinite(logit(np.array([0.0, 1.0]))).all()
    assert np.log(sigmoid(-700.0)) == pytest.approx(-700)


def test_columns_that_say_nothing_leave_all_scores_alike():
    """Two rows of each patient with opposite labels: rounding must not order them."""
    x = np.repeat(np.random.default_rng(3).normal(size=(20, 5)), 2, axis=0)
    weights, intercept = ridge_logistic(x, np.tile([0.0, 1.0], 20), 0.1)
    assert len(np.unique(x @ weights + intercept)) == 1
