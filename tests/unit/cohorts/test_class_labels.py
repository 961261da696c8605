"""Targets of several classes and numbers cut in two: what cells mean, and how patients are divided and counted."""

from __future__ import annotations

from io import StringIO

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from toy import whole

from scan2gene.cohorts.labels import row_sides, target_labels
from scan2gene.cohorts.split import class_table, make_splits, one_class_parts
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_runs import Split
from scan2gene.core.tables import LABEL_COLUMNS
from scan2gene.evaluate.power_tables import power_table
from scan2gene.plan.choices import _splits
from scan2gene.tasks.outputs import one_vs_rest, question_names

SUBTYPE = Target.model_validate(
    {"classes": {"luminal": ["Luminal A", "Luminal B", "lum*"], "her2": "HER2", "tn": ["TNBC", 3]}}
)


def read(text: str) -> pd.DataFrame:
    table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False, sep=";")
    return table.set_index(pd.RangeIndex(2, 2 + len(table)))


def meant(cells: list[str], target: Target, **options) -> list[tuple[float, str] | None]:
    """Value and label of one patient per cell."""
    table = read("id;x\n" + "".join(f"P{n};{cell}\n" for n, cell in enumerate(cells)))
    found = target_labels(table, "id", {"x": target}, "t.csv", **options).set_index("patient_id")
    known = {p: (value, label) for p, value, label in zip(found.index, found["value"], found["label"], strict=True)}
    return [known.get(f"P{n}") for n in range(len(cells))]


# -- what cells mean -------------------------------------------------------------------------


def test_cells_of_classes_are_read_as_those_of_two_classes_are():
    cells = ["luminal a", " LUMINAL B ", "Lum-like", "her2", "3.0", "tnbc", "", "NA", "NOS"]
    assert meant(cells, SUBTYPE) == [
        (0, "luminal"), (0, "luminal"), (0, "luminal"), (1, "her2"), (2, "tn"), (2, "tn"), None, None, None,
    ]  # fmt: skip
    assert meant(["mutated", "0"], Target()) == [(1, "positive"), (0, "negative")]


def test_a_cell_of_no_class_is_named_with_the_classes():
    with pytest.raises(CohortError) as caught:
        meant(["HER2", "basal", "basal", "claudin low"], SUBTYPE)
    assert str(caught.value) == (
        "t.csv, target x: 'basal' in 2 rows and 'claudin low' in 1 row of column x is in no class of "
        "luminal, her2 and tn. Name it in targets.x.classes or .unknown."
    )


def test_a_cell_of_two_classes_is_refused():
    with pytest.raises(CohortError, match=r"targets.x: 'b' is listed as one and as two"):
        meant(["b"], Target.model_validate({"classes": {"one": ["a", "b"], "two": ["B"], "three": ["c"]}}))


def test_contradicting_rows_name_the_classes():
    table = read("id;x\nP1;HER2\nP1;TNBC\nP2;HER2\nP2;her2\nP2;NA\n")
    with pytest.raises(CohortError, match=r"patient P1 has x=her2 at t.csv:2 and x=tn at t.csv:3"):
        target_labels(table, "id", {"x": SUBTYPE}, "t.csv")
    assert target_labels(table.iloc[2:], "id", {"x": SUBTYPE}, "t.csv")["label"].tolist() == ["her2"]


def test_each_side_has_its_class_by_columns_and_by_rows():
    wide = read("id;xl;xr\nP1;HER2;TNBC\nP2;;3\n")
    two = SUBTYPE.model_copy(update={"left": "xl", "right": "xr"})
    by_column = target_labels(wide, "id", {"x": two}, "w.csv")
    long = read("id;side;x\nP1;L;HER2\nP1;right;TNBC\nP2;R;3\n")
    by_row = target_labels(long, "id", {"x": SUBTYPE}, "l.csv", row_sides(long["side"], "l.csv"))
    assert tuple(by_row.columns) == LABEL_COLUMNS
    for labels in (by_column, by_row):
        known = labels.set_index(["patient_id", "side"])["label"].to_dict()
        assert known == {("P1", "L"): "her2", ("P1", "R"): "tn", ("P2", "R"): "tn"}


@pytest.mark.parametrize(
    ("classes", "words"),
    [({"a": ["x"]}, "two classes at least"), ({"positive": ["x"], "b": ["y"]}, "called 'positive'"),
     ({"a.L": ["x"], "b": ["y"]}, "those of sides"), ({"a": [], "b": ["y"]}, "has no cells"),
     ({True: ["x"], "b": ["y"]}, "valid string")],
)  # fmt: skip
def test_classes_that_no_table_could_show_are_refused(classes, words):
    with pytest.raises(ValidationError, match=words):
        Target.model_validate({"classes": classes})


def test_yaml_may_name_classes_by_numbers():
    assert list(Target.model_validate({"classes": {0: [0], 1: 1, 2: ["2"]}}).classes) == ["0", "1", "2"]


# -- numbers cut in two ------------------------------------------------------------------------


def test_numbers_above_the_limit_are_positive_and_the_limit_itself_is_not():
    cells = ["12.5", "12.51", "-3", "1e3", "", "unknown", "n.d."]
    found = meant(cells, Target(above=12.5, unknown=["n.d."]))
    no, yes = (0, "negative"), (1, "positive")
    assert found == [no, yes, no, yes, None, None, None]
    assert meant(["0", "0.1", "-1"], Target(above=0)) == [no, yes, no]


def test_the_decimal_mark_is_that_of_the_column_or_of_the_study():
    assert [v[0] for v in meant(["12,4", "12,6", "1.200,5"], Target(above=12.5))] == [0, 1, 1]
    with pytest.raises(CohortError, match=r"t.csv, target x, column x: '1,200' can be read in two ways"):
        meant(["1,200", "300"], Target(above=12.5))
    assert [v[0] for v in meant(["1,200", "300"], Target(above=12.5), decimal=",")] == [0, 1]


def test_a_unit_or_a_bound_is_no_number():
    with pytest.raises(CohortError) as caught:
        meant(["12.5 cm3", "12.5 cm3", "<5", "7"], Target(above=12.5))
    assert str(caught.value) == (
        "t.csv, target x: '12.5 cm3' in 2 rows and '<5' in 1 row of column x is no number. Correct it, or name it in "
        "targets.x.unknown where it means 'not known'."
    )


@pytest.mark.parametrize("other", [{"positive": ["9"]}, {"classes": {"a": ["1"], "b": ["2"]}}])
def test_a_limit_stands_alone(other):
    with pytest.raises(ValidationError, match="takes the place of"):
        Target.model_validate({"above": 2.0} | other)


# -- curation ----------------------------------------------------------------------------------


def test_a_class_without_patients_is_refused_with_what_the_others_have(go):
    target = {"IDH": {"classes": {"low": ["0"], "high": ["1"], "middle": ["2"]}}}
    with pytest.raises(CohortError, match=r"IDH has no patients in middle, and 2 in low and 2 in high. Check targets"):
        go(whole("P1", "P2", "P3", "P4"), targets=target)
    with pytest.raises(CohortError, match=r"age has 0 positive and 3 negative patients.*Check targets.age.above 99,"):
        go(whole("P1", "P2", "P4"), targets={"age": {"above": 99}})


# -- splits and counts ---------------------------------------------------------------------------


def made_up(sizes: dict[str, int], unknown: int = 0) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Target]]:
    """Cohort, labels.csv and targets of one target `kind`."""
    names = [name for name, n in sizes.items() for _ in range(n)]
    patients = [f"P{n:03d}" for n in range(len(names) + unknown)]
    order = np.random.default_rng(len(names)).permutation(len(patients))
    rows = [(patients[order[n]], "", "kind", list(sizes).index(c), c, "t") for n, c in enumerate(names)]
    cohort = pd.DataFrame({"patient_id": patients, "site": None})
    target = Target.model_validate({"classes": {name: [name] for name in sizes}})
    return cohort, pd.DataFrame(rows, columns=list(LABEL_COLUMNS)), {"kind": target}


@given(st.lists(st.integers(2, 40), min_size=3, max_size=6), st.integers(0, 12), st.integers(0, 10**6))
def test_every_class_is_spread_within_one_patient_of_proportional(sizes, unknown, seed):
    cohort, labels, targets = made_up({f"c{n}": size for n, size in enumerate(sizes)}, unknown)
    if len(cohort) < 8:
        return
    splits = [Split(name="cv", kind="kfold", folds=4), Split(name="hold", kind="holdout", test_fraction=0.25)]
    table = make_splits(cohort, one_vs_rest(labels, targets), splits, seed)
    counts = class_table(table, labels, ["kind"], {"kind": list(targets["kind"].classes)})
    assert set(counts["class"]) == {*targets["kind"].classes, "unknown"}
    assert (counts["train"] + counts["validation"] + counts["test"] == counts["all"]).all()
    assert ((counts["test"] - 0.25 * counts["all"]).abs() < 1).all()


def test_rows_name_each_class_and_power_weighs_each_against_the_others():
    cohort, labels, targets = made_up({"lum": 40, "her2": 20, "tn": 12}, unknown=4)
    table = make_splits(cohort, one_vs_rest(labels, targets), [Split(name="cv", kind="kfold", folds=4)], 3)
    counts = class_table(table, labels, ["kind"], {"kind": ["lum", "her2", "tn"]})
    assert counts.drop_duplicates("class").set_index("class")["all"].to_dict() == {
        "lum": 40, "her2": 20, "tn": 12, "unknown": 4,
    }  # fmt: skip
    questions = question_names(targets)
    power = power_table(class_table(table, one_vs_rest(labels, targets), questions), questions).set_index("target")
    assert power[["positive", "negative"]].to_numpy().tolist() == [[40, 32], [20, 52], [12, 60]]
    assert list(power.index) == ["kind:lum", "kind:her2", "kind:tn"]
    assert power["detectable_auroc"].idxmax() == "kind:tn"  # the fewest can tell least


def test_parts_that_lack_a_class_are_told_by_its_name():
    cohort, labels, targets = made_up({"lum": 20, "her2": 20, "rare": 2})
    table = make_splits(cohort, one_vs_rest(labels, targets), [Split(name="cv", kind="kfold", folds=4)], 3)
    told = one_class_parts(class_table(table, labels, ["kind"], {"kind": list(targets["kind"].classes)}))["cv"]
    assert told.startswith("kind lacks rare: ") and "test in 2" in told and told.endswith("of 4")
    assert "her2" not in told


def test_folds_are_as_many_as_the_rarest_class_allows_and_it_is_named():
    for sizes, folds, words in (((20, 30, 10), 5, "c2 of kind, has 10"), ((20, 6, 30), 3, "c1 of kind, has 6"),
                                ((2, 30, 40), 2, "c0 of kind, has 2")):  # fmt: skip
        _, labels, _ = made_up({f"c{n}": size for n, size in enumerate(sizes)})
        (split,), why = _splits(labels)
        assert (split["folds"], words in why) == (folds, True)
