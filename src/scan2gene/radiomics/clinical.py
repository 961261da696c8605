"""Clinical baseline: ridge logistic regression on columns such as age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.stats.linear import column_scale, ridge_logistic, scaled

VERSION = 1


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
    scale = column_scale(values)
    x = scaled(values, *scale)
    slopes, intercepts = [], []
    for target in targets.T:
        known = ~np.isnan(target)
        if len(np.unique(target[known])) < 2:
            slopes.append([0.0] * len(columns))
            intercepts.append(0.0)
            continue
        weights, intercept = ridge_logistic(x[known], target[known], strength)
        slopes.append(weights.tolist())
        intercepts.append(float(intercept))
    named = dict(zip(("median", "mean", "spread"), (v.tolist() for v in scale), strict=True))
    return {"columns": list(columns), **named, "slopes": slopes, "intercepts": intercepts}


def clinical_logits(model: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """(N, C) -> logits (N, T)."""
    x = scaled(values, *(np.array(model[name]) for name in ("median", "mean", "spread")))
    return x @ np.array(model["slopes"]).T + np.array(model["intercepts"])


def clinical_columns(cohort: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(N, C) numbers of cohort.csv's `clinical:` columns."""
    return np.stack([pd.to_numeric(cohort[f"clinical:{c}"]).to_numpy(float) for c in columns], axis=1)


CLASSICAL = {"clinical": fit_clinical}
