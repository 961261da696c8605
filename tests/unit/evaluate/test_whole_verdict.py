"""Verdicts on targets of several classes: the rules one by one; planted classes are named, in nothing none is."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from tests.several_classes import CLASSES, predictions

from scan2gene.core.study_cohort import Target
from scan2gene.core.study_runs import Evaluate, Split
from scan2gene.core.tables import MEAN
from scan2gene.evaluate.audit import Tables, shortcut_figures
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.evaluate.facts import Against, Facts, WholeFacts
from scan2gene.evaluate.leakage import Check
from scan2gene.evaluate.multiclass import OVER_CLASSES, WHOLE_METRICS
from scan2gene.evaluate.power_tables import without_small_classes
from scan2gene.evaluate.verdict import judge_whole
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import by_question, one_vs_rest


@pytest.fixture(autouse=True)
def few_permutations(monkeypatch):
    monkeypatch.setattr("scan2gene.evaluate.audit.PERMUTATIONS", 399)


WEAK = Against("scanner and site", Estimate(0.52, 0.42, 0.62), 0.6, Estimate(0.28, 0.15, 0.40), 0.001)
STRONG = Against("scanner and site", Estimate(0.81, 0.72, 0.88), 0.0001, Estimate(-0.01, -0.1, 0.09), 0.8)
HIGH = Facts("subtype:her2", "cv", "net", 2, Estimate(0.80, 0.70, 0.88), 100, 100, 30, 0.001, 4, WEAK, WEAK,
             Estimate(0.55, 0.45, 0.65), 0.17)  # fmt: skip
LOW = replace(HIGH, target="subtype:other", auroc=Estimate(0.6, 0.5, 0.7), p=0.2)
WHOLE = WholeFacts("subtype", "cv", "net", 2, Estimate(0.70, 0.62, 0.77), 100, 0.001, 2, {"her2": HIGH, "other": LOW})


@pytest.mark.parametrize(
    ("whole", "kind", "headline"),
    [
        (WHOLE, "better",
         "better than chance, and than scan metadata or clinical data alone; shown for her2 against the rest"),
        (replace(WHOLE, p=0.06), "chance", "not distinguishable from chance"),
        (replace(WHOLE, auroc=Estimate(0.4, 0.3, 0.48)), "worse", "below chance"),
        (replace(WHOLE, auroc=Estimate(None, reason="no labelled test patient is her2"), p=None), "unknown", None),
        (replace(WHOLE, classes={"her2": replace(HIGH, metadata=STRONG), "other": LOW}), "shortcut",
         "a shortcut in her2"),
        (replace(WHOLE, classes={"her2": HIGH, "other": replace(LOW, p=0.01, metadata=STRONG)}), "better", None),
        (replace(WHOLE, classes={"her2": replace(HIGH, erased=None), "other": LOW}), "unproven",
         "better than chance, and than scan metadata or clinical data alone, but whether it needs the lesion could not "
         "be tested; shown for her2 against the rest"),
        (replace(WHOLE, classes={"her2": HIGH, "other": replace(LOW, leaks=("A patient stands in two parts.",))}),
         "leak", None),
    ],
)  # fmt: skip
def test_each_rule(whole, kind, headline):
    found = judge_whole(whole)
    assert found.kind == kind
    assert headline is None or found.headline == headline
    assert all(sentence.endswith(".") for sentence in found.sentences)
    if kind not in ("unknown", "leak"):
        text = " ".join(found.sentences)
        assert "macro AUROC" in text and "her2 against the rest, AUROC " in text and "30 her2 and 30 other" in text


def _study():
    target = Target(classes={c: [c] for c in CLASSES})
    splits = [Split(name="cv", kind="kfold", folds=3)]
    evaluate = Evaluate(bootstrap=600)
    return SimpleNamespace(runs=[], splits=splits, targets={"subtype": target}, seed=1, evaluate=evaluate)


def _tables(signal: float, seed: int, scanner: str = "", n: int = 96) -> Tables:
    """A cohort as tables; one class, if named, was scanned by a scanner of its own."""
    table, split = predictions(n=n, signal=signal, runs=("net", "other"), seed=seed)
    truth = table[table["y_true"] == 1].drop_duplicates("patient_id").set_index("patient_id")["label"].sort_index()
    ids = list(truth.index)
    labels = pd.DataFrame({"patient_id": ids, "side": "", "target": "subtype", "value": truth.map(CLASSES.index),
                           "label": truth.to_numpy()})  # fmt: skip
    series = pd.DataFrame({"series_id": ids, "Manufacturer": np.where(truth == scanner, "A", "B"),
                           "ManufacturerModelName": "", "MagneticFieldStrength": "", "spacing_k_mm": 2.0,
                           "shape": "10x10x10", "plane": "axial"})  # fmt: skip
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": "", "role:t1": ids,
                           "clinical:age": np.random.default_rng(seed).normal(50, 10, n)})  # fmt: skip
    questions = by_question(table)
    return Tables(cohort, series, one_vs_rest(labels, _study().targets), split, questions, questions[:0],
                  pd.DataFrame())  # fmt: skip


def _judged(tables: Tables, checks=()):
    return verdicts(_study(), tables, shortcut_figures(_study(), tables, ["net", "other"]), checks)


def test_planted_classes_are_found_one_by_one_and_together():
    found = {v.target: v for v in _judged(_tables(2.5, 0))}
    assert list(found) == ["subtype", *(f"subtype:{c}" for c in CLASSES)]
    assert {v.kind for v in found.values()} == {"unproven"}  # there is no mask
    assert found["subtype"].headline.startswith("better than chance")
    assert "subtype: her2" in found["subtype:her2"].sentences[0] + found["subtype:her2"].sentences[1]


def test_in_nothing_nothing_is_found():
    kinds = [v.kind for seed in range(6) for v in _judged(_tables(0.0, seed, n=60)) if v.target == "subtype"]
    assert kinds.count("chance") + kinds.count("worse") >= 5


def test_a_class_with_a_scanner_of_its_own_is_named():
    found = {v.target: v for v in _judged(_tables(2.5, 1, scanner="her2"))}
    assert found["subtype:her2"].kind == "shortcut"
    assert found["subtype:tnbc"].kind != "shortcut"
    carries = found["subtype"].kind == "shortcut"
    assert carries == ("in her2" in found["subtype"].headline)
    leaks = _judged(_tables(2.5, 1), [Check("patients", "found", "A patient stands in two parts.", ({},))])
    assert {v.kind for v in leaks} == {"leak"}


def test_the_whole_target_stands_beside_its_classes_in_the_evaluation():
    table, split = predictions(n=60, runs=("net", "worse"))
    noise = table["run_id"] == "worse"
    table.loc[noise, "prob"] = 0.25
    found = evaluate(by_question(table), split, 200, 1)
    whole = found.metrics[found.metrics["target"] == "subtype"]
    assert list(whole.loc[whole["run_id"] == "net", "metric"]) == list(WHOLE_METRICS)
    assert whole["n_positive"].isna().all() and set(whole["n_rarer_patients"]) == {15}
    assert set(found.metrics["target"]) == {"subtype", *(f"subtype:{c}" for c in CLASSES)}
    macro = whole[whole["metric"] == "auroc_macro"].set_index("run_id")["value"]
    each = found.metrics[(found.metrics["metric"] == "auroc") & (found.metrics["run_id"] == "net")]["value"]
    assert macro["net"] == pytest.approx(each.mean()) and macro["worse"] == 0.5
    (row,) = found.comparisons[found.comparisons["target"] == "subtype"].to_dict("records")
    assert (row["metric"], row["best"], row["run_id"]) == ("auroc_macro", "net", "worse")
    assert row["low"] > 0 and row["p_holm"] < 0.05 and row["difference"] == pytest.approx(macro["net"] - 0.5)
    assert found.confusion.groupby("run_id")["n"].sum().tolist() == [60, 60]
    assert found.results["net"]["cv"]["subtype"]["classes"] == dict.fromkeys(sorted(CLASSES), 15)
    assert found.means.empty  # one target
    cuts = {(t["target"], t["fold"]) for t in found.thresholds}
    assert len(cuts) == len(CLASSES) * 3


def test_a_target_of_several_classes_counts_once_in_the_mean_over_targets():
    subtype, split = predictions(n=60)
    gene = subtype[subtype["label"] == "her2"].assign(target="gene", label="positive")
    found = evaluate(by_question(pd.concat([subtype, gene], ignore_index=True)), split, 100, 1)
    at = found.metrics.set_index(["target", "metric"])["value"]
    for metric, of_whole in (("auroc", "auroc_macro"), ("accuracy", "accuracy"), ("log_loss", "log_loss")):
        (mean,) = found.means.loc[found.means["metric"] == metric, "value"]
        assert mean == pytest.approx((at["gene", metric] + at["subtype", of_whole]) / 2)
    assert set(found.means["target"]) == {MEAN} and set(found.means["n_positive"]) == {15}


def test_figures_of_a_whole_with_a_class_of_few_are_not_shown():
    rows = pd.DataFrame({"target": "subtype", "variant": "original", "metric": WHOLE_METRICS, "n": 40, "n_units": 40,
                         "n_positive": None, "value": 0.8, "low": 0.7, "high": 0.9, "reason": "",
                         "n_rarer_patients": 5})  # fmt: skip
    shown = without_small_classes(rows).set_index("metric")
    assert set(shown.index[shown["value"].isna()]) == OVER_CLASSES
    assert shown.loc["auroc_macro", "reason"] == "the rarest class has 5 patients, and 6 are needed"
