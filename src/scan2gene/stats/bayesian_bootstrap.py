"""Intervals of what decisions come to, such as balanced accuracy, where a class has few patients.

With eight positives of whom seven are found, draws of these patients hardly know that the next eight may be worse,
and where all eight are found, not at all. Each class therefore counts half a patient decided right and half one
decided wrong beside its own, and patients have random weights instead of being drawn. For single patients that is
Jeffreys' interval of sensitivity and specificity, carried on to every figure made from both.
"""

from __future__ import annotations

import numpy as np

from scan2gene.stats.metrics import OF_DECISIONS

Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def cell_draws(
    patient: np.ndarray, y_true: np.ndarray, decision: np.ndarray, repeat: np.ndarray, draws: int, seed: int
) -> list[Cells]:
    """True positives, false positives, false and true negatives in each draw (draws,), by repeat.

    Args:
        patient: (N,) 0, 1, ...; the sides of a patient share its weight.
        y_true: (N,) 0 or 1.
        decision: (N,) 0 or 1.
        repeat: (N,) of the split.
        draws: Number of draws.
        seed: Same seed, same draws.

    Source: Rubin 1981, "The Bayesian bootstrap"; Jeffreys' prior as Brown, Cai and DasGupta 2001, "Interval
    estimation for a binomial proportion".
    """
    rng = np.random.default_rng(seed)
    people, repeats = int(patient.max()) + 1, np.unique(repeat)
    shape = np.ones(people)
    for c in (1, 0):
        members = np.unique(patient[y_true == c])
        shape[members] = np.minimum(shape[members], len(members) / (len(members) + 1))
    columns = [
        np.bincount(patient[(repeat == number) & (y_true == c) & (decision == d)], minlength=people)
        for number in repeats for c in (1, 0) for d in (c, 1 - c)
    ]  # fmt: skip
    # Patients with the same rows are drawn as one: the sum of their weights is a gamma variate too.
    kinds, sizes = np.unique(np.c_[shape, np.stack(columns, axis=1)], axis=0, return_counts=True)
    sums = rng.standard_gamma(kinds[:, 0] * sizes, (draws, len(kinds))) @ kinds[:, 1:]  # (draws, 4 per repeat)
    halves = rng.standard_gamma(0.5, (draws, 4))
    cells = []
    for at, number in enumerate(repeats):
        sides = []
        for c in (1, 0):
            rows = (repeat == number) & (y_true == c)
            each = rows.sum() / max(len(np.unique(patient[rows])), 1)  # sides of a patient
            first = 0 if c else 2
            right, wrong = (sums[:, 4 * at + n] + each * halves[:, n] for n in (first, first + 1))
            sides.append(rows.sum() * right / (right + wrong))
            sides.append(rows.sum() - sides[-1])
        tp, fn, tn, fp = sides
        cells.append((tp, fp, fn, tn))
    return cells


def decision_draws(metric: str, cells: list[Cells]) -> np.ndarray:
    """A metric of `OF_DECISIONS` in each draw (draws,), the mean over repeats."""
    return np.mean([OF_DECISIONS[metric](*four) for four in cells], axis=0)
