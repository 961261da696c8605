"""Every metric of one table of scores for thousands of weightings at once.

What the metrics have in common is computed once: decisions are four sums, which a matrix
product gives, and the metrics of ranks share one sorting and one running sum. The figures are
those of `metrics.METRICS`, which say what each of them is and are the oracle of the tests.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from scan2gene.stats.metrics import METRICS, OF_CELLS, cells

Array = np.ndarray
SPECIFICITY = 0.9  # of sensitivity_at_90_specificity
_RANKED = frozenset({"auroc", "sensitivity_at_90_specificity", "average_precision"})
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
    if set(names) & _RANKED:
        found |= _ranked(names, y_true, prob, groups, weights)
    lacking = [n for n in names if n not in found]
    for name in lacking:  # one that was added to METRICS alone
        found[name] = METRICS[name][0](y_true, decision if METRICS[name][1] == "decision" else prob, weights)
    return {n: np.asarray(found[n], dtype=float) for n in names}


def _ranked(names: list[str], y_true: Array, prob: Array, groups: Array, weights: Array) -> dict[str, Array]:
    """AUROC and sensitivity at 90 % specificity over pairs inside groups; average precision over all rows together."""
    draws, inside = len(weights), [np.flatnonzero(groups == g) for g in np.unique(groups)]
    sums = np.zeros((4, draws))  # pairs in the right order, pairs, positives found, positives
    precision = np.full(draws, np.nan)
    pairs, together = bool(set(names) & (_RANKED - {"average_precision"})), "average_precision" in names
    alone = len(inside) == 1
    for members in inside if pairs else []:
        seats = _Seats(y_true[members], prob[members], members)
        for rows in _portions(draws, len(members)):
            found, of_all = _in_group(seats, weights[rows], pairs=True, together=together and alone)
            sums[:, rows] += found
            if of_all is not None:
                precision[rows] = of_all
    if together and not (pairs and alone):
        seats = _Seats(y_true, prob, np.arange(len(y_true)))
        for rows in _portions(draws, len(y_true)):
            _, of_all = _in_group(seats, weights[rows], pairs=False, together=True)
            precision[rows] = np.nan if of_all is None else of_all
    every = {
        "auroc": _ratio(sums[0], sums[1]),
        "sensitivity_at_90_specificity": _ratio(sums[2], sums[3]),
        "average_precision": precision,
    }
    return {n: every[n] for n in names if n in every}


def _in_group(seats: _Seats, weights: Array, pairs: bool, together: bool) -> tuple[Array, Array | None]:
    """The four sums of `_ranked` (4, D), and the average precision (D,) where it is asked for.

    A block of equal scores moves as one, so each of its positives has the block's precision.
    """
    positive, negative = weights.take(seats.positive, axis=1), weights.take(seats.negative, axis=1)
    running = _running(negative)
    below, n_negative = running.take(seats.below, axis=1), running[:, -1]
    sums, precision = np.zeros((4, len(weights))), None
    n_positive = positive.sum(axis=1)
    if pairs:
        rank = below if seats.no_ties else (below + running.take(seats.upto, axis=1)) / 2
        known = n_negative > 0
        above = rank >= (SPECIFICITY * n_negative - 1e-9)[:, None]
        sums[:] = (
            np.einsum("ij,ij->i", positive, rank), n_positive * n_negative,
            np.where(known, np.einsum("ij,ij->i", positive, above), 0), np.where(known, n_positive, 0),
        )  # fmt: skip
    if together:
        true = n_positive[:, None] - _running(positive).take(seats.first, axis=1)  # from the block's first positive up
        flagged = true + n_negative[:, None] - below
        share = np.divide(true, flagged, out=np.zeros_like(true), where=true > 0)
        precision = _ratio(np.einsum("ij,ij->i", positive, share), n_positive)
    return sums, precision


class _Seats:
    """Where rows sit by score: places of positives and negatives in ascending order, and how they interleave.

    `below` and `upto` count negatives below, and not above, each positive; `first` counts
    positives below its block.
    """

    def __init__(self, y_true: Array, prob: Array, members: Array) -> None:
        order = np.argsort(prob, kind="stable")
        ranked = [order[y_true[order] == 1], order[y_true[order] != 1]]
        scores, others = (prob[r] for r in ranked)
        self.positive, self.negative = (members[r] for r in ranked)
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
