"""Ensembles of tables against hand computation, and sides in the evaluation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tests import several_classes

from scan2gene.core.errors import RunError
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.ensemble import ensemble, repeat_ensembles, run_ensembles
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.evaluate.stacking import late_applied, late_ensembles

FOLDS = 3


def _tables(n: int = 36, repeats: int = 2, sides: tuple[str, ...] = ("",), seed: int = 0, effect: float = 1.5):
    """Prediction table of two runs and its split: every patient is tested once in each repeat."""
    rng = np.random.default_rng(seed)
    truth = {(p, s): float(rng.random() < 0.4) for p in range(n) for s in sides}
    rows, split = [], []
    for repeat in range(repeats):
        order = rng.permutation(n)
        for fold in range(FOLDS):
            for p in range(n):
                part = "test" if order[p] % FOLDS == fold else ("validation" if order[p] % 4 == 0 else "train")
                split.append(("cv", f"P{p:02d}", repeat, fold, part))
                for run in ("net", "other"):
                    for side in sides:
                        y = truth[p, side]
                        logit = rng.normal(effect * (2 * y - 1))
                        rows.append(
                            dict.fromkeys(PREDICTION_COLUMNS, "")
                            | {"run_id": run, "split": "cv", "repeat": repeat, "fold": fold, "part": part, "side": side}
                            | {"patient_id": f"P{p:02d}", "exam_id": f"E{p:02d}", "unit_id": f"E{p:02d}{side}"}
                            | {"variant": "original", "target": "m", "y_true": y, "logit": logit, "status": "ok"}
                            | {"prob": 1 / (1 + np.exp(-logit)), "site": "A"}
                        )
    return pd.DataFrame(rows), pd.DataFrame(split, columns=["split", "patient_id", "repeat", "fold", "part"])


def _figure(found, **where) -> pd.Series:
    table = found.metrics
    for column, value in where.items():
        table = table[table[column] == value]
    (row,) = table.to_dict("records")
    return pd.Series(row)


def test_an_ensemble_of_runs_is_the_mean_probability_where_the_study_says_so():
    table, _ = _tables(repeats=1)
    members = {"soft": ["net", "other"], "logits": ["net", "other"]}
    found = (
        run_ensembles(table, members, of_probabilities=["soft"]).set_index(["run_id", "fold", "exam_id"]).sort_index()
    )
    wide = table.pivot(index=["fold", "exam_id"], columns="run_id", values="prob").sort_index()
    soft = found.loc["soft"]
    assert soft["prob"].to_numpy() == pytest.approx(wide.mean(axis=1).to_numpy())
    assert 1 / (1 + np.exp(-soft["logit"].to_numpy())) == pytest.approx(soft["prob"].to_numpy())
    alone = run_ensembles(table, {"logits": ["net", "other"]}).set_index(["fold", "exam_id"]).sort_index()
    assert (found.loc["logits"]["prob"] == alone["prob"]).all()
    lost = table.assign(logit=table["logit"].where(table.index != table.index[0]))
    lost["prob"] = lost["prob"].where(lost["logit"].notna())
    failed = run_ensembles(lost, members, ["soft"])
    assert (failed.loc[failed["prob"].isna(), "status"] == "failed").all() and failed["prob"].isna().sum() == 2


def test_an_ensemble_is_the_mean_logit_of_its_members():
    table, _ = _tables()
    new = table[table["part"] == "test"].assign(y_true=np.nan)
    found = ensemble(new)
    assert len(found) == 2 * 36
    for row in found.sample(5, random_state=0).to_dict("records"):
        own = new[(new["run_id"] == row["run_id"]) & (new["exam_id"] == row["exam_id"])]
        assert len(own) == 2
        assert row["logit"] == pytest.approx(own["logit"].mean())
        assert row["prob"] == pytest.approx(1 / (1 + np.exp(-own["logit"].mean())))
    assert set(found["variant"]) == {"ensemble"}
    assert set(found["fold"]) == {-1}
    assert list(found.columns) == list(PREDICTION_COLUMNS)


def test_row_order_changes_no_ensemble():
    table, _ = _tables(sides=("L", "R"))
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(repeat_ensembles(table), repeat_ensembles(shuffled))
    members = {"both": ["other", "net"]}
    pd.testing.assert_frame_equal(run_ensembles(table, members), run_ensembles(shuffled, members))


def test_over_repeats_only_networks_that_tested_the_patient_count():
    table, _ = _tables()
    spoilt = table.copy()
    seen = spoilt["part"] != "test"
    spoilt.loc[seen, "logit"] = 99.0
    pd.testing.assert_frame_equal(repeat_ensembles(table), repeat_ensembles(spoilt))


def test_no_ensemble_where_a_patient_was_not_tested_in_every_repeat():
    assert repeat_ensembles(_tables(repeats=1)[0]).empty
    table, _ = _tables()
    holdout = table[table["fold"] == 0]  # of each repeat one fold: other patients each time
    assert repeat_ensembles(holdout).empty


def test_a_failed_member_fails_the_ensemble():
    table, _ = _tables()
    lost = (table["patient_id"] == "P03") & (table["repeat"] == 1) & (table["run_id"] == "net")
    table.loc[lost, ["logit", "prob"]] = np.nan
    table.loc[lost, ["status", "reason"]] = ["failed", "cut short"]
    found = repeat_ensembles(table)
    failed = found[found["status"] == "failed"]
    assert failed[["run_id", "patient_id", "reason"]].to_numpy().tolist() == [["net", "P03", "cut short"]]
    assert failed["prob"].isna().all()


def test_every_variant_is_scored_and_the_original_stays_as_it_was():
    table, split = _tables(effect=0.7)
    members = run_ensembles(table, {"both": ["net", "other"]})
    tta = table.assign(variant="tta", prob=table["prob"] ** 2)  # another scale, same order
    found = evaluate(pd.concat([table, repeat_ensembles(table), members, tta]), split, 200, 1)
    alone = evaluate(table, split, 200, 1)
    own = found.metrics[found.metrics["variant"] == "original"].reset_index(drop=True)
    pd.testing.assert_frame_equal(own, alone.metrics)
    net = _figure(found, run_id="net", variant="original", metric="auroc")
    assert _figure(found, run_id="net", variant="tta", metric="auroc")["value"] == pytest.approx(net["value"])
    same = _figure(found, run_id="net", variant="original", metric="accuracy")["value"]
    assert _figure(found, run_id="net", variant="tta", metric="accuracy")["value"] == pytest.approx(same, abs=0.06)
    joint = repeat_ensembles(table)
    joint = joint[joint["run_id"] == "net"]
    value = _figure(found, run_id="net", variant="ensemble", metric="auroc")["value"]
    assert value == pytest.approx(roc_auc_score(joint["y_true"], joint["logit"]))
    assert _figure(found, run_id="both", variant="ensemble", metric="auroc")["value"] > net["value"]
    assert set(found.results["net"]["cv"]["m"]["variants"]) == {"tta", "ensemble"}


def test_an_ensemble_decides_at_the_mean_logit_of_its_members_thresholds():
    table, split = _tables()
    joint = repeat_ensembles(table)
    found = evaluate(pd.concat([table, joint]), split, 100, 1)
    cuts = {(t["run_id"], t["repeat"], t["fold"]): t["threshold"] for t in found.thresholds}
    right = 0
    for row in joint[joint["run_id"] == "net"].to_dict("records"):
        own = table[(table["patient_id"] == row["patient_id"]) & (table["part"] == "test") & (table["run_id"] == "net")]
        own_cuts = np.array([cuts["net", r, f] for r, f in zip(own["repeat"], own["fold"], strict=True)])
        logits = np.log(own_cuts / (1 - own_cuts))
        right += (row["logit"] >= np.mean(logits)) == row["y_true"]
    accuracy = _figure(found, run_id="net", variant="ensemble", metric="accuracy")["value"]
    assert accuracy == pytest.approx(right / 36)


def test_an_incomplete_variant_is_refused():
    table, split = _tables()
    joint = repeat_ensembles(table)
    with pytest.raises(RunError, match="run net, ensemble, do not cover the split"):
        evaluate(pd.concat([table, joint[joint["patient_id"] != "P05"]]), split, 100, 1)
    tta = table[table["patient_id"] != "P05"].assign(variant="tta")
    with pytest.raises(RunError, match="run net, tta, do not cover"):
        evaluate(pd.concat([table, tta]), split, 100, 1)


def test_sides_are_scored_and_patients_counted():
    table, split = _tables(sides=("L", "R"), repeats=1)
    row = _figure(evaluate(table, split, 200, 1), run_id="net", metric="auroc")
    assert (row["n"], row["n_units"]) == (36, 72)
    tested = table[(table["part"] == "test") & (table["run_id"] == "net")]
    assert row["n_positive"] == tested["y_true"].sum()
    by_fold = [(g["y_true"].sum() * (1 - g["y_true"]).sum(), roc_auc_score(g["y_true"], g["prob"]))
               for _, g in tested.groupby("fold")]  # fmt: skip
    pairs, values = np.array(by_fold).T
    assert row["value"] == pytest.approx((pairs * values).sum() / pairs.sum())


def test_swapping_the_sides_of_everybody_changes_no_figure():
    table, split = _tables(sides=("L", "R"))
    other = table.assign(side=table["side"].map({"L": "R", "R": "L"}))
    one, two = (evaluate(t, split, 200, 1).metrics for t in (table, other))
    pd.testing.assert_frame_equal(one, two)


def test_both_sides_of_a_patient_are_drawn_together():
    """A second side that says just what the first says adds no certainty: the interval stays."""
    table, split = _tables(n=60, repeats=1, effect=0.6)
    twice = pd.concat([table.assign(side=s, unit_id=table["unit_id"] + s) for s in ("L", "R")])
    one, two = (_figure(evaluate(t, split, 1000, 1), run_id="net", metric="auroc") for t in (table, twice))
    assert two["n_units"] == 2 * one["n_units"]
    for end in ("value", "low", "high"):
        assert two[end] == pytest.approx(one[end], abs=1e-9)


@pytest.mark.parametrize("way", ["mean logit", "mean", "late fusion", "repeats"])
def test_probabilities_of_several_classes_still_add_up_to_one(way):
    table, _ = several_classes.predictions(n=30, runs=("net", "other"), repeats=2 if way == "repeats" else 1)
    table.loc[(table["exam_id"] == "EP004") & (table["run_id"] == "other"), ["logit", "prob"]] = np.nan
    both = {"both": ["net", "other"]}
    if way == "late fusion":
        found, weights = late_ensembles(table, both)
        assert len(weights) == 2 * 3 and weights.groupby(["fold"])["weight"].sum().to_numpy() == pytest.approx(1)
        keys = ["split", "repeat", "fold", "patient_id", "label"]
        again = late_applied(table, both, weights).set_index(keys).sort_index()["prob"]
        assert again.to_numpy() == pytest.approx(found.set_index(keys).sort_index()["prob"].to_numpy())
    else:
        found = (
            repeat_ensembles(table) if way == "repeats" else run_ensembles(table, both, both if way == "mean" else ())
        )
    exam = ["run_id", "fold", "exam_id"]
    sums = found.groupby(exam)["prob"].sum(min_count=4)
    lost = sums.index.get_level_values("exam_id") == "EP004"
    if way != "late fusion":
        assert sums[lost & ((way != "repeats") | (sums.index.get_level_values("run_id") == "other"))].isna().all()
    assert sums.dropna().to_numpy() == pytest.approx(1) and len(sums.dropna()) >= 29
    assert 1 / (1 + np.exp(-found["logit"])).to_numpy() == pytest.approx(found["prob"].to_numpy(), nan_ok=True)
    if way in ("mean logit", "mean"):
        rows = table[(table["fold"] == 0) & (table["exam_id"] == "EP003")].pivot(
            index="run_id", columns="label", values="prob"
        )
        hand = rows.mean() if way == "mean" else np.exp(np.log(rows).mean()) / np.exp(np.log(rows).mean()).sum()
        mine = found[(found["fold"] == 0) & (found["exam_id"] == "EP003")].set_index("label")["prob"]
        assert mine.to_dict() == pytest.approx(hand.to_dict())


def test_the_member_that_knows_the_classes_gets_the_weight():
    good, _ = several_classes.predictions(n=90, signal=3, runs=("good",), seed=1)
    bad, _ = several_classes.predictions(n=90, signal=3, runs=("good",), seed=1)
    shuffled = bad.assign(run_id="bad", logit=np.random.default_rng(0).normal(size=len(bad)))
    _, weights = late_ensembles(pd.concat([good, shuffled]), {"both": ["good", "bad"]})
    assert (weights.loc[weights["member"] == "good", "weight"] > 0.8).all() and (weights["reason"] == "").all()
