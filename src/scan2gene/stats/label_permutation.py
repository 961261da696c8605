"""Is the whole pipeline better than it is on shuffled labels? Labels exchanged within sites, everything fitted again.

`permutation.p_chance` shuffles the labels of tested patients only. Here training labels are shuffled
too, and the model is fitted again for each shuffle, so whatever the pipeline can make of site,
class balance or the split itself is in the distribution that it is held against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# (training features (n, F), their labels (n, S), test features (m, F)) -> scores (m, S)
Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Part:
    """One fit of a split: features of its training and test patients, as rows of the labels.

    Args:
        train: (n,) patients by number.
        test: (m,).
        train_features: (n, F).
        test_features: (m, F).
        repeat: Which repeat it belongs to.
    """

    train: np.ndarray
    test: np.ndarray
    train_features: np.ndarray
    test_features: np.ndarray
    repeat: int = 0


@dataclass(frozen=True)
class LabelPermutation:
    """What the refitted pipeline reaches on true labels, the mean over shuffles, and the one-sided P value."""

    auroc: float | None
    by_chance: float | None
    p: float | None
    shuffles: int
    reason: str = ""


def permute_labels(
    y_true: np.ndarray, site: np.ndarray, parts: Sequence[Part], fit: Fit, shuffles: int, seed: int
) -> LabelPermutation:
    """Refit on labels that were exchanged between patients of one site.

    Args:
        y_true: (P,) 0 or 1, of every patient that learns or is tested.
        site: (P,).
        parts: The fits of a split.
        fit: What is fitted.
        shuffles: How many.
        seed: Of the shuffles.

    Returns:
        P value (b + 1) / (m + 1) for b of m shuffles that reach at least what the true labels reach.

    Source: Ojala and Garriga 2010, "Permutation tests for studying classifier performance"; Phipson and Smyth 2010.
    """
    from scipy.stats import rankdata

    groups = [np.flatnonzero(site == s) for s in np.unique(site)]
    if not any(0 < y_true[g].sum() < len(g) for g in groups):
        why = "every site has patients of one class only, so there is nothing to shuffle within sites"
        return LabelPermutation(None, None, None, 0, why)
    rng = np.random.default_rng(seed)
    labels = np.tile(y_true.astype(float)[:, None], (1, shuffles + 1))  # (P, S + 1), the first is true
    for group in groups:
        labels[group, 1:] = rng.permuted(labels[group, 1:], axis=0)
    right: dict[int, np.ndarray] = {}
    pairs: dict[int, np.ndarray] = {}
    for part in parts:
        scores = fit(part.train_features, labels[part.train], part.test_features)
        tested = labels[part.test]
        positives = tested.sum(axis=0)
        ranks = rankdata(scores, axis=0)
        right[part.repeat] = right.get(part.repeat, 0) + (ranks * tested).sum(axis=0) - positives * (positives + 1) / 2
        pairs[part.repeat] = pairs.get(part.repeat, 0) + positives * (len(tested) - positives)
    with np.errstate(invalid="ignore", divide="ignore"):
        aurocs = np.mean([right[r] / pairs[r] for r in right], axis=0)
    if np.isnan(aurocs[0]):
        return LabelPermutation(None, None, None, 0, "no fold has test patients of both classes")
    defined = aurocs[1:][~np.isnan(aurocs[1:])]
    if len(defined) < shuffles / 2:
        why = "most shuffles leave no fold with both classes"
        return LabelPermutation(float(aurocs[0]), None, None, len(defined), why)
    beyond = int((defined >= aurocs[0] - 1e-12).sum())
    return LabelPermutation(float(aurocs[0]), float(defined.mean()), (beyond + 1) / (len(defined) + 1), len(defined))
