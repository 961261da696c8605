"""Splits are by patient, stratified, reproducible, and blind to the order of rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.cohorts.split import class_table, make_splits, stratified_parts
from scan2gene.core.errors import CohortError
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import PARTS, SPLIT_COLUMNS

KINDS = [
    Split(name="cv", kind="kfold", folds=4, repeats=2),
    Split(name="hold", kind="holdout", test_fraction=0.25, repeats=3),
    Split(name="sites", kind="leave_one_site_out"),
]


@st.composite
def cohorts(draw, targets=("IDH", "TP53")):
    """A cohort with one to three exams per patient, two or three sites, labels partly unknown."""
    n = draw(st.integers(16, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sites = ["A", "B", *rng.choice(["A", "B", "C"], n - 2)]
    patients = [f"P{k:03d}" for k in range(n)]
    cohort = pd.DataFrame({"patient_id": patients, "site": sites})
    cohort = cohort.loc[np.repeat(np.arange(n), rng.integers(1, 4, n))].reset_index(drop=True)
    rows = []
    for target in targets:
        prevalence, known = rng.uniform(0.05, 0.6), rng.uniform(0.5, 1)
        for patient in patients:
            if rng.random() < known:
                rows.append((patient, "", target, float(rng.random() < prevalence), "t"))
    return cohort, pd.DataFrame(rows, columns=["patient_id", "side", "target", "value", "source"])


@given(cohorts(), st.integers(0, 10**6))
def test_each_patient_has_exactly_one_part_in_every_split_repeat_and_fold(made, seed):
    cohort, labels = made
    table = make_splits(cohort, labels, KINDS, seed)
    assert tuple(table.columns) == SPLIT_COLUMNS
    assert set(table["part"]) == set(PARTS)
    everyone = sorted(cohort["patient_id"].unique())
    for _, fold in table.groupby(["split", "repeat", "fold"]):
        assert sorted(fold["patient_id"]) == everyone
        assert set(fold["part"]) == set(PARTS)
    counted = table.groupby(["split", "repeat"])["fold"].nunique().to_dict()
    sites = cohort["site"].nunique()
    assert counted == {("cv", 0): 4, ("cv", 1): 4, **{("hold", r): 1 for r in range(3)}, ("sites", 0): sites}


@given(cohorts(), st.integers(0, 10**6))
def test_every_patient_is_tested_once_per_repeat_of_a_kfold(made, seed):
    cohort, labels = made
    table = make_splits(cohort, labels, KINDS, seed)
    tested = table[(table["split"] != "hold") & (table["part"] == "test")]
    assert (tested.groupby(["split", "repeat", "patient_id"]).size() == 1).all()
    assert len(tested) == 3 * cohort["patient_id"].nunique()


@given(cohorts(), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(made, seed, random):
    cohort, labels = made
    order = list(range(len(cohort)))
    random.shuffle(order)
    expected = make_splits(cohort, labels, KINDS, seed)
    shuffled = make_splits(cohort.iloc[order], labels.iloc[::-1], KINDS, seed)
    pd.testing.assert_frame_equal(expected, shuffled)


@given(cohorts(targets=("IDH",)), st.integers(0, 10**6))
def test_one_target_is_spread_within_one_patient_of_proportional(made, seed):
    cohort, labels = made
    table = make_splits(cohort, labels, KINDS[:2], seed)
    known = table.merge(labels, on="patient_id", how="left")
    shares = {"cv": 1 / 4, "hold": 1 / 4}
    for keys, fold in known.groupby(["split", "repeat", "fold"]):
        share = shares[keys[0]]
        rest = fold[fold["part"] != "test"]
        for is_class in (lambda v: v == 1, lambda v: v == 0, lambda v: v.isna()):
            n = is_class(fold["value"]).sum()
            tested = (is_class(fold["value"]) & (fold["part"] == "test")).sum()
            assert abs(tested - share * n) < 1
            validated = (is_class(rest["value"]) & (rest["part"] == "validation")).sum()
            assert abs(validated - 0.2 * is_class(rest["value"]).sum()) < 1


def toy(n=40):
    cohort = pd.DataFrame({"patient_id": [f"P{k:02d}" for k in range(n)], "site": ["A", "B"] * (n // 2)})
    labels = pd.DataFrame({"patient_id": cohort["patient_id"], "target": "IDH", "value": [1.0, 0, 0, 0, 0] * (n // 5)})
    return cohort, labels


def held_out(table, name="cv", repeat=0, fold=0):
    at = (table["split"] == name) & (table["repeat"] == repeat) & (table["fold"] == fold) & (table["part"] == "test")
    return frozenset(table[at]["patient_id"])


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    cohort, labels = toy()
    first, again, other = (make_splits(cohort, labels, KINDS, seed) for seed in (7, 7, 8))
    pd.testing.assert_frame_equal(first, again)
    assert held_out(first) != held_out(other)
    assert held_out(first, "hold") != held_out(other, "hold")


def test_repeats_and_validation_parts_differ():
    cohort, labels = toy()
    table = make_splits(cohort, labels, KINDS, 7)
    assert held_out(table, "cv", 0) != held_out(table, "cv", 1)
    assert len({held_out(table, "hold", r) for r in range(3)}) == 3
    validation = (
        table[table["part"] == "validation"].groupby(["split", "repeat", "fold"])["patient_id"].apply(frozenset)
    )
    assert validation.nunique() == len(validation)


def test_a_split_added_later_leaves_the_first_as_it_was():
    cohort, labels = toy()
    alone = make_splits(cohort, labels, KINDS[:1], 7)
    among = make_splits(cohort, labels, KINDS, 7)
    pd.testing.assert_frame_equal(among[among["split"] == "cv"].reset_index(drop=True), alone)


def test_leaving_a_site_out_tests_exactly_that_site():
    cohort, labels = toy()
    table = make_splits(cohort, labels, [KINDS[2]], 0)
    for fold, site in enumerate("AB"):
        assert held_out(table, "sites", 0, fold) == frozenset(cohort.loc[cohort["site"] == site, "patient_id"])


def test_a_rare_class_reaches_every_fold_when_it_can():
    cohort, labels = toy(60)
    labels["value"] = [1.0] * 5 + [0.0] * 55
    table = make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=5)], 3)
    positive = set(labels.loc[labels["value"] == 1, "patient_id"])
    assert [len(positive & held_out(table, fold=k)) for k in range(5)] == [1] * 5


def test_patients_without_any_label_are_spread_too():
    cohort, labels = toy()
    table = make_splits(cohort, labels.iloc[:20], [Split(name="cv", kind="kfold", folds=5)], 3)
    silent = set(cohort["patient_id"]) - set(labels["patient_id"].iloc[:20])
    assert [len(silent & held_out(table, fold=k)) for k in range(5)] == [4] * 5


@given(st.integers(20, 80), st.floats(0.05, 0.5), st.integers(2, 6), st.integers(0, 10**6))
def test_folds_of_one_target_are_of_one_size(n, prevalence, folds, seed):
    values = (np.arange(n) < round(n * prevalence)).astype(float)[:, None]
    sizes = np.bincount(stratified_parts(values, [1 / folds] * folds, seed), minlength=folds)
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(0, 10**6), st.integers(12, 60), st.integers(2, 6))
def test_many_targets_leave_no_fold_empty(seed, n, targets):
    rng = np.random.default_rng(seed)
    values = (rng.random((n, targets)) < rng.uniform(0.05, 0.5, targets)).astype(float)
    parts = stratified_parts(values, [1 / 5] * 5, seed)
    assert set(parts) == set(range(5))


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (Split(name="cv", kind="kfold", folds=6), "10 patients are too few for 6 folds; at least 12"),
        (
            Split(name="h", kind="holdout", test_fraction=0.1),
            "10 patients are too few for test_fraction 0.1; at least 20",
        ),
    ],
)
def test_too_few_patients_are_refused(split, words):  # a holdout has no folds
    cohort, labels = toy(10)
    with pytest.raises(CohortError, match=words):
        make_splits(cohort, labels, [split], 0)


def test_one_fold_is_no_way_out():
    cohort, labels = toy(10)
    cohort = cohort.iloc[:3]
    with pytest.raises(CohortError) as caught:
        make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=2)], 0)
    assert "at most" not in str(caught.value)


@pytest.mark.parametrize("n", [4, 6, 10])
def test_no_fold_of_a_few_patients_lacks_training_or_validation(n):
    cohort = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "site": "A"})
    labels = pd.DataFrame(
        {"patient_id": cohort["patient_id"], "side": "", "target": "IDH", "value": [0.0, 1.0] * (n // 2)}
    )
    for fraction in (0.05, 0.2):
        made = make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=2, validation_fraction=fraction)], 0)
        assert (made.groupby("fold")["part"].nunique() == 3).all()


def test_leaving_sites_out_needs_a_site_of_everyone_and_two_of_them():
    cohort, labels = toy()
    with pytest.raises(CohortError, match="two sites"):
        make_splits(cohort.assign(site="A"), labels, [KINDS[2]], 0)
    cohort.loc[3, "site"] = None
    with pytest.raises(CohortError, match="none for P03"):
        make_splits(cohort, labels, [KINDS[2]], 0)


def test_the_class_table_counts_every_patient_once_in_every_fold():
    cohort = pd.DataFrame({"patient_id": [f"P{n}" for n in range(30)], "site": None})
    values = {"a": [1, 0, None] * 10, "b": [0] * 25 + [1] * 5}
    rows = [(p, "", t, v, "") for t, vs in values.items() for p, v in zip(cohort["patient_id"], vs, strict=True)]
    labels = pd.DataFrame(rows, columns=["patient_id", "side", "target", "value", "source"]).dropna(subset=["value"])
    split = make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=3, repeats=2)], seed=1)
    table = class_table(split, labels, ["a", "b"])
    assert len(table) == 2 * 3 * 2 * 3
    assert (table["train"] + table["validation"] + table["test"] == table["all"]).all()
    assert table.groupby(["target", "class"])["all"].unique().map(list).to_dict() == {
        ("a", "negative"): [10], ("a", "positive"): [10], ("a", "unknown"): [10],
        ("b", "negative"): [25], ("b", "positive"): [5], ("b", "unknown"): [0],
    }  # fmt: skip
    tested = table.groupby(["repeat", "target", "class"])["test"].sum()  # once in the folds of a repeat
    assert tested[0, "a", "positive"] == tested[1, "a", "positive"] == 10
    first = split[(split["repeat"] == 0) & (split["fold"] == 0) & (split["part"] == "test")]["patient_id"]
    known = labels[labels["patient_id"].isin(first) & (labels["target"] == "b") & (labels["value"] == 1)]
    row = table[
        (table["repeat"] == 0) & (table["fold"] == 0) & (table["target"] == "b") & (table["class"] == "positive")
    ]
    assert row["test"].item() == len(known)
