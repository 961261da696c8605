"""How far an AUROC scatters: from the pairs that it is made of, without the bootstrap's own excess.

An AUROC over pairs inside folds has few negatives for each positive. Drawing patients then
counts the luck of who shares a fold twice: once in who is drawn, once in the pairs that stay.
With 60 patients in five folds the draws scatter by a fifth too much (`docs/results/coverage.md`).
Positives and negatives are the rows and columns of a table of pairs, so the variance has three
parts, which the two-way analysis of variance separates without bias.
"""

from __future__ import annotations

import numpy as np

from scan2gene.stats.intervals import Spread
from scan2gene.stats.power import auroc_error

_MOST_PAIRS = 4_000_000  # of a table in memory; with more, the excess is nothing


def spread_of_pairs(
    patient: np.ndarray,
    y_true: np.ndarray,
    prob: np.ndarray,
    repeat: np.ndarray,
    fold: np.ndarray,
    other: np.ndarray | None = None,
) -> Spread | None:
    """Variance of the mean over repeats of the AUROC over pairs inside folds, or of a difference of two.

    A pair's score is mean + of the positive + of the negative + rest. The three variances are
    estimated inside folds and pooled over them; with repeats a patient's part, and a pair's
    rest, are taken to stay the same, which can only make the variance larger.

    Where few patients happen to lie in good order, the variance is small by the same luck. That of one AUROC is
    therefore steadied: Hanley and McNeil's, at the AUROC with a right and a wrong patient added, counts as one more
    degree of freedom.

    Args:
        patient: (N,) 0, 1, ...; a row per patient and repeat, or per side of one.
        y_true: (N,) 0 or 1.
        prob: (N,).
        repeat: (N,).
        fold: (N,).
        other: (N,) scores of another run of the same rows, whose AUROC is subtracted.

    Returns:
        None where a class has fewer than two patients in every fold, where pairs are too many to hold, and
        where a patient has sides of both classes: pairs then share patients in other ways.

    Source: variance components of a crossed design, Searle, Casella and McCulloch 1992;
    of an AUROC, Gallas 2006, "One-shot estimate of MRMC variance"; Satterthwaite 1946; Hanley and McNeil 1982.
    """
    people = int(patient.max()) + 1 if len(patient) else 0
    positives, negatives = (len(np.unique(patient[y_true == c])) for c in (1, 0))
    if positives + negatives > people or not 0 < positives * negatives <= _MOST_PAIRS:
        return None
    scores = np.stack([prob] if other is None else [prob, other], axis=1)
    parts = _Parts()
    per_patient, per_pair = np.zeros(people), np.zeros((positives, negatives))
    area = 0.0
    places = np.zeros(people, int)
    for c in (1, 0):
        members = np.unique(patient[y_true == c])
        places[members] = np.arange(len(members))
    for number in np.unique(repeat):
        weight, right, classes = _of_repeat(parts, *(a[repeat == number] for a in (patient, y_true, scores, fold)))
        area += right / weight if weight else np.nan
        for (rows, sides), (columns, others) in classes:
            per_patient[rows] += sides * others.sum() / weight
            per_patient[columns] += others * sides.sum() / weight
            per_pair[np.ix_(places[rows], places[columns])] += np.outer(sides, others) / weight
    repeats = len(np.unique(repeat))
    components = parts.variances()
    if components is None:
        return None
    of_positive, of_negative, rest = components
    is_positive = np.zeros(people, bool)
    is_positive[patient[y_true == 1]] = True
    squares = (per_patient / repeats) ** 2
    shared = rest * float((per_pair**2).sum()) / repeats**2
    by_class = [
        of_positive * float(squares[is_positive].sum()) + shared / 2,
        of_negative * float(squares[~is_positive].sum()) + shared / 2,
    ]
    variance = sum(by_class)
    if not variance > 0:
        return None
    lost = sum(v**2 / (n - 1) for v, n in zip(by_class, (positives, negatives), strict=True) if n > 1)
    freedom = variance**2 / lost if lost > 0 else np.inf
    return _steadied(variance, freedom, area / repeats if other is None else None, positives, negatives)


def _steadied(variance: float, freedom: float, auroc: float | None, positives: int, negatives: int) -> Spread:
    """The spread of one AUROC steadied as `spread_of_pairs` says; of a difference as it is."""
    fewest = min(positives, negatives)
    narrow = fewest / (fewest - 1) if fewest > 1 else 1.0
    if auroc is None:
        return Spread(variance, freedom, narrow, least=1.0)
    if not np.isfinite(freedom):
        return Spread(variance, freedom, narrow)
    drawn_in = (auroc * fewest + 1) / (fewest + 2)
    steady = (freedom * variance + auroc_error(drawn_in, positives, negatives) ** 2) / (freedom + 1)
    return Spread(steady, freedom, narrow * max(1.0, steady / variance))


Class = tuple[np.ndarray, np.ndarray]  # patients of one class in one fold, and how many sides each has


def _of_repeat(
    parts: _Parts, patient: np.ndarray, y_true: np.ndarray, scores: np.ndarray, fold: np.ndarray
) -> tuple[float, float, list[tuple[Class, Class]]]:
    """Pairs of a repeat, those in the right order, and the positives and negatives of each of its folds."""
    classes, pairs, ordered = [], 0, 0.0
    for name in np.unique(fold):
        positive, negative = (np.flatnonzero((fold == name) & (y_true == c)) for c in (1, 0))
        if len(positive) and len(negative):
            first, *others = (_in_order(s[positive], s[negative]) for s in scores.T)
            right = first - others[0] if others else first
            rows, columns = (np.unique(patient[p], return_counts=True) for p in (positive, negative))
            parts.add(_by_patient(_by_patient(right, patient[positive]).T, patient[negative]).T)
            classes.append((rows, columns))
            pairs += right.size
            ordered += float(right.sum())
    return float(pairs), ordered, classes


def _in_order(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(m, n): 1 where a positive is above a negative, ties half."""
    return (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)


def _by_patient(right: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Rows of the same patient, its sides, at their mean."""
    _, place, sides = np.unique(patient, return_inverse=True, return_counts=True)
    if len(sides) == len(place):
        return right[np.argsort(place)]
    sums = np.zeros((len(sides), right.shape[1]))
    np.add.at(sums, place, right)
    return sums / sides[:, None]


class _Parts:
    """Sums of squares and what they are expected to be, over the folds added."""

    def __init__(self) -> None:
        self.squares = np.zeros(3)  # between positives, between negatives, the rest
        self.freedom = np.zeros(3)
        self.sizes = np.zeros(2)

    def add(self, right: np.ndarray) -> None:
        m, n = right.shape
        mean = right.mean()
        rows = n * float(((right.mean(axis=1) - mean) ** 2).sum())
        columns = m * float(((right.mean(axis=0) - mean) ** 2).sum())
        self.squares += rows, columns, float(((right - mean) ** 2).sum()) - rows - columns
        self.freedom += m - 1, n - 1, (m - 1) * (n - 1)
        self.sizes += (m - 1) * n, (n - 1) * m

    def variances(self) -> tuple[float, float, float] | None:
        """Of positives, of negatives, of the rest; not below 0."""
        if not self.freedom[2]:
            return None
        rest = max(0.0, float(self.squares[2] / self.freedom[2]))
        of_class = np.maximum((self.squares[:2] - self.freedom[:2] * rest) / self.sizes, 0)
        return float(of_class[0]), float(of_class[1]), rest
