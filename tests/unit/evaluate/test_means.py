"""Means over targets: the figures of scikit-learn, intervals that know that targets share their patients."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from scan2gene.core.tables import MEAN, PREDICTION_COLUMNS
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.evaluate.means import mean_over_targets
from scan2gene.evaluate.power_tables import without_small_classes
from scan2gene.stats.resampling import Sample

GENES = ("TP53", "PTEN", "EGFR")


def _samples(n: int = 60, alike: bool = False, seed: int = 0) -> dict[str, Sample]:
    rng = np.random.default_rng(seed)
    found: dict[str, Sample] = {}
    for gene in GENES:
        if not (alike and found):
            y = rng.permutation(np.arange(n) % 2).astype(float)
            prob = 1 / (1 + np.exp(-rng.normal(2 * y - 1, 1.5)))
        table = pd.DataFrame({"repeat": 0, "fold": 0, "patient_id": [f"P{k:03d}" for k in range(n)], "side": "",
                              "y_true": y, "prob": prob, "decision": (prob >= 0.4).astype(float)})  # fmt: skip
        found[gene] = Sample(table)
    return found


def test_values_are_means_of_scikit_learn_s():
    samples = _samples()
    tables = [s.table for s in samples.values()]
    found = mean_over_targets(samples, 200, 1)
    oracle = {
        "auroc": np.mean([roc_auc_score(t["y_true"], t["prob"]) for t in tables]),
        "accuracy": np.mean([accuracy_score(t["y_true"], t["decision"]) for t in tables]),
        "log_loss": np.mean([log_loss(t["y_true"], t["prob"]) for t in tables]),
    }
    assert {m: e.value for m, e in found.items()} == pytest.approx(oracle)


def test_patients_are_drawn_with_all_their_targets():
    for metric in ("auroc", "accuracy", "log_loss"):
        width = {}
        for alike in (False, True):
            every = [mean_over_targets(_samples(alike=alike, seed=k), 200, 1)[metric] for k in range(8)]
            width[alike] = np.mean([e.high - e.low for e in every])
        # three labels that are one label in truth tell no more than one; independent ones 1 / sqrt(3) of the width
        assert width[False] / width[True] == pytest.approx(3**-0.5, rel=0.2), metric
    alike = mean_over_targets(_samples(alike=True), 1000, 1)
    y = _samples(alike=True)["TP53"].table
    rng, right = np.random.default_rng(5), (y["y_true"] == y["decision"]).to_numpy()
    ends = np.quantile([rng.choice(right, len(right)).mean() for _ in range(4000)], [0.025, 0.975])
    assert (alike["accuracy"].low, alike["accuracy"].high) == pytest.approx(tuple(ends), abs=0.025)


def test_a_target_with_one_class_leaves_no_mean_and_says_which():
    samples = _samples()
    samples["EGFR"] = Sample(samples["EGFR"].table.assign(y_true=0.0))
    found = mean_over_targets(samples, 100, 1)
    assert all(e.value is None and "EGFR" in e.reason for e in found.values())


def test_a_mean_with_a_target_of_too_few_is_not_judged():
    rows = pd.DataFrame({"target": MEAN, "variant": "original", "n": 40, "n_units": 40, "n_positive": 30, "value": 0.8,
                         "low": 0.7, "high": 0.9, "reason": "", "n_rarer_patients": [5, 6]})  # fmt: skip
    shown = without_small_classes(rows)
    assert shown["value"].isna().tolist() == [True, False]
    assert "5 patients" in shown["reason"].iloc[0]


def test_rows_stand_beside_those_of_the_targets():
    rows = []
    for gene, sample in _samples().items():
        for r in sample.table.to_dict("records"):
            rows.append(dict.fromkeys(PREDICTION_COLUMNS, "") | {
                "run_id": "net", "split": "cv", "repeat": 0, "fold": 0, "part": "test", "site": "A", "status": "ok",
                "variant": "original", "exam_id": r["patient_id"], "target": gene, "patient_id": r["patient_id"],
                "y_true": r["y_true"], "prob": r["prob"], "logit": 0.0})  # fmt: skip
    predictions = pd.DataFrame(rows)
    split = predictions[["split", "patient_id", "repeat", "fold", "part"]].drop_duplicates()
    found = evaluate(predictions, split, 100, 1)
    assert set(found.metrics["target"]) == set(GENES)
    assert found.means["target"].unique().tolist() == [MEAN]
    each = found.metrics[found.metrics["metric"] == "log_loss"]["value"].mean()
    (mean,) = found.means[found.means["metric"] == "log_loss"].to_dict("records")
    assert mean["value"] == pytest.approx(each) and mean["n"] == 60
