"""Decision thresholds, chosen on validation rows only."""

from __future__ import annotations

import numpy as np


def g_mean_threshold(y_true: np.ndarray, prob: np.ndarray) -> float:
    """The threshold t, deciding positive for prob >= t, with the largest sqrt(TPR * (1 - FPR)).

    Args:
        y_true: (N,) 0 or 1, both present.
        prob: (N,).

    Returns:
        Midway between the last score that counts as positive and the next lower one;
        of equal thresholds the one nearest to the middle of the scores.
    """
    scores = np.unique(prob)
    cuts = np.concatenate([scores[:1], (scores[1:] + scores[:-1]) / 2])
    rates = []
    for truth in (1, 0):
        scores_of_class = np.sort(prob[y_true == truth])
        rates.append(1 - np.searchsorted(scores_of_class, cuts, "left") / len(scores_of_class))  # at or above each cut
    tpr, fpr = rates
    quality = np.sqrt(tpr * (1 - fpr))
    best = np.flatnonzero(quality >= quality.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - np.median(prob)))]])
