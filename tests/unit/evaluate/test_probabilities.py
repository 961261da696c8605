"""Tables about probabilities and evidence from a prediction table: planted, and every bad input told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.core.errors import RunError
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.evaluate.probabilities import probability_tables, recalibrated
from scan2gene.evaluate.stability import Features, stability
from scan2gene.stats.linear import ridge_scores


def _study(n: int = 120, folds: int = 3, stretch: float = 1.0, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions and split: probabilities that are right, then made too extreme."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, n)
    y = (rng.random(n) < 1 / (1 + np.exp(-x))).astype(float)
    rows = []
    for fold in range(folds):
        for i in range(n):
            part = "test" if i % folds == fold else "validation" if i // folds % 4 == 0 else "train"
            rows.append({"run_id": "net", "split": "cv", "repeat": 0, "fold": fold, "part": part,
                         "variant": "original", "unit": "exam",
                         "site": "ab"[i % 2], "patient_id": f"P{i:03d}", "exam_id": f"E{i:03d}", "side": "",
                         "target": "idh", "y_true": y[i], "prob": 1 / (1 + np.exp(-stretch * x[i])), "status": "ok",
                         "reason": ""})  # fmt: skip
    table = pd.DataFrame(rows)
    return table, table[["split", "patient_id", "repeat", "fold", "part"]].copy()


def _tables(predictions: pd.DataFrame, split: pd.DataFrame, **prevalence: float) -> dict[str, pd.DataFrame]:
    found = evaluate(predictions, split, 200, 1)
    return probability_tables(predictions, found.thresholds, prevalence, 200, 1)


def _value(table: pd.DataFrame, **where: str) -> float:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return float(table["value"].iloc[0])


def test_probabilities_that_are_too_extreme_are_seen_and_mended_by_validation_patients():
    tables = _tables(*_study(900, stretch=2.5), idh=0.02)
    found = tables["calibration"]
    slopes = {m: _value(found, method=m, figure="slope") for m in ("as given", "temperature", "platt")}
    assert slopes["as given"] == pytest.approx(1 / 2.5, rel=0.3)
    assert slopes["temperature"] == pytest.approx(1, rel=0.4)
    assert _value(found, method="platt", figure="brier") < _value(found, method="as given", figure="brier")
    assert found.loc[found["method"] == "as given", "n"].unique() == [900]
    coverage = _value(tables["conformal"], figure="coverage")
    assert coverage == pytest.approx(0.9, abs=0.06)
    rare = _value(tables["predictive_values"], figure="positive_predictive_value")
    assert rare < 0.2
    assert (tables["decision"]["low"] <= tables["decision"]["high"]).all()


def test_labels_of_a_folds_own_test_patients_mend_nothing():
    """In k-fold they are validation patients of other folds; turned round there, a fold's own fit stays."""
    predictions, _ = _study(150, stretch=2.0)
    own = predictions.loc[(predictions["fold"] == 0) & (predictions["part"] == "test"), "patient_id"]
    turned = predictions.copy()
    mine = turned["patient_id"].isin(own)
    turned.loc[mine, "y_true"] = 1 - turned.loc[mine, "y_true"]
    found = []
    for table in (predictions, turned):
        tested = table[table["part"] == "test"].reset_index(drop=True)
        mended, _, reasons = recalibrated(tested, table[table["part"] == "validation"])
        assert not reasons
        found.append({(m, fold): p[tested["fold"] == fold] for m, p in mended.items() for fold in (0, 1)})
    assert all((found[0][m, 0] == found[1][m, 0]).all() for m in ("temperature", "platt", "isotonic"))
    assert (found[0]["platt", 1] != found[1]["platt", 1]).all()  # other folds do learn from them


def _one_class(t):
    return t.assign(y_true=1.0)


def _six(t):
    return t[t["patient_id"].isin([f"P{i:03d}" for i in range(6)])]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_one_class, "120 positive among 120 labelled test patients; both classes are needed"),
        (_six, "6 test patients are too few; at least 20 are needed"),
        (lambda t: t.assign(prob=np.nan, status="failed"), "0 positive among 0 labelled test patients"),
    ],
)
def test_what_cannot_be_estimated_says_why_and_once(change, why):
    predictions, split = _study()
    predictions = change(predictions)
    split = split[split["patient_id"].isin(predictions["patient_id"])]
    if why.startswith("6"):
        predictions.loc[predictions["patient_id"] == "P000", "y_true"] = 1.0
        predictions.loc[predictions["patient_id"] == "P001", "y_true"] = 0.0
    tables = _tables(predictions, split, idh=0.1)
    for name in ("calibration", "predictive_values", "abstention", "conformal"):
        assert len(tables[name]) == 1, name
        assert why in tables[name]["reason"].iloc[0]
    assert tables["decision"].empty


def test_scores_that_are_no_probabilities_and_rows_that_count_twice_are_refused():
    predictions, split = _study(60)
    with pytest.raises(RunError, match="probabilities outside 0 to 1, such as -"):
        evaluate(predictions.assign(prob=8 * predictions["prob"] - 4), split, 200, 1)
    with pytest.raises(RunError, match="1 rows that repeat another one, such as run net, fold 0, exam E000"):
        evaluate(pd.concat([predictions, predictions[:1]]), split, 200, 1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["ties", "equal", "a fold of one class", "missing", "a site with one patient"])
def test_odd_scores_leave_no_figure_without_value_or_reason(kind, seed):
    predictions, split = _study(60, seed=seed)
    if kind == "ties":
        predictions["prob"] = predictions["prob"].round(0) * 0.5 + 0.25
    elif kind == "equal":
        predictions["prob"] = 0.4
    elif kind == "a fold of one class":
        own = predictions.loc[(predictions["fold"] == 0) & (predictions["part"] == "test"), "patient_id"]
        predictions.loc[predictions["patient_id"].isin(own), "y_true"] = 1.0
    elif kind == "missing":
        predictions.loc[predictions["patient_id"].isin(["P003", "P004", "P005"]), ["prob", "status"]] = np.nan, "failed"
    else:
        predictions.loc[predictions["patient_id"] == "P007", "site"] = "lonely"
    tables = _tables(predictions, split, idh=0.1)
    for name in ("calibration", "predictive_values", "abstention", "conformal"):
        table, value = tables[name], "error" if name == "abstention" else "value"
        assert len(table)
        unsaid = table[value].isna() & (table["reason"].fillna("") == "")
        assert not unsaid.any(), (name, table[unsaid])
    if kind == "missing":
        assert set(tables["calibration"]["n"]) == {57}
    if kind == "equal":
        reason = tables["calibration"].set_index(["method", "figure"])["reason"]["as given", "slope"]
        assert reason == "all probabilities are equal"
    assert not tables["decision"].isna().any(axis=None)


def test_evidence_has_a_row_for_every_run_and_reasons_for_what_is_missing():
    predictions, split = _study(120, folds=4)
    results = evaluate(predictions, split, 200, 1).results
    people = np.array(sorted(predictions["patient_id"].unique()))
    first = predictions.drop_duplicates("patient_id").set_index("patient_id")

    def read(name):
        x = first["prob"].loc[people].to_numpy()[:, None]
        return [(0, fold, people, np.c_[x, np.ones(120)]) for fold in range(4)]

    features = {"net": Features("a probe", ridge_scores, read)}
    (row,) = stability(results, split, predictions, features, {"net": True}, frozenset(), 99, 1).to_dict("records")
    assert (row["nested"], row["fits"], row["shuffled_p"]) == ("yes", 4, 0.01)
    assert row["fits_low"] < row["fits_auroc"] < row["fits_high"] <= 1
    assert row["power"] > 0.9
    (row,) = stability(results, split, predictions, {}, {"net": False}, frozenset({"cv"}), 99, 1).to_dict("records")
    assert "sites" in row["fits_reason"]
    assert "no features" in row["shuffled_reason"]
    sided = predictions.assign(side="L")
    (row,) = stability(results, split, sided, features, {"net": False}, frozenset(), 99, 1).to_dict("records")
    assert row["shuffled_reason"] == "labels of sides are not shuffled"
