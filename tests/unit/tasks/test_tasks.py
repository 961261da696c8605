"""Several classes: softmax probabilities, and each class against the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from tests.bare_fit import bare_fit
from torch.nn.functional import cross_entropy

from scan2gene.core.study_cohort import Target
from scan2gene.learners.clinical import fit_clinical, linear_logits
from scan2gene.predict.table import prediction_rows
from scan2gene.stats.linear import sigmoid
from scan2gene.tasks.multiclass import one_hot, softmax_log_odds
from scan2gene.tasks.outputs import Output, by_question, mirrored, names_of, one_vs_rest, output_values, target_of
from scan2gene.train.loss import balanced_shares, class_codes, label_weights, loss_groups, masked_loss

SUBTYPE = Output("subtype", task="multiclass", classes=("lum_a", "lum_b", "her2"))
BINARY = Output("gene")
LABELS = pd.DataFrame(
    [("P1", "", "subtype", 2.0), ("P2", "", "subtype", 0.0), ("P2", "", "gene", 1.0)],
    columns=["patient_id", "side", "target", "value"],
)


def test_log_odds_are_those_of_the_softmax():
    logits = np.random.default_rng(0).normal(0, 4, (50, 5))
    np.testing.assert_allclose(sigmoid(softmax_log_odds(logits)), softmax(logits, axis=1), rtol=1e-12)


def test_labels_become_a_column_for_each_class():
    values = output_values(LABELS, ["P1", "P2", "P3"], [BINARY, SUBTYPE])
    nan = np.nan
    np.testing.assert_array_equal(values, [[nan, 0, 0, 1], [1, 1, 0, 0], [nan] * 4])
    table = one_vs_rest(LABELS, {"gene": Target(), "subtype": Target(classes={c: [c] for c in SUBTYPE.classes})})
    wide = table.pivot(index="patient_id", columns="target", values="value")
    assert wide.loc["P1"].to_dict() == pytest.approx(
        {"gene": nan, "subtype:lum_a": 0, "subtype:lum_b": 0, "subtype:her2": 1}, nan_ok=True
    )


def test_names_tell_target_class_and_side():
    sided = [Output("s", side, "multiclass", ("a", "b")) for side in "LR"]
    names = names_of(sided)
    assert names == ["s:a.L", "s:b.L", "s:a.R", "s:b.R"]
    assert [names[n] for n in mirrored(names)] == ["s:a.R", "s:b.R", "s:a.L", "s:b.L"]
    assert {target_of(n) for n in names} == {"s"}
    pair = names_of([Output("x", "", "multiclass", ("a", "b")), Output("y", "", "multiclass", ("a", "b"))])
    assert [pair[n] for n in mirrored(pair, [("x", "y")])] == ["y:a", "y:b", "x:a", "x:b"]


def test_loss_is_the_cross_entropy_over_known_labels():
    torch.manual_seed(0)
    logits, classes = torch.randn(9, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 2])
    targets = torch.from_numpy(one_hot(classes.numpy().astype(float), 3)).float()
    targets[4] = torch.nan
    known = [n for n in range(9) if n != 4]
    groups = loss_groups([SUBTYPE])
    loss = masked_loss(logits, targets, groups=groups)
    torch.testing.assert_close(loss, cross_entropy(logits[known], classes[known]))
    weights = label_weights(targets, True, torch.ones(3), groups).of(targets)
    share = torch.bincount(classes[known]).float()
    torch.testing.assert_close(
        masked_loss(logits, targets, weights, groups),
        cross_entropy(logits[known], classes[known], weight=len(known) / (3 * share)),
    )


def test_two_kinds_of_targets_share_one_loss_by_their_labels():
    logits = torch.randn(4, 4)
    both = torch.tensor([[1.0, 0, 1, 0], [torch.nan, 1, 0, 0], [0, 0, 0, 1], [1, torch.nan, torch.nan, torch.nan]])
    loss = masked_loss(logits, both, groups=loss_groups([BINARY, SUBTYPE]))
    alone = (
        masked_loss(logits[:, :1], both[:, :1]),
        masked_loss(logits[:, 1:], both[:, 1:], groups=loss_groups([SUBTYPE])),
    )
    torch.testing.assert_close(loss, (alone[0] * 3 + alone[1] * 3) / 6)


def test_classes_are_drawn_equally_often():
    targets = torch.from_numpy(one_hot(np.array([0.0] * 10 + [1.0] * 5 + [2.0, np.nan]), 3))
    shares = balanced_shares(class_codes(targets, loss_groups([SUBTYPE])))
    assert [float(shares[a:b].sum()) for a, b in ((0, 10), (10, 15), (15, 16), (16, 17))] == pytest.approx(
        [1 / 3] * 3 + [0]
    )


def test_a_row_for_each_label_whose_probabilities_add_up_to_one():
    cohort = pd.DataFrame({"patient_id": ["P1", "P2", "P3"], "exam_id": ["E1", "E2", "E3"], "site": ""})
    logits = {"E1": np.array([0.3, 2.0, -1.0, 0.5]), "E2": np.array([-2.0, 0.0, 0.0, 3.0])}
    fit = replace(bare_fit(None, outputs=[BINARY, SUBTYPE]), parts=dict.fromkeys(cohort["patient_id"], "test"))
    rows = prediction_rows(fit, cohort, LABELS, logits, {"E3": "too thin"})
    assert len(rows) == 12
    several = rows[rows["target"] == "subtype"]
    assert several.groupby("exam_id")["prob"].sum(min_count=1)[["E1", "E2"]].tolist() == pytest.approx([1, 1])
    assert several[several["exam_id"] == "E1"]["prob"].to_numpy() == pytest.approx(softmax([2.0, -1.0, 0.5]))
    assert several.set_index(["exam_id", "label"])["y_true"][("E1", "her2")] == 1
    assert several[several["exam_id"] == "E3"]["y_true"].isna().all()
    named = by_question(rows)
    assert set(named["target"]) == {"gene", "subtype:lum_a", "subtype:lum_b", "subtype:her2"}


def test_clinical_columns_tell_classes_by_a_multinomial_model():
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 3, 300).astype(float)
    x = np.c_[classes + rng.normal(0, 0.4, 300), rng.normal(0, 1, 300)]
    classes[:20] = np.nan
    model = fit_clinical(x, one_hot(classes, 3), [SUBTYPE], columns=["a", "b"])
    probs = softmax(linear_logits(model, x), axis=1)
    assert (probs.argmax(axis=1)[20:] == classes[20:]).mean() > 0.8
    assert probs[20:].mean(axis=0) == pytest.approx(np.bincount(classes[20:].astype(int)) / 280, abs=0.02)
    two = fit_clinical(x, one_hot(np.where(classes == 1, np.nan, classes), 3), [SUBTYPE], columns=["a", "b"])
    assert softmax(linear_logits(two, x), axis=1)[:, 1].max() < 1e-6  # a class that training lacks
