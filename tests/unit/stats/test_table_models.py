"""Models on tables: a planted signal is found, noise is not, and no inner score knows its own patient."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from scan2gene.stats.table_models import MODELS, SINGLE, TableModel, fit_table_model, inner_folds

FAST = {"random_forest": {"trees": 30}, "extra_trees": {"trees": 30}, "boosting": {"trees": 30}}


def estimators(name: str, seed: int = 0) -> dict:
    return MODELS[name](seed, **FAST.get(name, {}))


def planted(n: int = 80, effect: float = 2.0, columns: int = 12, seed: int = 0, share: float = 0.4):
    """Numbers of which the first, on a scale of its own, knows the label; labels; ids."""
    rng = np.random.default_rng(seed)
    y = (rng.permutation(n) < share * n).astype(float)
    x = rng.normal(size=(n, columns))
    x[:, 0] = 1000 + 50 * (x[:, 0] + effect * y)
    return x, y, np.array([f"P{i}" for i in range(n)])


def fitted(name: str, x: np.ndarray, y: np.ndarray, ids: np.ndarray, seed: int = 0) -> tuple[TableModel, np.ndarray]:
    return fit_table_model(x, y[:, None] if y.ndim == 1 else y, ids, estimators(name, seed), seed)


@pytest.mark.parametrize("name", SINGLE)
def test_each_model_finds_a_planted_signal_and_none_in_noise(name):
    x, y, ids = planted()
    new, truth, _ = planted(400, seed=1)
    model, inner = fitted(name, x, y, ids)
    assert roc_auc_score(truth, model.logits(new)[:, 0]) > 0.75
    assert roc_auc_score(y, inner[:, 0]) > 0.7
    model, _ = fitted(name, planted(effect=0.0)[0], y, ids)
    assert abs(roc_auc_score(truth, model.logits(planted(400, 0.0, seed=1)[0])[:, 0]) - 0.5) < 0.1


@pytest.mark.parametrize("name", ["ridge", "svm", "boosting"])
def test_a_model_fitted_again_gives_the_same_bits(name):
    x, y, ids = planted()
    (one, inner), (two, again) = fitted(name, x, y, ids), fitted(name, x, y, ids)
    assert one.logits(x).tobytes() == two.logits(x).tobytes() and inner.tobytes() == again.tobytes()


def test_inner_scores_come_from_models_that_never_saw_the_patient():
    """A number by which each patient can be told: a forest knows the labels of those it has seen, and of no others."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60).astype(float)
    number = rng.permutation(60).astype(float)[:, None]
    model, inner = fitted("random_forest", np.repeat(number, 2, axis=0), np.repeat(y, 2), np.repeat(np.arange(60), 2))
    assert roc_auc_score(np.repeat(y, 2), model.logits(np.repeat(number, 2, axis=0))[:, 0]) > 0.9
    assert abs(roc_auc_score(np.repeat(y, 2), inner[:, 0]) - 0.5) < 0.17


def test_inner_scores_order_patients_as_scores_of_new_patients_do():
    """An inner fold that leaves out more positives has a lower intercept; pooled as they are, scores lose 0.15."""
    inner, outer = [], []
    new, truth, _ = planted(1000, 1.0, seed=99)
    for seed in range(12):
        x, y, ids = planted(63, 1.0, seed=seed, share=12 / 63)
        model, scores = fitted("ridge", x, y, ids)
        inner.append(roc_auc_score(y, scores[:, 0]))
        outer.append(roc_auc_score(truth, model.logits(new)[:, 0]))
    assert np.mean(inner) == pytest.approx(np.mean(outer), abs=0.04)


def test_an_inner_score_lies_where_the_scores_of_new_patients_do():
    x, y, ids = planted(63, 1.0, share=12 / 63)
    model, inner = fitted("ridge", x, y, ids)
    new, _, _ = planted(4000, 1.0, seed=1, share=12 / 63)
    theirs = model.logits(new)[:, 0]
    assert inner[:, 0].std() == pytest.approx(theirs.std(), rel=0.35)
    assert inner[:, 0].mean() == pytest.approx(theirs.mean(), abs=0.3)
    assert theirs.mean() == pytest.approx(np.log(12 / 51), abs=0.5)  # log odds, so near those of the training part


def test_patients_of_an_inner_fold_stay_together_and_every_row_is_left_out_once():
    y, patients = np.array([0, 0, 1, 1] * 10), np.repeat(np.arange(20), 2)
    seen = []
    for learn, left_out in inner_folds(y, patients, 0):
        assert not set(patients[learn]) & set(patients[left_out])
        seen += left_out.tolist()
    assert sorted(seen) == list(range(40))
    assert list(inner_folds(np.array([0] * 10 + [1]), np.arange(11), 0)) == []


def test_several_outputs_and_unknown_labels_are_learned_apart():
    x, y, ids = planted()
    both = np.c_[y, np.roll(y, 7)]
    both[:20, 1] = np.nan
    model, inner = fitted("ridge", x, both, ids)
    alone, scores = fitted("ridge", x, y, ids)
    assert np.array_equal(model.logits(x)[:, 0], alone.logits(x)[:, 0])
    assert np.array_equal(inner[:, 0], scores[:, 0])
    assert np.isnan(inner[:20, 1]).all() and np.isfinite(inner[20:, 1]).all()


def test_one_class_or_no_column_that_varies_gives_the_share_of_positives():
    x, y, ids = planted()
    model, inner = fitted("ridge", x, np.zeros(80), ids)
    assert np.allclose(model.logits(x), np.log(0.5 / 80.5)) and np.isnan(inner).all()
    model, _ = fitted("ridge", np.full((80, 3), 7.5), y, ids)
    assert np.allclose(model.logits(x[:, :3]), np.log((y.sum() + 0.5) / (80.5 - y.sum())))


@pytest.mark.parametrize("name", SINGLE)
def test_columns_that_hold_nothing_change_no_score(name):
    x, y, ids = planted(60, columns=4)
    odd = np.c_[x, np.full(60, np.nan), np.full(60, 0.1), np.full(60, 1e12), 3 - 2 * x[:, 1]]
    (plain, inner), (more, scores) = fitted(name, x, y, ids), fitted(name, odd, y, ids)
    assert np.allclose(plain.logits(x), more.logits(odd)) and np.allclose(inner, scores)
    assert more.kept.tolist() == [0, 1, 2, 3]
    gone = np.full_like(odd, np.nan)
    assert np.isfinite(more.logits(gone)).all()  # the medians stand in


def test_more_columns_than_patients_and_one_mad_number():
    x, y, ids = planted(50, columns=400)
    x[3, 0] = 1e9
    new, truth, _ = planted(300, columns=400, seed=1)
    model, _ = fitted("ridge", x, y, ids)
    assert roc_auc_score(truth, model.logits(new)[:, 0]) > 0.55
    assert np.isfinite(model.logits(np.full((1, 400), 1e30))).all()


def test_the_mean_of_models_is_the_mean_of_their_standardised_scores():
    x, y, ids = planted()
    rng = np.random.default_rng(1)
    new = x[rng.permutation(80)] + rng.normal(size=x.shape)
    both, _ = fit_table_model(x, y[:, None], ids, MODELS["mean"](0, models=["ridge", "svm"]), 0)
    each = [fitted(name, x, y, ids)[0] for name in ("ridge", "svm")]
    z = [(m.logits(new)[:, 0] - m.line[0, 1]) / m.line[0, 0] for m in each]
    assert np.allclose(both.line[0, 0] * np.mean(z, axis=0) + both.line[0, 1], both.logits(new)[:, 0])
