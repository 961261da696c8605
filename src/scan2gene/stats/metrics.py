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


def log_loss(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Mean binary cross-entropy of probability and truth, which training minimises; lower is better."""
    weights = _weights(y_true, weights)
    tiny = np.finfo(float).eps
    prob = np.clip(y_score.astype(float), tiny, 1 - tiny)
    losses = -np.where(y_true == 1, np.log(prob), np.log1p(-prob))
    return _ratio((weights * losses).sum(axis=-1), weights.sum(axis=-1))


def accuracy(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of right decisions; `y_score` holds decisions 0 or 1, as below."""
    return OF_CELLS["accuracy"](*cells(y_true, y_score, weights))


def precision(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of positive decisions that are right."""
    return OF_CELLS["precision"](*cells(y_true, y_score, weights))


def negative_predictive_value(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of negative decisions that are right."""
    return OF_CELLS["npv"](*cells(y_true, y_score, weights))


def recall(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of positives that were found (sensitivity)."""
    return OF_CELLS["recall"](*cells(y_true, y_score, weights))


def specificity(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Share of negatives that were left alone."""
    return OF_CELLS["specificity"](*cells(y_true, y_score, weights))


def f1(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """2 TP / (2 TP + FP + FN)."""
    return OF_CELLS["f1"](*cells(y_true, y_score, weights))


def balanced_accuracy(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Mean of sensitivity and specificity."""
    return OF_CELLS["balanced_accuracy"](*cells(y_true, y_score, weights))


def mcc(y_true: Array, y_score: Array, weights: Array | None = None) -> Any:
    """Correlation of decision and truth (phi); NaN where all decisions are alike.

    Source: Matthews 1975.
    """
    return OF_CELLS["mcc"](*cells(y_true, y_score, weights))


def cells(y_true: Array, decision: Array, weights: Array | None = None) -> tuple[Array, Array, Array, Array]:
    """True positives, false positives, false negatives, true negatives, each (...): linear in the weights."""
    places = np.stack([(y_true == t) & (decision == d) for t, d in ((1, 1), (0, 1), (1, 0), (0, 0))], axis=1)
    found = _weights(y_true, weights) @ places.astype(float)
    return found[..., 0], found[..., 1], found[..., 2], found[..., 3]


# metric of decisions -> its value from true and false positives, false and true negatives
OF_CELLS: dict[str, Callable[[Array, Array, Array, Array], Any]] = {
    "accuracy": lambda tp, fp, fn, tn: _ratio(tp + tn, tp + fp + fn + tn),
    "balanced_accuracy": lambda tp, fp, fn, tn: (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2,
    "precision": lambda tp, fp, fn, tn: _ratio(tp, tp + fp),
    "npv": lambda tp, fp, fn, tn: _ratio(tn, tn + fn),
    "recall": lambda tp, fp, fn, tn: _ratio(tp, tp + fn),
    "f1": lambda tp, fp, fn, tn: _ratio(2 * tp, 2 * tp + fp + fn),
    "specificity": lambda tp, fp, fn, tn: _ratio(tn, tn + fp),
    "mcc": lambda tp, fp, fn, tn: _ratio(tp * tn - fp * fn, np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
}
# metric -> (function, what it scores: the probability or the decision at the threshold)
METRICS: dict[str, tuple[Callable[..., Any], str]] = {
    "auroc": (auroc, "prob"),
    "average_precision": (average_precision, "prob"),
    "sensitivity_at_90_specificity": (sensitivity_at_specificity, "prob"),
    "brier": (brier, "prob"),
    "log_loss": (log_loss, "prob"),
    "accuracy": (accuracy, "decision"),
    "balanced_accuracy": (balanced_accuracy, "decision"),
    "precision": (precision, "decision"),
    "npv": (negative_predictive_value, "decision"),
    "recall": (recall, "decision"),
    "f1": (f1, "decision"),
    "specificity": (specificity, "decision"),
    "mcc": (mcc, "decision"),
}
SHARES = frozenset(METRICS) - {"brier", "log_loss", "mcc"}  # from 0 to 1, and 1 where no case is wrong
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
