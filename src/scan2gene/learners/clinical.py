"""Clinical baseline: ridge logistic regression on columns such as age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.stats.linear import column_scale, ridge_logistic, scaled
from scan2gene.tasks.outputs import Output

VERSION = 1


def fit_clinical(
    values: np.ndarray, targets: np.ndarray, answers: Sequence[Output] = (), *, columns: Sequence[str],
    strength: float = 1.0,
) -> dict[str, Any]:  # fmt: skip
    """Fit one logistic regression per target on training rows, a multinomial one for a target of several classes.

    Args:
        values: (N, C) numbers, NaN where missing; imputed by the training median.
        targets: (N, T) 0, 1 or NaN, what each output should say.
        answers: The outputs; default: T binary ones.
        columns: Names of the C columns.
        strength: Inverse of the ridge penalty.

    Returns:
        JSON-ready parameters for `linear_logits`. A target with one class in training
        gets slope 0, and one of several classes that training lacks a probability of nearly 0.
    """
    scale = column_scale(values)
    x = scaled(values, *scale)
    slopes, intercepts = np.zeros((targets.shape[1], len(columns))), np.zeros(targets.shape[1])
    widths = [(len(a.names), a.kind.loss == "cross_entropy") for a in answers] or [(1, False)] * targets.shape[1]
    start = 0
    for width, softmax in widths:
        own = range(start, start + width)
        start += width
        if softmax:
            slopes[own], intercepts[own] = _multinomial(x, targets[:, own], strength)
            continue
        for column in own:
            y = targets[:, column]
            known = ~np.isnan(y)
            if len(np.unique(y[known])) == 2:
                slopes[column], intercepts[column] = ridge_logistic(x[known], y[known], strength)
    named = dict(zip(("median", "mean", "spread"), (v.tolist() for v in scale), strict=True))
    return {"columns": list(columns), **named, "slopes": slopes.tolist(), "intercepts": intercepts.tolist()}


_ABSENT = -20.0  # log odds of a class that no training patient has


def _multinomial(x: np.ndarray, targets: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (K, C) and intercepts (K,) of one-hot labels (N, K)."""
    from sklearn.linear_model import LogisticRegression

    known = ~np.isnan(targets).any(axis=1)
    classes = targets[known].argmax(axis=1)
    present = np.unique(classes)
    slopes, intercepts = np.zeros((targets.shape[1], x.shape[1])), np.full(targets.shape[1], _ABSENT)
    intercepts[present] = 0.0
    if len(present) > 1:
        fit = LogisticRegression(C=strength, max_iter=1000).fit(x[known], classes)
        pairs = len(present) == 2  # then scikit-learn gives the second class's log odds alone
        slopes[present] = np.r_[np.zeros_like(fit.coef_), fit.coef_] if pairs else fit.coef_
        intercepts[present] = np.r_[0.0, fit.intercept_] if pairs else fit.intercept_
    return slopes, intercepts


def linear_logits(model: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """(N, C) -> logits (N, T)."""
    x = scaled(values, *(np.array(model[name]) for name in ("median", "mean", "spread")))
    return x @ np.array(model["slopes"]).T + np.array(model["intercepts"])


def clinical_columns(cohort: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(N, C) numbers of cohort.csv's `clinical:` columns."""
    return np.stack([pd.to_numeric(cohort[f"clinical:{c}"]).to_numpy(float) for c in columns], axis=1)


def clinical(seed: int, *, columns: Sequence[str], strength: float = 1.0) -> None:
    """Options of the clinical baseline; see `fit_clinical`."""
