"""Is the whole pipeline better than it is on shuffled labels? Labels exchanged within sites, everything fitted again.

`permutation.p_chance` shuffles the labels of tested patients only. Here training labels are shuffled
too, and the model is fitted again for each shuffle, so whatever the pipeline can make of site,
class balance or the split itself is in the distribution that it is held against.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from scan2gene.stats.delong import midranks

_NEWTON, _AT_ONCE = 60, 2_000_000
RIDGE = 1.0  # penalty, as a share of the features' mean sum of squares

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
class Shuffled:
    """What the refitted pipeline reaches on true labels, the mean over shuffles, and the one-sided P value."""

    auroc: float | None
    by_chance: float | None
    p: float | None
    shuffles: int
    reason: str = ""


def shuffled_labels(
    y_true: np.ndarray, site: np.ndarray, parts: Sequence[Part], fit: Fit, shuffles: int, seed: int
) -> Shuffled:
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
    groups = [np.flatnonzero(site == s) for s in np.unique(site)]
    if not any(0 < y_true[g].sum() < len(g) for g in groups):
        why = "every site has patients of one class only, so there is nothing to shuffle within sites"
        return Shuffled(None, None, None, 0, why)
    rng = np.random.default_rng(seed)
    labels = np.tile(y_true.astype(float)[:, None], (1, shuffles + 1))  # (P, S + 1), the first is true
    for group in groups:
        labels[group, 1:] = rng.permuted(labels[group, 1:], axis=0)
    right: dict[int, np.ndarray] = {}
    pairs: dict[int, np.ndarray] = {}
    for part in parts:
        scores = fit(part.train_features, labels[part.train], part.test_features)
        own = labels[part.test]
        positives = own.sum(axis=0)
        ranks = np.apply_along_axis(midranks, 0, scores)
        right[part.repeat] = right.get(part.repeat, 0) + (ranks * own).sum(axis=0) - positives * (positives + 1) / 2
        pairs[part.repeat] = pairs.get(part.repeat, 0) + positives * (len(own) - positives)
    with np.errstate(invalid="ignore", divide="ignore"):
        aurocs = np.mean([right[r] / pairs[r] for r in right], axis=0)
    if np.isnan(aurocs[0]):
        return Shuffled(None, None, None, 0, "no fold has test patients of both classes")
    known = aurocs[1:][~np.isnan(aurocs[1:])]
    if len(known) < shuffles / 2:
        return Shuffled(float(aurocs[0]), None, None, len(known), "most shuffles leave no fold with both classes")
    beyond = int((known >= aurocs[0] - 1e-12).sum())
    return Shuffled(float(aurocs[0]), float(known.mean()), (beyond + 1) / (len(known) + 1), len(known))


def ridge_scores(train: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Scores of a linear classifier for many labellings at once, in one solve.

    Ridge regression on the labels: up to a shift and a factor the regularised linear
    discriminant, so its order is that of a linear probe. Features are standardised by training patients.

    Source: Hastie, Tibshirani and Friedman 2009, sections 4.2 and 18.3.5 (few patients, many features).
    """
    mean, spread = train.mean(axis=0), train.std(axis=0)
    known, asked = ((x - mean) / np.where(spread > 0, spread, 1) for x in (train, test))
    penalty = RIDGE * max(float((known**2).sum()) / len(known), 1e-12)
    centred = labels - labels.mean(axis=0)
    if known.shape[1] < len(known):  # the same weights by the smaller of two systems
        square = known.T @ known + penalty * np.eye(known.shape[1])  # (F, F)
        return asked @ np.linalg.solve(square, known.T @ centred)
    gram = known @ known.T + penalty * np.eye(len(known))  # (n, n)
    return (asked @ known.T) @ np.linalg.solve(gram, centred)


def logistic_scores(train: np.ndarray, labels: np.ndarray, test: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Log odds of the clinical model, `radiomics.clinical`, for many labellings at once.

    Args:
        train: (n, F), NaN where missing; imputed by the training median, then standardised.
        labels: (n, S).
        test: (m, F).
        strength: Inverse of the ridge penalty; the intercept is free.

    Returns:
        (m, S); 0 where a labelling has one class.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value
        median = np.nan_to_num(np.nanmedian(train, axis=0))
    known, asked = (np.where(np.isnan(x), median, x) for x in (train, test))
    mean, spread = known.mean(axis=0), known.std(axis=0)
    spread = np.where(spread > 0, spread, 1)
    known, asked = (np.c_[np.ones(len(x)), (x - mean) / spread] for x in (known, asked))
    out = np.zeros((len(asked), labels.shape[1]))
    both = np.flatnonzero(labels.min(axis=0) < labels.max(axis=0))
    penalty = np.diag(np.r_[0.0, np.full(train.shape[1], 1 / strength)])
    step = max(1, _AT_ONCE // (len(known) * known.shape[1]))
    for some in (both[start : start + step] for start in range(0, len(both), step)):
        beta = np.zeros((len(some), known.shape[1]))
        for _ in range(_NEWTON):
            p = 0.5 * (1 + np.tanh(beta @ known.T / 2))  # (S, n)
            slope = (labels[:, some].T - p) @ known - beta @ penalty
            bend = np.einsum("sn,nf,ng->sfg", p * (1 - p), known, known, optimize=True) + penalty
            move = np.linalg.solve(bend + 1e-9 * np.eye(len(penalty)), slope[..., None])[..., 0]
            beta += np.clip(move, -4, 4)
            if np.abs(move).max() < 1e-8:
                break
        out[:, some] = asked @ beta.T
    return out
