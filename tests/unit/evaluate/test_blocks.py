"""Means of standardised scores against a computation by hand, and what must not move them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.blocks import applied_means, ordered, standardised_means
from scan2gene.stats.linear import LEAST_SLOPE, LINE_STRENGTH

MEMBERS = {"best": ["age", "image"], "image": ["texture", "form"]}
RUNS = ("age", "texture", "form")


def row(run: str, fold: int, part: str, patient: int, y: float, logit: float, **keys) -> dict:
    return dict.fromkeys(PREDICTION_COLUMNS, "") | {
        "run_id": run, "split": "cv", "repeat": 0, "fold": fold, "part": part, "variant": "original",
        "patient_id": f"P{patient:02d}", "exam_id": f"E{patient:02d}", "target": "m", "label": "positive",
        "y_true": y, "logit": logit, "prob": 1 / (1 + np.exp(-logit)), "status": "ok",
    } | keys  # fmt: skip


def scores(labels=("positive",), sides=("",), folds: int = 2, n: int = 40, seed: int = 0):
    """Predictions of three runs, and their inner scores of the training patients."""
    rng = np.random.default_rng(seed)
    effect, scale = dict(zip(RUNS, (0.5, 1.0, 1.5), strict=True)), dict(zip(RUNS, (1.0, 0.02, 30.0), strict=True))
    truth = rng.integers(0, max(2, len(labels)), (n, len(sides)))
    predictions, inner = [], []
    for fold in range(folds):
        for run in RUNS:
            for patient in range(n):
                part = "test" if patient % folds == fold else "train"
                for s, side in enumerate(sides):
                    for number, label in enumerate(labels):
                        hit = truth[patient, s] == (number if len(labels) > 1 else 1)
                        kind = {"side": side, "label": label}
                        for table in (predictions, inner) if part == "train" else (predictions,):
                            logit = scale[run] * (rng.normal() + effect[run] * hit + 3)
                            table.append(row(run, fold, part, patient, float(hit), logit, **kind))
    return pd.DataFrame(predictions), pd.DataFrame(inner)


def logistic(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Slope and intercept with the least loss, found without derivatives of our own."""

    def loss(b: np.ndarray) -> float:
        eta = b[0] * z + b[1]
        return float((np.logaddexp(0, eta) - y * eta).sum() + b[0] ** 2 / LINE_STRENGTH / 2)

    return minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x


def by_hand(wide: dict[str, np.ndarray], inner: dict[str, np.ndarray], y: np.ndarray):
    """Log odds of a mean of some members, and those of its inner rows."""
    z = np.mean([(wide[m] - inner[m].mean()) / inner[m].std() for m in wide], axis=0)
    back = np.mean([(inner[m] - inner[m].mean()) / inner[m].std() for m in wide], axis=0)
    slope, intercept = logistic(back, y)
    return max(slope, LEAST_SLOPE) * z + intercept, max(slope, LEAST_SLOPE) * back + intercept


def test_means_and_a_mean_of_means_are_those_of_a_computation_by_hand():
    predictions, inner = scores()
    found, scales = standardised_means(predictions, inner, MEMBERS)
    for fold in (0, 1):
        wide, back = (
            t[t["fold"] == fold].pivot(index="exam_id", columns="run_id", values="logit") for t in (predictions, inner)
        )
        y = inner[inner["fold"] == fold].drop_duplicates("exam_id").set_index("exam_id")["y_true"].reindex(back.index)
        image, image_back = by_hand(
            {m: wide[m].to_numpy() for m in MEMBERS["image"]}, {m: back[m].to_numpy() for m in MEMBERS["image"]},
            y.to_numpy(),
        )  # fmt: skip
        best, _ = by_hand(
            {"age": wide["age"].to_numpy(), "image": image}, {"age": back["age"].to_numpy(), "image": image_back},
            y.to_numpy(),
        )  # fmt: skip
        ours = found[found["fold"] == fold].pivot(index="exam_id", columns="run_id", values="logit").loc[wide.index]
        assert np.allclose(ours["image"], image, atol=1e-5)
        assert np.allclose(ours["best"], best, atol=1e-5)
    assert np.allclose(found["prob"], 1 / (1 + np.exp(-found["logit"].to_numpy(float))))
    assert set(scales["patients"]) == {"inner folds"} and set(scales["n"]) == {20}
    assert list(found.columns) == list(PREDICTION_COLUMNS)


@pytest.mark.parametrize(
    ("labels", "sides"), [(("positive",), ("",)), (("a", "b", "c"), ("",)), (("positive",), ("L", "R"))]
)
def test_applied_to_the_same_rows_it_gives_the_same_numbers(labels, sides):
    predictions, inner = scores(labels, sides)
    found, scales = standardised_means(predictions, inner, MEMBERS)
    again = applied_means(predictions, MEMBERS, scales)
    key = ["run_id", "fold", "exam_id", "side", "label"]
    ours, theirs = (t.set_index(key).sort_index() for t in (found, again))
    assert len(ours) == 2 * 2 * 40 * len(labels) * len(sides)
    assert np.allclose(ours["logit"], theirs["logit"].reindex(ours.index), atol=1e-12)


def test_probabilities_of_several_classes_add_up_to_one():
    found, _ = standardised_means(*scores(("a", "b", "c")), MEMBERS)
    assert np.allclose(found.groupby(["run_id", "fold", "exam_id"])["prob"].sum(), 1)


def test_a_side_is_a_unit_of_its_own():
    predictions, inner = scores(sides=("L", "R"))
    found, _ = standardised_means(predictions, inner, MEMBERS)
    left, _ = standardised_means(predictions[predictions["side"] == "L"], inner[inner["side"] == "L"], MEMBERS)
    assert found.groupby(["run_id", "fold", "exam_id"]).size().eq(2).all()
    assert np.allclose(found.loc[found["side"] == "L", "logit"], left["logit"])


def test_a_member_that_is_sure_of_itself_counts_no_more():
    predictions, inner = scores()
    before, _ = standardised_means(predictions, inner, MEMBERS)
    surer = [t.assign(logit=t["logit"].where(t["run_id"] != "form", t["logit"] * 100)) for t in (predictions, inner)]
    after, _ = standardised_means(*surer, MEMBERS)
    assert np.allclose(before["logit"], after["logit"], atol=1e-9)


@pytest.mark.parametrize("kind", ["inner folds", "validation"])
def test_rows_of_the_test_part_change_nothing_else(kind):
    predictions, inner = scores()
    if kind == "validation":
        held = (predictions["part"] == "train") & (predictions["exam_id"].str[1:].astype(int) % 4 < 2)
        predictions["part"] = predictions["part"].mask(held, "validation")
        inner = inner[:0]
    tested = predictions["part"] == "test"
    before, scales = standardised_means(predictions, inner, MEMBERS)
    rng = np.random.default_rng(1)
    other = predictions.assign(
        logit=predictions["logit"].mask(tested, pd.Series(rng.normal(0, 50, len(predictions)))),
        y_true=predictions["y_true"].mask(tested, 1 - predictions["y_true"]),
    )
    after, scales_after = standardised_means(other, inner, MEMBERS)
    assert set(scales["patients"]) == {kind}
    pd.testing.assert_frame_equal(scales, scales_after)
    kept = before["part"] != "test"
    assert np.array_equal(before.loc[kept, "logit"], after.loc[kept, "logit"])
    fewer, _ = standardised_means(predictions[~tested | (predictions["exam_id"] < "E20")], inner, MEMBERS)
    key = ["run_id", "fold", "exam_id"]
    whole = before.set_index(key)["logit"]
    assert np.allclose(fewer.set_index(key)["logit"], whole.reindex(fewer.set_index(key).index), atol=1e-12)


def test_where_a_member_failed_so_does_the_mean_with_its_reason():
    predictions, inner = scores()
    lost = (predictions["run_id"] == "texture") & (predictions["exam_id"] == "E03")
    predictions.loc[lost, ["logit", "prob"]] = np.nan
    predictions.loc[lost, ["status", "reason"]] = "failed", "mask is empty"
    found, scales = standardised_means(predictions, inner, MEMBERS)
    here = found["exam_id"] == "E03"
    assert set(found.loc[here, "status"]) == {"failed"} and set(found.loc[here, "reason"]) == {"mask is empty"}
    assert found.loc[here, "prob"].isna().all()
    assert found.loc[~here, "logit"].notna().all() and set(found.loc[~here, "reason"]) == {""}
    again = applied_means(predictions, MEMBERS, scales)
    assert set(again.loc[again["exam_id"] == "E03", "reason"]) == {"mask is empty"}


def test_a_mean_is_better_than_its_members_and_one_without_signal_is_not_turned_round():
    predictions, inner = scores(n=400, folds=2)
    found, _ = standardised_means(predictions, inner, MEMBERS)
    rows = pd.concat([predictions, found])
    rows = rows[rows["part"] == "test"]
    auroc = {run: roc_auc_score(r["y_true"], r["logit"]) for run, r in rows.groupby("run_id")}
    assert auroc["image"] > max(auroc["texture"], auroc["form"]) and auroc["best"] > auroc["age"]
    turned = inner.assign(y_true=1 - inner["y_true"])
    found, scales = standardised_means(predictions, turned, MEMBERS)
    assert (scales["slope"] >= LEAST_SLOPE).all()
    tested = found[(found["part"] == "test") & (found["run_id"] == "image")]
    assert roc_auc_score(tested["y_true"], tested["logit"]) > 0.7


def test_a_mean_of_other_means_comes_after_them():
    assert ordered({"best": ["a", "image"], "image": ["block"], "block": ["b", "c"]}) == ["block", "image", "best"]


def test_a_mean_without_rows_of_its_members_is_left_out():
    predictions, inner = scores()
    _, scales = standardised_means(predictions, inner, MEMBERS)
    found = applied_means(predictions[predictions["run_id"] != "age"], MEMBERS, scales)
    assert set(found["run_id"]) == {"image"}
