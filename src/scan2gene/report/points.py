"""The numbers behind the curves: precision and recall, reliability, decisions. No drawing here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scan2gene.core.levels import ENDS
from scan2gene.stats.intervals import bootstrap_counts

BIN_SIZE = 20  # patients in a bin of the reliability diagram, at least
MAX_BINS = 10
MIN_BANDWIDTH = 0.05
DRAWS = 400
GRID = 60


@dataclass(frozen=True)
class Reliability:
    """How often a class was met among patients who were given about the same probability.

    Args:
        probability: (B,) mean probability of each bin.
        share: (B,) positives among its patients.
        n: (B,) its patients.
        grid: (G,) probabilities at which the curve is known.
        curve: (G,) smoothed share of positives.
        low: (G,) lower end of its 95 % interval.
        high: (G,) upper end.
    """

    probability: np.ndarray
    share: np.ndarray
    n: np.ndarray
    grid: np.ndarray
    curve: np.ndarray
    low: np.ndarray
    high: np.ndarray


def precision_recall(y_true: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every distinct score, from the highest down; ties move together.

    The average precision is the area below the steps: each precision over the recall it gained.
    """
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    hits, flagged = np.cumsum(y_true[order] == 1)[last], np.arange(1, len(order) + 1)[last]
    return hits / hits[-1], hits / flagged


def reliability(y_true: np.ndarray, prob: np.ndarray, patient: np.ndarray, seed: int) -> Reliability:
    """Bins of equal size, and a smoothed curve with its bootstrap interval by patient.

    Args:
        y_true: (N,) 0 or 1.
        prob: (N,).
        patient: (N,) whose rows are drawn together.
        seed: Of the draws, within class.

    Source: kernel smoothing of reliability diagrams, Copas 1983; bandwidth by Silverman's rule.
    """
    bins = max(1, min(MAX_BINS, len(prob) // BIN_SIZE))
    edges = np.percentile(prob, np.linspace(0, 100, bins + 1))
    place = np.searchsorted(edges[1:-1], prob)
    n = np.bincount(place, minlength=bins)
    filled = n > 0
    sums = [np.bincount(place, values, minlength=bins)[filled] / n[filled] for values in (prob, y_true)]
    grid = np.linspace(prob.min(), prob.max(), GRID)
    names, whose = np.unique(patient, return_inverse=True)
    kernel = np.exp(-0.5 * ((prob[:, None] - grid) / _bandwidth(prob, len(names))) ** 2)  # (N, G)
    weight, hits = np.zeros((len(names), GRID)), np.zeros((len(names), GRID))
    np.add.at(weight, whose, kernel)
    np.add.at(hits, whose, kernel * y_true[:, None])
    positive = np.zeros(len(names))
    np.maximum.at(positive, whose, y_true)
    counts = bootstrap_counts(positive, DRAWS, seed).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        draws = (counts @ hits) / (counts @ weight)  # (draws, G)
    low, high = np.nanquantile(draws, ENDS, axis=0)
    return Reliability(sums[0], sums[1], n[filled], grid, hits.sum(axis=0) / weight.sum(axis=0), low, high)


def _bandwidth(prob: np.ndarray, patients: int) -> float:
    quarters = np.percentile(prob, [25, 75])
    spread = min(float(prob.std()), float(quarters[1] - quarters[0]) / 1.34)
    return max(0.9 * spread * patients**-0.2, MIN_BANDWIDTH)


def confusion(y_true: np.ndarray, decision: np.ndarray) -> dict[tuple[int, int], int]:
    """(truth, decision) -> rows, for 0 and 1."""
    return {(t, d): int(((y_true == t) & (decision == d)).sum()) for t in (0, 1) for d in (0, 1)}
