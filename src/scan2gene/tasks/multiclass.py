"""One of several classes: an output for each, joined by a softmax."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from scan2gene.tasks.task import Task


def one_hot(values: np.ndarray, count: int) -> np.ndarray:
    """Class numbers (N,) -> (N, count): 1 in the class's place, 0 elsewhere, NaN where the class is unknown."""
    encoded = (values[:, None] == np.arange(count)).astype(float)
    encoded[np.isnan(values)] = np.nan
    return encoded


def softmax_log_odds(logits: np.ndarray) -> np.ndarray:
    """Softmax outputs (N, K) -> log odds of each class against all others, (N, K)."""
    others = [logsumexp(np.delete(logits, k, axis=1), axis=1) for k in range(logits.shape[1])]
    return logits - np.stack(others, axis=1)


MULTICLASS = Task(
    description="one of several classes",
    loss="cross_entropy",
    labels=tuple,
    columns=tuple,
    encode=one_hot,
    log_odds=softmax_log_odds,
)
