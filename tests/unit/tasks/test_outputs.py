"""Outputs of a network: targets, or their two sides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.core.study import Study
from scan2gene.tasks.outputs import Output, mirrored, names_of, output_values, outputs, patient_classes, target_of


def _study(targets: dict, predict: dict | None = None, **cohort) -> Study:
    rules = {"scans": ["s"], "labels": "l.csv", "roles": {"t1": {"match": {"path": "t1"}}}} | cohort
    runs = [{"name": n, "model": {"name": "light_cnn"}} for n in ("a", "b")]
    return Study.model_validate(
        {"name": "x", "question": "?", "cohort": rules, "targets": targets, "runs": runs, "predict": predict or {}}
    )


SIDED = {"malignant": {"left": "bl", "right": "br"}, "brca": {}}


def test_a_target_with_two_columns_has_two_outputs():
    study = _study(SIDED)
    assert outputs(study) == [Output("malignant", "L"), Output("malignant", "R"), Output("brca")]
    assert names_of(outputs(study)) == ["malignant.L", "malignant.R", "brca"]
    assert [target_of(n) for n in names_of(outputs(study))] == ["malignant", "malignant", "brca"]


def test_rows_per_side_make_every_target_sided_unless_told():
    study = _study({"malignant": {}, "brca": {"per_side": False}}, side_column="side")
    assert names_of(outputs(study)) == ["malignant.L", "malignant.R", "brca"]


def test_mirroring_exchanges_sides_and_pairs_and_twice_is_nothing():
    names = ["m.L", "brca", "m.R", "left", "right"]
    order = mirrored(names, [("left", "right")])
    assert [names[n] for n in order] == ["m.R", "brca", "m.L", "right", "left"]
    assert [order[n] for n in order] == list(range(5))


def test_labels_in_the_order_of_outputs_and_patients():
    labels = pd.DataFrame(
        [("P1", "L", "m", 1.0), ("P1", "R", "m", 0.0), ("P2", "R", "m", 1.0), ("P2", None, "brca", 0.0)],
        columns=["patient_id", "side", "target", "value"],
    )
    values = output_values(labels, ["P2", "P1", "P2", "P3"], [Output("m", "L"), Output("m", "R"), Output("brca")])
    nan = np.nan
    np.testing.assert_array_equal(values, [[nan, 1, 0], [1, 0, nan], [nan, 1, 0], [nan] * 3])
    classes = patient_classes(labels)
    assert classes.loc["P1", "m"] == 1  # any side positive
    assert pd.isna(classes.loc["P1", "brca"])


@pytest.mark.parametrize(
    ("targets", "predict", "message"),
    [
        ({"m.L": {}}, {}, "are those of a target's two sides"),
        ({"m": {"left": "a"}}, {}, "left and right go together"),
        ({"m": {"left": "a", "right": "b", "column": "c"}}, {}, "not both"),
        (SIDED, {"swap_targets": [["brca", "malignant"]]}, "change places by themselves"),
        (SIDED, {"swap_targets": [["brca", "brac"]]}, "Did you mean 'brca'"),
        (SIDED, {"ensembles": {"both": ["a", "c"]}}, "'c' is not known; valid: a, b"),
        (SIDED, {"ensembles": {"both": ["a"]}}, "two different runs"),
        (SIDED, {"ensembles": {"a": ["a", "b"]}}, "is the name of a run"),
        (SIDED, {"ensembles": {"both": {"members": ["a", "c"]}}}, "'c' is not known; valid: a, b"),
        (SIDED, {"ensembles": {"both": {"members": ["a", "b"], "method": "median"}}}, "mean_logit"),
        (SIDED, {"flips": ["i", "i"]}, "names an axis twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(targets, predict, message):
    with pytest.raises(ValueError, match=message):
        _study(targets, predict)
