"""Every metric of one table of scores for thousands of weightings at once.

What the metrics have in common is computed once: decisions are four sums, which a matrix
product gives, and the metrics of ranks share one sorting and one running sum. The figures are
those of `metrics.METRICS`, which say what each of them is and are the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scan2gene.evaluate.metrics import METRICS, OF_CELLS, cells

Array = np.ndarray
SPECIFICITY = 0.9  # of sensitivity_at_90_specificity
_CELLS_AT_ONCE = 400_000  # weights in work: as many as the caches hold


def at_once(
    metrics: Iterable[str], y_true: Array, prob: Array, decision: Array | None, groups: Array, weights: Array
) -> dict[str, Array]:
    """Metrics of rows at weightings of them.

    Args:
        metrics: Names of `METRICS`.
        y_true: (N,) 0 or 1.
        prob: (N,) scores.
        decision: (N,) 0 or 1; needed by metrics of decisions only.
        groups: (N,) ranks are compared only within a group, such as the fold.
        weights: (D, N), >= 0.

    Returns:
        Metric -> (D,), NaN where undefined.
    """
    names = list(metrics)
    found: dict[str, Array] = {}
    if any(n in OF_CELLS for n in names):
        if decision is None:
            raise ValueError("metrics of decisions need decisions")
        four = cells(y_true, decision, weights)
        found |= {n: OF_CELLS[n](*four) for n in names if n in OF_CELLS}
    if "brier" in names:
        found["brier"] = _ratio(weights @ (prob - y_true) ** 2, weights.sum(axis=1))
    rank = [n for n in names if n in ("auroc", "sensitivity_at_90_specificity")]
    if rank:
        found |= {n: v for n, v in _within(y_true, prob, groups, weights).items() if n in rank}
    if "average_precision" in names:
        found["average_precision"] = _average_precision(y_true, prob, weights)
    lacking = [n for n in names if n not in found]
    for name in lacking:  # one that was added to METRICS alone
        found[name] = METRICS[name][0](y_true, decision if METRICS[name][1] == "decision" else prob, weights)
    return {n: np.asarray(found[n], dtype=float) for n in names}


def _within(y_true: Array, prob: Array, groups: Array, weights: Array) -> dict[str, Array]:
    """AUROC and sensitivity at 90 % specificity over the pairs inside groups."""
    right, pairs, hits, positives = (np.zeros(len(weights)) for _ in range(4))
    for group in np.unique(groups):
        inside = np.flatnonzero(groups == group)
        seats = _Seats(y_true[inside], prob[inside])
        whole = len(inside) == len(y_true)
        for rows in _portions(len(weights), len(inside)):
            own = weights[rows] if whole else weights[rows][:, inside]
            positive, negative = own[:, seats.positive], own[:, seats.negative]
            n_positive, n_negative = positive.sum(axis=1), negative.sum(axis=1)
            below = _running(negative)
            rank = below[:, seats.below] if seats.no_ties else (below[:, seats.below] + below[:, seats.upto]) / 2
            right[rows] += (positive * rank).sum(axis=1)
            pairs[rows] += n_positive * n_negative
            above = rank >= (SPECIFICITY * n_negative - 1e-9)[:, None]
            known = n_negative > 0
            hits[rows] += np.where(known, (positive * above).sum(axis=1), 0)
            positives[rows] += np.where(known, n_positive, 0)
    return {"auroc": _ratio(right, pairs), "sensitivity_at_90_specificity": _ratio(hits, positives)}


def _average_precision(y_true: Array, prob: Array, weights: Array) -> Array:
    """Over all rows together; a block of equal scores moves as one, so each positive has its block's precision."""
    out = np.empty(len(weights))
    seats = _Seats(y_true, prob)
    for rows in _portions(len(weights), len(y_true)):
        positive, negative = weights[rows][:, seats.positive], weights[rows][:, seats.negative]
        false = negative.sum(axis=1)[:, None] - _running(negative)[:, seats.below]  # not below the block
        upward = _running(positive)
        total = upward[:, -1]
        true = total[:, None] - upward[:, seats.first]  # from the block's first positive up
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(true > 0, true / (true + false), 0)
        out[rows] = _ratio((positive * share).sum(axis=1), total)
    return out


class _Seats:
    """Where rows sit by score: positives and negatives in ascending order, and how they interleave.

    `below` and `upto` count negatives below, and not above, each positive; `first` counts
    positives below its block.
    """

    def __init__(self, y_true: Array, prob: Array) -> None:
        order = np.argsort(prob, kind="stable")
        ranked = order[y_true[order] == 1], order[y_true[order] != 1]
        self.positive, self.negative = ranked
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


def _portions(draws: int, rows: int) -> list[slice]:
    step = max(1, _CELLS_AT_ONCE // max(rows, 1))
    return [slice(start, start + step) for start in range(0, draws, step)]


def _ratio(above: Array, below: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / np.where(below > 0, below, 1), np.nan)
