"""Labels of the two sides of a patient, by columns or by rows."""

from __future__ import annotations

from io import StringIO

import pandas as pd
import pytest
from toy import whole

from scan2gene.cohorts.labels import row_sides, target_labels
from scan2gene.cohorts.split import class_table, make_splits
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_runs import Split


def _read(text: str) -> pd.DataFrame:
    table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    return table.set_index(pd.RangeIndex(2, 2 + len(table)))


def _known(labels: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    return labels.set_index(["patient_id", "side", "target"])["value"].to_dict()


def test_columns_and_rows_of_the_same_findings_give_the_same_labels():
    wide = _read("id,ml,mr,brca\nP1,1,0,1\nP2,NA,1,0\n")
    by_column = target_labels(wide, "id", {"m": Target(left="ml", right="mr"), "brca": Target()}, "w.csv")
    long = _read("id,side,m,brca\nP1,Left breast,1,1\nP1,R,0,1\nP2,right,1,0\nP2,L,NA,0\n")
    rows = {"m": Target(), "brca": Target(per_side=False)}
    by_row = target_labels(long, "id", rows, "l.csv", row_sides(long["side"], "l.csv"))
    assert _known(by_column) == _known(by_row) == {
        ("P1", "L", "m"): 1, ("P1", "R", "m"): 0, ("P2", "R", "m"): 1, ("P1", "", "brca"): 1, ("P2", "", "brca"): 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "side"),
    [("L", "L"), ("left", "L"), ("Right breast", "R"), ("RIGHT", "R"), ("both", "LR"), ("L/R", "LR"),
     ("Bilateral", "LR"), ("", ""), ("unknown", "")],
)  # fmt: skip
def test_sides_as_people_write_them(cell, side):
    assert row_sides(pd.Series([cell], name="side"), "x.csv").tolist() == [side]


def test_a_cell_that_is_no_side_is_refused():
    with pytest.raises(CohortError, match=r"x.csv: 'upper' in 2 rows of column side is no side"):
        row_sides(pd.Series(["L", "upper", "upper"], name="side"), "x.csv")


def test_a_contradiction_names_the_side():
    table = _read("id,side,m\nP1,L,1\nP1,R,0\nP1,both,0\n")
    with pytest.raises(CohortError, match=r"patient P1, side L, has m=1 at l.csv:2 and m=0 at l.csv:4"):
        target_labels(table, "id", {"m": Target()}, "l.csv", row_sides(table["side"], "l.csv"))


def test_curation_joins_sides_and_tells_of_rows_without_one(go):
    text = "patient_id,side,IDH\nP1,L,1\nP1,R,0\nP2,left,0\nP2,,1\n"
    found = go(whole("P1", "P2"), text, side_column="side")
    assert _known(found.labels) == {("P1", "L", "IDH"): 1, ("P1", "R", "IDH"): 0, ("P2", "L", "IDH"): 0}
    left = found.exclusions
    assert left.loc[left["patient_id"] == "P2", "reason"].tolist() == ["label row without a side in column side"]
    with pytest.raises(CohortError, match="side_column 'sides' is not known"):
        go(whole("P1"), text, side_column="sides")
    with pytest.raises(CohortError, match="IDH has 2 positive and 0 negative sides"):
        go(whole("P1"), "patient_id,side,IDH\nP1,L,1\nP1,R,1\n", side_column="side")


def test_splits_are_by_patient_and_counts_by_side():
    patients = [f"P{n:02d}" for n in range(40)]
    cohort = pd.DataFrame({"patient_id": patients, "site": None})
    known = [(n, s) for n in range(40) for s in "LR" if n or s == "L"]
    rows = [(patients[n], s, "m", float(n % 4 == 0 and s == "L"), "") for n, s in known]
    labels = pd.DataFrame(rows, columns=["patient_id", "side", "target", "value", "source"])
    split = make_splits(cohort, labels, [Split(name="cv", kind="kfold", folds=5)], seed=0)
    counts = class_table(split, labels, ["m"])
    assert set(counts["unit"]) == {"side"}
    assert counts.groupby("class")["all"].unique().map(list).to_dict() == {
        "positive": [10], "negative": [69], "unknown": [1],
    }  # fmt: skip
    assert (counts.loc[counts["class"] == "positive", "test"] == 2).all()  # positive patients are spread evenly
