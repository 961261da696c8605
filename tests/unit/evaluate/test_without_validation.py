"""Splits without a validation part: what is fitted comes from the other folds' patients, never the fold's own."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.blocks import standardised_means
from scan2gene.evaluate.evaluate import evaluate, fitting_rows
from scan2gene.evaluate.leakage_of_fits import thresholds_inside
from scan2gene.evaluate.probabilities import probability_tables, recalibrated
from scan2gene.stages.audit import _thresholds


def _scores(folds: int, repeats: int, seed: int, patients: int = 60) -> pd.DataFrame:
    """Predictions of chance in a k-fold split, or a holdout of half the patients where `folds` is 1."""
    rng, rows = np.random.default_rng(seed), []
    y = rng.permutation(np.arange(patients) % 2)
    same = {"run_id": "net", "split": "cv", "variant": "original", "side": "", "unit": "patient", "unit_id": "",
            "target": "gene", "label": "", "site": "A", "status": "ok", "reason": ""}  # fmt: skip
    for repeat in range(repeats):
        own = rng.permutation(patients) % max(folds, 2)
        for fold, n in product(range(folds), range(patients)):
            logit, part = rng.normal(), "test" if own[n] == fold else "train"
            prob = 1 / (1 + np.exp(-logit))
            rows.append({**same, "repeat": repeat, "fold": fold, "part": part, "patient_id": f"P{n}",
                         "exam_id": f"E{n}", "y_true": float(y[n]), "logit": logit, "prob": prob})  # fmt: skip
    return pd.DataFrame(rows)[list(PREDICTION_COLUMNS)]


def _split(table: pd.DataFrame) -> pd.DataFrame:
    return table[["split", "patient_id", "repeat", "fold", "part"]]


@settings(max_examples=10)
@given(st.integers(2, 5), st.integers(1, 2), st.integers(0, 10**6), st.data())
def test_what_is_fitted_for_a_fold_does_not_know_its_own_patients(folds, repeats, seed, data):
    """Turned labels and other scores of a fold's own test patients leave its threshold and calibration as they are."""
    table = _scores(folds, repeats, seed)
    repeat, fold = data.draw(st.integers(0, repeats - 1)), data.draw(st.integers(0, folds - 1))
    own = (table["repeat"] == repeat) & (table["fold"] == fold)
    turned = table.copy()
    mine = table["patient_id"].isin(table.loc[own & (table["part"] == "test"), "patient_id"])
    turned.loc[mine, "y_true"] = 1 - turned.loc[mine, "y_true"]
    turned.loc[own & mine, "prob"] = 1 - turned.loc[own & mine, "prob"]
    found = [evaluate(t, _split(t), 100, 1).thresholds for t in (table, turned)]
    cuts = [{(t["repeat"], t["fold"]): t for t in of} for of in found]
    assert cuts[0][repeat, fold] == cuts[1][repeat, fold]
    tested = int((own & (table["part"] == "test")).sum())
    assert cuts[0][repeat, fold]["n"] == 60 - tested
    assert thresholds_inside(found[0], _thresholds(table)).status == "clean"
    tested = table[own & (table["part"] == "test")]
    others = [fitting_rows(t)[0] for t in (table, turned)]
    before, after = (recalibrated(tested, rows)[0] for rows in others)
    assert all(np.array_equal(before[method], after[method]) for method in before)


def test_a_threshold_of_all_tested_patients_is_found_by_the_audit():
    table = _scores(4, 1, 3)
    kept = evaluate(table, _split(table), 100, 1).thresholds
    tested = table[table["part"] == "test"]
    wrong = [k | {"n": len(tested)} for k in kept]
    assert thresholds_inside(wrong, _thresholds(table)).status == "found"


def test_a_holdout_alone_has_the_threshold_one_half_and_says_why():
    table = _scores(1, 1, 4)
    found = evaluate(table, _split(table), 100, 1)
    (cut,) = found.thresholds
    assert (cut["threshold"], cut["n"]) == (0.5, 0)
    assert cut["reason"].startswith("there is no validation part, and the other folds test 0 positive of 0")
    tables = probability_tables(table, found.thresholds, {}, 100, 1)
    assert (
        tables["calibration"].query("method != 'as given'")["reason"].str.contains("0 other patients to fit on").all()
    )
    assert "other patients to learn from" in tables["conformal"]["reason"].iloc[0]


@pytest.mark.parametrize("folds", [3, 5])
def test_calibration_and_sets_are_fitted_on_the_other_folds(folds):
    table = _scores(folds, 1, 5, patients=120)
    found = evaluate(table, _split(table), 100, 1)
    tables = probability_tables(table, found.thresholds, {}, 100, 1)
    fitted = tables["calibration"].query("method != 'as given'")
    assert fitted["n_fitted"].eq(120 - 120 // folds).all()
    sets = tables["conformal"].set_index("figure")
    assert sets["n_fits_too_small"].eq(0).all()
    assert 0.8 < sets.loc["coverage", "value"] <= 1  # exchangeable scores: 0.9 but for chance


def test_standardised_means_are_placed_by_the_other_folds():
    both = pd.concat([_scores(4, 1, seed).assign(run_id=name) for seed, name in ((6, "a"), (6, "b"))])
    both.loc[both["run_id"] == "b", "logit"] *= 7
    none, members = both[:0], {"mean": ["a", "b"]}
    made, scales = standardised_means(both, none, members)
    assert scales["patients"].eq("other folds").all() and scales["n"].eq(45).all()
    mine = both["patient_id"].isin(both.loc[(both["fold"] == 2) & (both["part"] == "test"), "patient_id"])
    turned = both.assign(y_true=both["y_true"].where(~mine, 1 - both["y_true"]))
    again = standardised_means(turned, none, members)[0]
    assert np.array_equal(made.loc[made["fold"] == 2, "prob"], again.loc[again["fold"] == 2, "prob"])
    assert not np.array_equal(made.loc[made["fold"] == 1, "prob"], again.loc[again["fold"] == 1, "prob"])
