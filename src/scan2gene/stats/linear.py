"""One logistic regression and one ridge regression, and the scaling of columns that both want."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

Array = np.ndarray
RIDGE = 1.0  # penalty of `ridge_scores`, as a share of the columns' mean sum of squares
LEAST_SLOPE, LINE_STRENGTH = 0.05, 10.0  # of `calibration_line`; the latter is the inverse of its ridge penalty
_STEPS, _CLOSE = 60, 1e-9  # of Newton's method: at most so many, until none is larger


def sigmoid(logits: Any) -> Any:
    """Probabilities of logits."""
    from scipy.special import expit

    return expit(np.asarray(logits, float))


def logit(prob: Any, edge: float = 1e-12) -> Any:
    """Log odds; probabilities are held `edge` away from 0 and 1, so that all are finite."""
    inside = np.clip(prob, edge, 1 - edge)
    return np.log(inside / (1 - inside))


def logistic_regression(
    columns: Array, target: Array, penalty: Any = 0.0, offset: Any = 0.0, start: Any = 0.0
) -> Array:  # fmt: skip
    """Coefficients with the least cross-entropy, plus half of `penalty` times their squares.

    Args:
        columns: (N, C), that of the intercept too.
        target: (N,) from 0 to 1, or (N, S) for S fits on the same columns.
        penalty: (C,), or one number for all.
        offset: (N,) log odds that are added to those of the columns.
        start: (C,) where the search begins, which decides where the columns do not.

    Returns:
        (C,) or (C, S); NaN for fits without a finite solution, as where a column parts the classes without a penalty.

    Source: Newton's method with halved steps, McCullagh and Nelder 1989, "Generalized linear models".
    """
    y = np.asarray(target, float).reshape(len(target), -1).T  # (S, N)
    beta = np.zeros((len(y), columns.shape[1])) + start
    ridge = np.zeros(columns.shape[1]) + penalty

    def loss(beta: Array) -> Array:
        eta = beta @ columns.T + offset
        return (np.logaddexp(0, eta) - y * eta).sum(axis=1) + 0.5 * (ridge * beta**2).sum(axis=1)

    now, moved = loss(beta), np.full(len(y), np.inf)
    for _ in range(_STEPS):
        p = sigmoid(beta @ columns.T + offset)
        slope = (y - p) @ columns - ridge * beta
        curve = np.stack([columns.T * w @ columns for w in p * (1 - p)]) + np.diag(ridge)
        step = (np.linalg.pinv(curve, hermitian=True) @ slope[..., None])[..., 0]
        size = np.ones((len(y), 1))
        while (worse := (new := loss(beta + size * step)) > now + 1e-12 * (1 + now)).any() and size.min() > 1e-4:
            size[worse] /= 2  # Newton overshoots where classes part cleanly
        beta, now, moved = beta + size * step, new, np.abs(size * step).max(axis=1, initial=0)
        if (moved < _CLOSE).all():
            break
    beta[~(moved < _CLOSE)] = np.nan
    return beta.T if np.ndim(target) > 1 else beta[0]


def ridge_logistic(x: Array, y: Array, strength: float) -> tuple[Array, Array]:
    """Logistic regression with a ridge penalty and a free intercept.

    Args:
        x: (N, F) standardised.
        y: (N,) 0 or 1, or (N, S); each with both classes.
        strength: Inverse of the penalty.

    Returns:
        Weights (F,) or (F, S), and intercept () or (S,).
    """
    columns, penalty = np.c_[x, np.ones(len(x))], np.r_[np.full(x.shape[1], 1 / strength), 0.0]
    beta = logistic_regression(columns, y, penalty)
    beta = np.where(np.abs(beta) < _CLOSE, 0.0, beta)  # rounding noise would order patients who are alike
    return beta[:-1], beta[-1]


def calibration_line(scores: Array, y: Array) -> tuple[float, float]:
    """Slope and intercept from scores (N,) to log odds, by patients who were left out of what gave the scores.

    The slope is never below `LEAST_SLOPE`: what fails within the training part is not turned round.

    Args:
        scores: In units of their spread; NaN where there is none.
        y: (N,) 0, 1 or NaN. Of one class alone the scores are taken as they are.
    """
    both = ~np.isnan(y) & ~np.isnan(scores)
    if len(np.unique(y[both])) < 2:
        return 1.0, 0.0
    slope, intercept = ridge_logistic(scores[both, None], y[both], LINE_STRENGTH)
    return max(float(slope[0]), LEAST_SLOPE), float(intercept)


def column_scale(values: Array) -> tuple[Array, Array, Array]:
    """Median of each column (N, F), and its mean and standard deviation with the median where NaN; 0 where constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        median = np.nan_to_num(np.nanmedian(values, axis=0))
    filled = np.where(np.isnan(values), median, values)
    spread = filled.std(axis=0)
    return median, filled.mean(axis=0), np.where(spread > 1e-12, spread, 0.0)


def scaled(values: Array, median: Array, mean: Array, spread: Array) -> Array:
    """Columns in units of a `column_scale`; 0 where that is constant."""
    filled = np.where(np.isnan(values), median, values)
    return (filled - mean) / np.where(spread > 0, spread, np.inf)


def standardised(train: Array, *others: Array) -> list[Array]:
    """All tables in units of the columns of the first."""
    scale = column_scale(train)
    return [scaled(table, *scale) for table in (train, *others)]


def ridge_scores(train: Array, labels: Array, test: Array) -> Array:
    """Scores of a linear classifier for many labellings at once, in one solve.

    Ridge regression on the labels: up to a shift and a factor the regularised linear
    discriminant, so its order is that of a linear probe. Features are standardised by training patients.

    Args:
        train: (n, F).
        labels: (n, S).
        test: (m, F).

    Returns:
        (m, S).

    Source: Hastie, Tibshirani and Friedman 2009, sections 4.2 and 18.3.5 (few patients, many features).
    """
    x, new = standardised(train, test)
    penalty = RIDGE * max(float((x**2).sum()) / len(x), 1e-12)
    centred = labels - labels.mean(axis=0)
    if x.shape[1] < len(x):  # the same weights by the smaller of two systems
        return new @ np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ centred)
    return (new @ x.T) @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), centred)


def logistic_scores(train: Array, labels: Array, test: Array, strength: float = 1.0) -> Array:
    """Log odds by `ridge_logistic` for many labellings at once.

    Args:
        train: (n, F), NaN where missing.
        labels: (n, S).
        test: (m, F).
        strength: Inverse of the ridge penalty.

    Returns:
        (m, S); 0 where a labelling has one class.
    """
    x, new = standardised(train, test)
    out = np.zeros((len(test), labels.shape[1]))
    both = labels.min(axis=0) < labels.max(axis=0)
    if both.any():
        weights, intercept = ridge_logistic(x, labels[:, both], strength)
        out[:, both] = new @ weights + intercept
    return out
