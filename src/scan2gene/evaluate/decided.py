"""Intervals of what decisions come to, such as balanced accuracy, where a class has few patients.

With eight positives of whom seven are found, draws of these patients hardly know that the next eight may be worse,
and where all eight are found, not at all. Each class therefore counts half a patient decided right and half one
decided wrong beside its own, and patients have random weights instead of being drawn. For single patients that is
Jeffreys' interval of sensitivity and specificity, carried on to every figure made from both.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scan2gene.evaluate.metrics import OF_CELLS

Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def drawn_cells(table: pd.DataFrame, draws: int, seed: int) -> list[Cells]:
    """True positives, false positives, false and true negatives in each draw (draws,), by repeat.

    Args:
        table: Rows of `Sample.table`; the sides of a patient share its weight.
        draws: Number of draws.
        seed: Same seed, same draws.

    Source: Rubin 1981, "The Bayesian bootstrap"; Jeffreys' prior as Brown, Cai and DasGupta 2001, "Interval
    estimation for a binomial proportion".
    """
    rng = np.random.default_rng(seed)
    _, patient = np.unique(table["patient_id"], return_inverse=True)
    y, decision, repeat = (table[c].to_numpy(float) for c in ("y_true", "decision", "repeat"))
    shape = np.ones(int(patient.max()) + 1)
    for c in (1, 0):
        members = np.unique(patient[y == c])
        shape[members] = np.minimum(shape[members], len(members) / (len(members) + 1))
    weights = rng.standard_gamma(shape, (draws, len(shape)))
    halves = rng.standard_gamma(0.5, (2, 2, draws))
    found = []
    for number in np.unique(repeat):
        sides = []
        for c in (1, 0):
            rows = np.flatnonzero((repeat == number) & (y == c))
            people = len(np.unique(patient[rows]))
            each = len(rows) / max(people, 1)  # sides of a patient
            columns = [np.bincount(patient[rows], decision[rows] == d, weights.shape[1]) for d in (c, 1 - c)]
            right, wrong = (weights @ n + each * half for n, half in zip(columns, halves[c], strict=True))
            sides.append(len(rows) * right / (right + wrong))
            sides.append(len(rows) - sides[-1])
        tp, fn, tn, fp = sides
        found.append((tp, fp, fn, tn))
    return found


def decided_draws(metric: str, cells: list[Cells]) -> np.ndarray:
    """A metric of `OF_CELLS` in each draw (draws,), the mean over repeats."""
    return np.mean([OF_CELLS[metric](*four) for four in cells], axis=0)
