"""Inside and outside: a shortcut that fails elsewhere is found, a null shift is none, what cannot be told is said."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from tests import several_classes

from scan2gene.cohorts.split import make_splits
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_runs import Evaluate, Split
from scan2gene.core.tables import EXTERNAL
from scan2gene.evaluate import external
from scan2gene.evaluate.audit import Tables, outside, shortcut_figures
from scan2gene.evaluate.domain_shift import shifts
from scan2gene.evaluate.ensemble import external_ensembles
from scan2gene.evaluate.evaluate import check_complete, evaluate
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.tasks.outputs import by_question

SPLIT = Split(name="cv", kind="kfold", folds=3, external=["C"])


def _cohort(seed: int, prevalence: dict[str, float], grey: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """cohort.csv and labels.csv of three sites with their own prevalence and grey level."""
    rng = np.random.default_rng(seed)
    site = np.repeat(["A", "B", "C"], 50)
    y = np.concatenate([rng.permutation(np.arange(50) < round(50 * prevalence[s])) for s in "ABC"]).astype(float)
    ids = [f"P{n:03d}" for n in range(150)]
    cohort = pd.DataFrame({"patient_id": ids, "exam_id": ids, "site": site, "role:t1": ids,
                           "clinical:age": rng.normal(50, 10, 150),
                           "grey": [grey[s] for s in site] + rng.normal(0, 0.3, 150)})  # fmt: skip
    labels = pd.DataFrame({"patient_id": ids, "side": "", "target": "gene", "value": y})
    return cohort, labels


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    monkeypatch.setattr("scan2gene.evaluate.audit.PERMUTATIONS", 99)


def _judged(score, seed: int = 1, prevalence=None, grey=None, whole: bool = True):
    """What is found outside, the verdict and the tables, of one run whose logits are `score(rng, y, grey)`."""
    split = SPLIT
    prevalence = prevalence or dict.fromkeys("ABC", 0.5)
    cohort, labels = _cohort(seed, prevalence, grey or dict.fromkeys("ABC", 0.0))
    parts = make_splits(cohort, labels, [split], 1)
    y = labels["value"].to_numpy()
    logit = score(np.random.default_rng(seed), y, cohort["grey"].to_numpy())
    known = cohort.assign(y_true=y, logit=logit).set_index("patient_id")
    rows = parts.join(known[["site", "exam_id", "y_true", "logit"]], on="patient_id")
    rows = rows.assign(run_id="net", variant="original", side="", unit="exam", unit_id=rows["exam_id"], target="gene",
                       label="positive", prob=norm.cdf(rows["logit"]), status="ok", reason="")  # fmt: skip
    features = rows[["run_id", "split", "repeat", "fold", "part", "patient_id", "exam_id"]].assign(
        embedding=[np.array([g, abs(g - 1), v]) for g, v in known.loc[rows["patient_id"], ["grey", "logit"]].to_numpy()]
    )
    predictions = pd.concat([rows, external_ensembles(rows)], ignore_index=True)
    series = pd.DataFrame({"series_id": cohort["exam_id"], "Manufacturer": cohort["site"]})
    settings = Evaluate(bootstrap=200)
    study = SimpleNamespace(splits=[split], targets={"gene": Target()}, seed=1, evaluate=settings, runs=[])
    found = evaluate(predictions, parts, 100, 1)
    tables = Tables(cohort, series, labels, parts, predictions, rows[:0], features, None, found.thresholds,
                    cohort.set_index("patient_id")[["grey"]])  # fmt: skip
    figures = shortcut_figures(study, tables, ["net"]) if whole else []
    beyond = outside(study, tables, figures)
    return beyond, verdicts(study, tables, figures, [], beyond)[0] if whole else None, tables


def _biology(rng, y, grey):
    return 1.2 * y - 0.6 + rng.normal(0, 1, len(y))


def _shortcut(rng, y, grey):
    return grey - 1 + rng.normal(0, 0.3, len(y))


def test_external_patients_are_in_no_other_part_and_every_network_predicts_them():
    _, _, tables = _judged(_biology, whole=False)
    split, own = tables.split, tables.predictions
    far = set(tables.cohort.loc[tables.cohort["site"] == "C", "patient_id"])
    assert set(split.loc[split["part"] == EXTERNAL, "patient_id"]) == far
    assert not far & set(split.loc[split["part"] != EXTERNAL, "patient_id"])
    outside_ = own[own["part"] == EXTERNAL]
    assert (outside_[outside_["variant"] == "original"].groupby("patient_id").size() == 3).all()
    joint = outside_[outside_["variant"] == "ensemble"].set_index("patient_id")
    mean = outside_[outside_["variant"] == "original"].groupby("patient_id")["logit"].mean()
    np.testing.assert_allclose(joint["logit"], mean[joint.index])
    check_complete(own, split)
    # development is divided as if the external patients did not exist
    inside = tables.cohort[tables.cohort["site"] != "C"]
    alone = make_splits(inside, tables.labels[tables.labels["patient_id"].isin(inside["patient_id"])],
                        [SPLIT.model_copy(update={"external": []})], 1)  # fmt: skip
    pd.testing.assert_frame_equal(split[split["part"] != EXTERNAL].reset_index(drop=True), alone)


def test_a_shortcut_that_fails_outside_is_said_in_the_headline():
    """Grey values tell the site, and the site tells the label inside; outside they tell nothing."""
    (moved, shifted), verdict, _ = _judged(
        _shortcut, prevalence={"A": 0.1, "B": 0.9, "C": 0.5}, grey={"A": 0.0, "B": 2.0, "C": 1.0}
    )
    (found,) = moved
    assert found.inside.low > 0.7
    assert found.outside.low < 0.5 < found.outside.high
    assert 0 < found.drop.low < found.drop.value == pytest.approx(found.inside.value - found.single.value)
    assert found.n == (100, 50)
    assert found.positive == (50, 25)
    assert found.networks == 3
    assert found.domain.low > 0.5
    assert found.site.value > 0.9
    assert "not shown to hold at the external site C" in verdict.headline
    said = " ".join(verdict.sentences)
    assert "it is not shown to be above chance" in said
    assert "lose" in said
    assert "nan" not in said.lower()
    together = {s.kind: s.estimate for s in shifted if s.measure == "told apart"}
    assert together["clinical"].low < 0.5 < together["clinical"].high
    new = next(s for s in shifted if s.what == "t1 Manufacturer")
    assert new.estimate.value == 1.0


def test_a_null_shift_is_no_drop_and_differs_in_nothing():
    (moved, shifted), verdict, _ = _judged(_biology, 4)
    assert moved[0].drop.low <= 0 <= moved[0].drop.high
    assert moved[0].holds
    assert "a drop from the" in " ".join(verdict.sentences)
    assert "external" not in verdict.headline
    kinds = {s.kind for s in shifted if s.differs}
    assert "scan" in kinds  # each site has its manufacturer
    assert not kinds & {"label", "clinical"}


def test_a_word_of_few_patients_is_counted_and_not_named():
    cohort, labels = _cohort(1, dict.fromkeys("ABC", 0.5), dict.fromkeys("ABC", 0.0))
    cohort["date"] = [str(20150101 + n // 5) for n in range(150)]
    words = np.where(np.arange(150) < 146, "Large", np.arange(150).astype(str))
    series = pd.DataFrame({"series_id": cohort["exam_id"], "Manufacturer": words})
    study = SimpleNamespace(splits=[SPLIT], targets={"gene": Target()}, seed=1, evaluate=Evaluate(bootstrap=100))
    found = {s.what: s for s in shifts(study, cohort, series, labels, make_splits(cohort, labels, [SPLIT], 1))}
    assert found["t1 Manufacturer"].outside == "Large 46, others 4"
    assert found["t1 Manufacturer"].estimate.value == pytest.approx(4 / 50)
    assert found["date"].inside == found["date"].outside == ""
    assert found["date"].estimate.value == 1.0


def test_two_sides_of_a_patient_are_not_two_patients():
    """Prevalences of sides that always agree are known as well as those of patients, not better."""
    prevalence = {"A": 0.3, "B": 0.3, "C": 0.5}
    cohort, labels = _cohort(1, prevalence, dict.fromkeys("ABC", 0.0))
    study = SimpleNamespace(splits=[SPLIT], targets={"gene": Target()}, seed=1, evaluate=Evaluate(bootstrap=100))
    series = pd.DataFrame({"series_id": cohort["exam_id"]})
    parts = make_splits(cohort, labels, [SPLIT], 1)
    both = pd.concat([labels.assign(side=side) for side in "LR"])
    one, two = (next(s for s in shifts(study, cohort, series, t, parts) if s.kind == "label") for t in (labels, both))
    assert (two.outside, two.n) == ("50 of 100 sides positive (50 %)", (100, 50))
    assert (two.estimate.low, two.estimate.high) == pytest.approx((one.estimate.low, one.estimate.high), abs=0.004)
    rng = np.random.default_rng(0)
    loose = both.assign(value=rng.permutation(both["value"].to_numpy()))  # sides know nothing of each other
    (found,) = [s for s in shifts(study, cohort, series, loose, parts) if s.kind == "label"]
    wide, narrow = (e.high - e.low for e in (one.estimate, found.estimate))
    assert 0.6 < narrow / wide < 0.85


def test_what_a_site_prevalence_gives_inside_is_told_beside_the_drop_at_sites_left_out():
    """The same scores in both splits: nothing is lost at unseen sites, yet pairs across sites flatter the first."""
    cohort, labels = _cohort(3, {"A": 0.1, "B": 0.9, "C": 0.5}, {"A": -2.0, "B": 2.0, "C": 0.0})
    splits = [SPLIT.model_copy(update={"external": []}), Split(name="sites", kind="leave_one_site_out")]
    known = cohort.assign(y_true=labels["value"], prob=norm.cdf(cohort["grey"] + 0.2 * labels["value"]))
    rows = make_splits(cohort, labels, splits, 1).join(
        known.set_index("patient_id")[["site", "exam_id", "y_true", "prob"]], on="patient_id")  # fmt: skip
    rows = rows.assign(run_id="net", variant="original", side="", target="gene", status="ok", reason="")
    study = SimpleNamespace(splits=splits, targets={"gene": Target()}, seed=1, evaluate=Evaluate(bootstrap=200))
    (found,) = external.transfers(study, rows, pd.DataFrame(), [])
    assert found.drop.value > 0.05
    tested = rows[(rows["split"] == "cv") & (rows["part"] == "test")]
    cells = [g for _, g in tested.groupby(["fold", "site"]) if g["y_true"].nunique() == 2]
    pairs = [g["y_true"].sum() * (1 - g["y_true"]).sum() for g in cells]
    value = np.average([roc_auc_score(g["y_true"], g["prob"]) for g in cells], weights=pairs)
    assert found.within.value == pytest.approx(value)
    assert f"inside, pairs of patients of one site, as at a left-out site, have {value:.3f}" in found.row()["told"]


def test_a_target_without_a_label_inside_has_a_verdict_that_says_so():
    _, _, tables = _judged(_biology, whole=False)
    predictions = tables.predictions.assign(
        y_true=tables.predictions["y_true"].where(tables.predictions["part"] == EXTERNAL))  # fmt: skip
    tables = replace(tables, predictions=predictions, labels=tables.labels[tables.labels["patient_id"] >= "P100"])
    study = SimpleNamespace(
        splits=[SPLIT], targets={"gene": Target()}, seed=1, evaluate=Evaluate(bootstrap=100), runs=[]
    )
    figures = shortcut_figures(study, tables, ["net"])
    (verdict,) = verdicts(study, tables, figures, [], outside(study, tables, figures))
    assert (verdict.kind, verdict.run) == ("unknown", "net")
    assert verdict.sentences == (
        "gene cannot be estimated, because no tested patient has both a label and a prediction.",)  # fmt: skip


@pytest.mark.parametrize(
    ("prevalence", "why"),
    [
        ({"A": 0.5, "B": 0.5, "C": 1.0}, "50 positive among 50"),
        ({"A": 0.0, "B": 0.0, "C": 0.5}, "0 positive among 100"),
    ],
)
def test_one_class_on_a_side_cannot_be_estimated(prevalence, why):
    (moved, _), verdict, _ = _judged(_biology, prevalence=prevalence)
    assert moved[0].drop.value is None
    assert why in moved[0].drop.reason
    assert "None" not in " ".join(verdict.sentences)
    assert "cannot be estimated, because" in moved[0].row()["told"] or moved[0].outside.value is None


def test_what_cannot_be_kept_apart_is_refused():
    cohort, labels = _cohort(1, dict.fromkeys("ABC", 0.5), dict.fromkeys("ABC", 0.0))
    both = pd.concat([cohort, cohort[:1].assign(exam_id="E2", site="C")])
    for table, sites, why in (
        (both, ["C"], "1 patients have exams at an external site"),
        (cohort, ["D"], "'D' is not known; valid: A, B, C"),
        (cohort, ["A", "B", "C"], "nobody is left"),
        (cohort.assign(site=None), ["C"], "needs the site of every patient"),
    ):
        with pytest.raises(CohortError, match=why):
            make_splits(table, labels, [replace_split(sites)], 1)


def replace_split(external: list[str]) -> Split:
    return SPLIT.model_copy(update={"external": external})


def test_a_target_of_several_classes_is_held_against_its_external_patients_as_a_whole_and_class_by_class():
    rows, _ = several_classes.predictions(n=120, signal=2)
    rows = rows[rows["patient_id"] < "P080"]
    far, _ = several_classes.predictions(n=60, signal=0, seed=5)
    far = far.assign(patient_id="X" + far["patient_id"], exam_id="X" + far["exam_id"], part=EXTERNAL, site="C")
    table = pd.concat([rows, far], ignore_index=True)
    table = pd.concat([table, external_ensembles(table)], ignore_index=True)
    settings = {"subtype": Target(classes={c: [c] for c in several_classes.CLASSES})}
    study = SimpleNamespace(splits=[SPLIT], targets=settings, seed=1, evaluate=Evaluate(bootstrap=200), runs=[])
    moved = {t.target: t for t in external.transfers(study, by_question(table), pd.DataFrame(), [])}
    assert list(moved) == ["subtype", *(f"subtype:{c}" for c in several_classes.CLASSES)]
    whole = moved.pop("subtype")
    assert whole.inside.value == pytest.approx(np.mean([t.inside.value for t in moved.values()]))
    assert whole.outside.value == pytest.approx(np.mean([t.outside.value for t in moved.values()]))
    assert whole.lost and not whole.holds and whole.positive is None and whole.n == (80, 60)
    assert "macro AUROC" in external.told(whole) and whole.row()["positive_outside"] is None
    assert external.told(moved["subtype:her2"]).startswith("At the external site C")
