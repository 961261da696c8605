"""Metrics as functions of (y_true, y_score), each also for many weightings at once.

`weights` (..., N) makes a metric a function of how often each row counts; a bootstrap of
thousands of draws is then one call. Undefined values are NaN here and reasons upstream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


def auroc(y_true: Array, y_score: Array, weights: Array | None = None, groups: Array | None = None) -> Any:
    """Area under the ROC curve: the share of (positive, negative) pairs in the right order, ties half.

    Args:
        y_true: (N,) 0 or 1.
        y_score: (N,) higher means more positive.
        weights: (..., N) >= 0; default 1.
        groups: (N,) compare only within a group, such as the fold: scores of different
            networks share no scale.

    Returns:
        (...) in [0, 1], NaN without a pair.

    Source: Hanley & McNeil 1982.
    """
    weights = _weights(y_true, weights)
    groups = np.zeros(len(y_true)) if groups is None else groups
    concordant = np.zeros(weights.shape[:-1])
    pairs = np.zeros(weights.shape[:-1])
    for group in np.unique(groups):
        inside = groups == group
        positive, rank, negatives = _placed(y_true[inside], y_score[inside], weights[..., inside])
        concordant += (positive * rank).sum(axis=-1)
        pairs += positive.sum(axis=-1) * negatives
    return _ratio(concordant, pairs)


def _placed(y: Array, score: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Rows by score: weight as a positive (..., N), negatives below it (..., N), ties half; all negatives (...)."""
    order, first, last = _blocks(score)
    positive, negative = (weights * (y == 1))[..., order], (weights * (y == 0))[..., order]
    below = np.concatenate([np.zeros((*negative.shape[:-1], 1)), np.cumsum(negative, axis=-1)], axis=-1)
    return positive, (below[..., first] + below[..., last + 1]) / 2, negative.sum(axis=-1)


def sensitivity_at_specificity(
    y_true: Array, y_score: Array, weights: Array | None = None, groups: Array | None = None, level: float = 0.9
) -> Any:
    """Share of positives that score above at least `level` of the negatives of their group, ties half.

    The sensitivity of a cut that would leave alone `level` of the negatives; no threshold is
    taken from anywhere.

    Args:
        y_true: (N,) 0 or 1.
        y_score: (N,) higher means more positive.
        weights: (..., N) >= 0; default 1.
        groups: (N,) as in `auroc`.
        level: The specificity.

    Source: placement values, Pepe and Cai 2004.
    """
    weights = _weights(y_true, weights)
    groups = np.zeros(len(y_true)) if groups is None else groups
    hits = np.zeros(weights.shape[:-1])
    positives = np.zeros(weights.shape[:-1])
    for group in np.unique(groups):
        inside = groups == group
        positive, rank, negatives = _placed(y_true[inside], y_score[inside], weights[..., inside])
        comparable = negatives > 0
        above = rank >= level * negatives[..., None] - 1e-9
        hits += np.where(comparable, (positive * above).sum(axis=-1), 0)
        positives += np.where(comparable, positive.sum(axis=-1), 0)
    return _ratio(hits, positives)


def average_precision(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Area under the precision-recall steps: sum of precision times growth of recall.

    Args:
        y_true: (N,) 0 or 1.
        y_score: (N,).
        weights: (..., N).
    """
    weights = _weights(y_true, weights)
    order, _, last = _blocks(-y_score)
    ends = np.unique(last)
    hits = np.cumsum((weights * (y_true == 1))[..., order], axis=-1)[..., ends]
    flagged = np.cumsum(weights[..., order], axis=-1)[..., ends]
    growth = np.diff(hits, axis=-1, prepend=0)
    precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
    return _ratio((growth * precision).sum(axis=-1), hits[..., -1])


def brier(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Mean squared difference of probability and truth; lower is better."""
    weights = _weights(y_true, weights)
    return _ratio((weights * (y_score - y_true) ** 2).sum(axis=-1), weights.sum(axis=-1))


def accuracy(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of right decisions; `y_score` holds decisions 0 or 1, as below."""
    weights = _weights(y_true, weights)
    return _ratio((weights * (y_score == y_true)).sum(axis=-1), weights.sum(axis=-1))


def precision(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of positive decisions that are right."""
    weights = _weights(y_true, weights)
    flagged = weights * (y_score == 1)
    return _ratio((flagged * (y_true == 1)).sum(axis=-1), flagged.sum(axis=-1))


def recall(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of positives that were found (sensitivity)."""
    positive = _weights(y_true, weights) * (y_true == 1)
    return _ratio((positive * (y_score == 1)).sum(axis=-1), positive.sum(axis=-1))


def specificity(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of negatives that were left alone."""
    negative = _weights(y_true, weights) * (y_true == 0)
    return _ratio((negative * (y_score == 0)).sum(axis=-1), negative.sum(axis=-1))


def f1(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """2 TP / (2 TP + FP + FN)."""
    weights = _weights(y_true, weights)
    hits = (weights * (y_score == 1) * (y_true == 1)).sum(axis=-1)
    wrong = (weights * (y_score != y_true)).sum(axis=-1)
    return _ratio(2 * hits, 2 * hits + wrong)


def balanced_accuracy(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Mean of sensitivity and specificity."""
    return (recall(y_true, y_score, weights) + specificity(y_true, y_score, weights)) / 2


def mcc(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Correlation of decision and truth (phi); NaN where all decisions are alike.

    Source: Matthews 1975.
    """
    weights = _weights(y_true, weights)
    tp, tn, fp, fn = (
        (weights * (y_score == decided) * (y_true == truth)).sum(axis=-1)
        for decided, truth in ((1, 1), (0, 0), (1, 0), (0, 1))
    )
    return _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))


# metric -> (function, what it scores: the probability or the decision at the threshold)
METRICS: dict[str, tuple[Callable[..., Any], str]] = {
    "auroc": (auroc, "prob"),
    "average_precision": (average_precision, "prob"),
    "sensitivity_at_90_specificity": (sensitivity_at_specificity, "prob"),
    "brier": (brier, "prob"),
    "accuracy": (accuracy, "decision"),
    "balanced_accuracy": (balanced_accuracy, "decision"),
    "precision": (precision, "decision"),
    "recall": (recall, "decision"),
    "f1": (f1, "decision"),
    "specificity": (specificity, "decision"),
    "mcc": (mcc, "decision"),
}
SHARES = frozenset(METRICS) - {"brier", "mcc"}  # from 0 to 1, and 1 where no case is wrong
WITHIN_FOLD = frozenset({"auroc", "sensitivity_at_90_specificity"})  # these compare scores of one network only


def _weights(y_true: Array, weights: Array | None) -> Array:
    return np.ones(len(y_true)) if weights is None else np.asarray(weights, dtype=float)


def _ratio(above: Array, below: Array) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)[()]


def _blocks(score: Array) -> tuple[Array, Array, Array]:
    """Sorting order, and for each sorted row the first and last position of its tied block."""
    order = np.argsort(score, kind="stable")
    _, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    end = np.cumsum(counts) - 1
    return order, (end - counts + 1)[inverse], end[inverse]
