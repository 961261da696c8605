"""All metrics at once against the single ones, which scikit-learn vouches for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scan2gene.stats.metrics import METRICS, WITHIN_FOLD
from scan2gene.stats.weighted_metrics import at_once


@given(n=st.integers(1, 30), folds=st.integers(1, 4), levels=st.integers(1, 30), seed=st.integers(0, 10**6))
@settings(max_examples=80, deadline=None)
def test_every_metric_is_what_it_is_alone(n, folds, levels, seed):
    rng = np.random.default_rng(seed)
    y, prob, fold = rng.integers(0, 2, n).astype(float), rng.integers(0, levels, n) / levels, rng.integers(0, folds, n)
    decision = (prob >= 0.5).astype(float)
    weights = rng.integers(0, 3, (7, n)).astype(float)
    found = at_once(METRICS, y, prob, decision, fold, weights)
    assert list(found) == list(METRICS)
    for name, (function, kind) in METRICS.items():
        extra = {"groups": fold} if name in WITHIN_FOLD else {}
        alone = function(y, decision if kind == "decision" else prob, weights, **extra)
        assert found[name] == pytest.approx(alone, abs=1e-12, nan_ok=True), name
