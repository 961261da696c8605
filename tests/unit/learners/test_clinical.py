"""The clinical baseline against scikit-learn's own pipeline."""

from __future__ import annotations

import json

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scan2gene.learners.clinical import fit_clinical, linear_logits


def test_logits_equal_a_scikit_learn_pipeline():
    rng = np.random.default_rng(0)
    x = rng.normal(50, 10, (60, 2))
    y = (x[:, :1] + rng.normal(0, 5, (60, 1)) > 50).astype(float)
    model = json.loads(json.dumps(fit_clinical(x[:40], y[:40], columns=["age", "volume"])))
    oracle = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)).fit(x[:40], y[:40, 0])
    np.testing.assert_allclose(linear_logits(model, x[40:])[:, 0], oracle.decision_function(x[40:]), rtol=1e-6)


def test_missing_values_take_the_training_median_and_missing_labels_are_left_out():
    x = np.array([[40.0], [50.0], [60.0], [np.nan], [45.0], [55.0]])
    y = np.array([[0.0], [1.0], [1.0], [1.0], [np.nan], [np.nan]])
    model = fit_clinical(x, y, columns=["age"])
    assert model["median"] == [50.0]
    np.testing.assert_allclose(linear_logits(model, np.array([[np.nan]])), linear_logits(model, np.array([[50.0]])))
    same = fit_clinical(np.where(np.isnan(x), 50.0, x), np.where(np.isnan(y), np.nan, y), columns=["age"])
    assert same["slopes"] == model["slopes"]


def test_one_class_in_training_gives_a_flat_model():
    model = fit_clinical(np.arange(6.0)[:, None], np.ones((6, 1)), columns=["age"])
    assert linear_logits(model, np.array([[0.0], [9.0]])).tolist() == [[0.0], [0.0]]
