"""Metrics of a binary answer for thousands of weightings of its rows at once, as a bootstrap wants them.

What metrics have in common is computed once: decisions are four sums, which a matrix product gives, and metrics of
ranks share one sorting and one running sum. Undefined values are NaN here and reasons where they are reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Array = np.ndarray

# Metric -> what it scores: the probability, or the decision at a threshold
METRICS: dict[str, str] = {
    "auroc": "prob",  # share of (positive, negative) pairs in the right order, ties half: Hanley and McNeil 1982
    "average_precision": "prob",  # sum of precision times growth of recall
    "sensitivity_at_90_specificity": "prob",  # share of positives above 90 % of negatives: Pepe and Cai 2004
    "brier": "prob",  # mean squared difference of probability and truth
    "log_loss": "prob",  # mean binary cross-entropy, which training minimises
    "accuracy": "decision",
    "balanced_accuracy": "decision",  # mean of recall and specificity
    "precision": "decision",
    "npv": "decision",  # negative predictive value
    "recall": "decision",  # sensitivity
    "f1": "decision",
    "specificity": "decision",
    "mcc": "decision",  # correlation of decision and truth: Matthews 1975
}
LOWER_IS_BETTER = frozenset({"brier", "log_loss"})
PROPORTIONS = frozenset(METRICS) - {"brier", "log_loss", "mcc"}  # from 0 to 1, and 1 where no case is wrong
_SPECIFICITY = 0.9
_OF_PAIRS = frozenset({"auroc", "sensitivity_at_90_specificity"})  # scores of two networks share no scale
_PORTION = 400_000  # weights in work: as many as the caches hold

# metric of decisions -> its value from true and false positives, false and true negatives
OF_DECISIONS: dict[str, Callable[[Array, Array, Array, Array], Array]] = {
    "accuracy": lambda tp, fp, fn, tn: ratio(tp + tn, tp + fp + fn + tn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (ratio(tp, tp + fn) + ratio(tn, tn + fp)) / 2,
    "precision": lambda tp, fp, fn, tn: ratio(tp, tp + fp),
    "npv": lambda tp, fp, fn, tn: ratio(tn, tn + fn),
    "recall": lambda tp, fp, fn, tn: ratio(tp, tp + fn),
    "f1": lambda tp, fp, fn, tn: ratio(2 * tp, 2 * tp + fp + fn),
    "specificity": lambda tp, fp, fn, tn: ratio(tn, tn + fp),
    "mcc": lambda tp, fp, fn, tn: ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
}


def weighted_metrics(
    metrics: Iterable[str], y_true: Array, prob: Array, decision: Array | None, groups: Array, weights: Array
) -> dict[str, Array]:
    """Metrics of rows at weightings of them.

    Args:
        metrics: Names of `METRICS`.
        y_true: (N,) 0 or 1.
        prob: (N,) scores.
        decision: (N,) 0 or 1; needed by metrics of decisions only.
        groups: (N,) AUROC and sensitivity at a specificity compare rows of one group only, such as the fold.
        weights: (D, N) how often each row counts, >= 0.

    Returns:
        Metric -> (D,), NaN where undefined.

    Raises:
        ValueError: A metric of decisions is wanted, and there are none.
    """
    names = list(metrics)
    values: dict[str, Array] = {}
    if not _OF_PAIRS.union({"average_precision"}).isdisjoint(names):
        values |= _of_ranks(names, y_true, prob, groups, weights)
    if any(n in OF_DECISIONS for n in names):
        if decision is None:
            raise ValueError("metrics of decisions need decisions")
        cells = np.stack([(y_true == t) & (decision == d) for t, d in ((1, 1), (0, 1), (1, 0), (0, 0))], axis=1)
        counts = (weights @ cells.astype(float)).T
        values |= {n: OF_DECISIONS[n](*counts) for n in names if n in OF_DECISIONS}
    for name in LOWER_IS_BETTER.intersection(names):
        values[name] = ratio(weights @ _loss(name, y_true, prob), weights.sum(axis=1))
    return {n: values[n] for n in names}


def metric_value(
    metric: str, y_true: Array, score: Array, weights: Array | None = None, groups: Array | None = None
) -> Any:
    """One metric, of the probabilities or of the decisions, whichever it scores.

    Args:
        metric: Of `METRICS`.
        y_true: (N,) 0 or 1.
        score: (N,).
        weights: (..., N) >= 0; default 1.
        groups: (N,) as in `weighted_metrics`; default one.

    Returns:
        (...), NaN where undefined.
    """
    score = np.asarray(score, float)
    weights = np.ones(len(score)) if weights is None else np.asarray(weights, float)
    groups = np.zeros(len(score)) if groups is None else groups
    rows = weights.reshape(math.prod(weights.shape[:-1]), len(score))
    value = weighted_metrics([metric], np.asarray(y_true), score, score, groups, rows)[metric]
    return value.reshape(weights.shape[:-1])[()]


def auroc(y_true: Array, score: Array, weights: Array | None = None, groups: Array | None = None) -> Any:
    """Area under the ROC curve, as `metric_value`."""
    return metric_value("auroc", y_true, score, weights, groups)


def _loss(name: str, y_true: Array, prob: Array) -> Array:
    """Of each row."""
    if name == "brier":
        return (prob - y_true) ** 2
    tiny = np.finfo(float).eps
    inside = np.clip(prob.astype(float), tiny, 1 - tiny)
    return -np.where(y_true == 1, np.log(inside), np.log1p(-inside))


def _of_ranks(names: list[str], y_true: Array, prob: Array, groups: Array, weights: Array) -> dict[str, Array]:
    """AUROC and sensitivity at 90 % specificity over pairs inside groups; average precision over all rows together."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    pairs, precision, alone = bool(_OF_PAIRS.intersection(names)), "average_precision" in names, len(members) == 1
    sums = np.zeros((5, len(weights)))
    for rows in members if pairs else []:
        sums += _of_group(_Order(y_true, prob, rows), weights, pairs=True, precision=precision and alone)
    if precision and not (pairs and alone):
        sums[4] = _of_group(_Order(y_true, prob, np.arange(len(y_true))), weights, pairs=False, precision=True)[4]
    return {
        "auroc": ratio(sums[0], sums[1]),
        "sensitivity_at_90_specificity": ratio(sums[2], sums[3]),
        "average_precision": sums[4],
    }


def _of_group(order: _Order, weights: Array, pairs: bool, precision: bool) -> Array:
    """Pairs in the right order, all pairs, positives above 90 % of negatives, all positives; average precision: (5, D).

    A block of equal scores moves as one, so each of its positives has the block's precision.
    """
    out = np.zeros((5, len(weights)))
    step = max(1, _PORTION // max(order.positive.size + order.negative.size, 1))
    for start in range(0, len(weights), step):
        part, some = out[:, start : start + step], weights[start : start + step]
        positive, negative = some.take(order.positive, axis=1), some.take(order.negative, axis=1)
        running = _running(negative)
        below, n_negative, n_positive = running.take(order.below, axis=1), running[:, -1], positive.sum(axis=1)
        if pairs:
            rank = below if order.no_ties else (below + running.take(order.upto, axis=1)) / 2
            above = rank >= (_SPECIFICITY * n_negative - 1e-9)[:, None]
            comparable = n_negative > 0
            part[0], part[1] = np.einsum("ij,ij->i", positive, rank), n_positive * n_negative
            part[2] = np.where(comparable, np.einsum("ij,ij->i", positive, above), 0)
            part[3] = np.where(comparable, n_positive, 0)
        if precision:
            true = n_positive[:, None] - _running(positive).take(order.first, axis=1)  # from the block's first one up
            flagged = true + n_negative[:, None] - below
            share = np.divide(true, flagged, out=np.zeros_like(true), where=true > 0)
            part[4] = ratio(np.einsum("ij,ij->i", positive, share), n_positive)
    return out


class _Order:
    """Rows by score: places of positives and negatives in ascending order, and how they interleave.

    `below` and `upto` count negatives below, and not above, each positive; `first` counts
    positives below its block of equal scores.
    """

    def __init__(self, y_true: Array, prob: Array, rows: Array) -> None:
        ascending = rows[np.argsort(prob[rows], kind="stable")]
        is_positive = y_true[ascending] == 1
        self.positive, self.negative = ascending[is_positive], ascending[~is_positive]
        scores, others = prob[self.positive], prob[self.negative]
        self.below = np.searchsorted(others, scores, "left")
        self.upto = np.searchsorted(others, scores, "right")
        self.first = np.searchsorted(scores, scores, "left")
        self.no_ties = bool((self.below == self.upto).all())


def _running(values: Array) -> Array:
    """(D, N) -> (D, N + 1): sums of the first 0, 1, ... N columns."""
    out = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=out[:, 1:])
    return out


def ratio(above: Array, below: Array) -> Array:
    """One divided by the other, NaN where that is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
