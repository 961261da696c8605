"""Clinical baseline: ridge logistic regression on columns such as age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd


def fit_clinical(
    values: np.ndarray, targets: np.ndarray, *, columns: Sequence[str], strength: float = 1.0
) -> dict[str, Any]:
    """Fit one logistic regression per target on training rows.

    Args:
        values: (N, C) numbers, NaN where missing; imputed by the training median.
        targets: (N, T) 0, 1 or NaN.
        columns: Names of the C columns.
        strength: Inverse of the ridge penalty.

    Returns:
        JSON-ready parameters for `clinical_logits`. A target with one class in training
        gets slope 0.
    """
    from sklearn.linear_model import LogisticRegression

    median = np.nan_to_num(np.nanmedian(values, axis=0)) if len(values) else np.zeros(len(columns))
    filled = np.where(np.isnan(values), median, values)
    mean, spread = filled.mean(axis=0), filled.std(axis=0)
    scaled = (filled - mean) / np.where(spread > 0, spread, 1)
    slopes, intercepts = [], []
    for target in targets.T:
        known = ~np.isnan(target)
        if len(np.unique(target[known])) < 2:
            slopes.append([0.0] * len(columns))
            intercepts.append(0.0)
            continue
        model = LogisticRegression(C=strength).fit(scaled[known], target[known])
        slopes.append(model.coef_[0].tolist())
        intercepts.append(float(model.intercept_[0]))
    return {
        "columns": list(columns),
        "median": median.tolist(),
        "mean": mean.tolist(),
        "spread": spread.tolist(),
        "slopes": slopes,
        "intercepts": intercepts,
    }


def clinical_logits(model: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """(N, C) -> logits (N, T)."""
    spread = np.array(model["spread"])
    filled = np.where(np.isnan(values), model["median"], values)
    scaled = (filled - model["mean"]) / np.where(spread > 0, spread, 1)
    return scaled @ np.array(model["slopes"]).T + np.array(model["intercepts"])


def clinical_columns(cohort: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(N, C) numbers of cohort.csv's `clinical:` columns."""
    return np.stack([pd.to_numeric(cohort[f"clinical:{c}"]).to_numpy(float) for c in columns], axis=1)


CLASSICAL = {"clinical": fit_clinical}
