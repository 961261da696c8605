"""The loss: missing labels, both classes weighed the same, smoothing."""

from __future__ import annotations

import pytest
import torch
from tiny_fits import tiny_fit

from scan2gene.train.loss import balanced_shares, label_weights, masked_loss


def test_missing_labels_carry_no_loss_and_no_gradient():
    logits = torch.tensor([[0.3, -1.2], [2.0, 0.7]], requires_grad=True)
    targets = torch.tensor([[1.0, torch.nan], [0.0, 1.0]])
    loss = masked_loss(logits, targets)
    p = torch.sigmoid(logits.detach())
    wanted = -(torch.log(p[0, 0]) + torch.log(1 - p[1, 0]) + torch.log(p[1, 1])) / 3
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, 1] == 0
    assert (logits.grad != 0).sum() == 3


def test_a_batch_without_labels_gives_zero_not_nan():
    logits = torch.zeros(2, 1, requires_grad=True)
    loss = masked_loss(logits, torch.full((2, 1), torch.nan))
    loss.backward()
    assert loss == 0
    assert torch.equal(logits.grad, torch.zeros(2, 1))


def test_class_weights_make_both_classes_weigh_the_same():
    targets = torch.tensor([[1.0, 1.0], [0.0, torch.nan], [0.0, 0.0], [0.0, 0.0]])
    weights = label_weights(targets, True, torch.tensor([1.0, 2.0]))
    positive, negative = targets == 1, targets == 0
    total = lambda mask, row: (mask * weights.binary[row]).sum(0)  # noqa: E731
    torch.testing.assert_close(total(positive, 1), total(negative, 0))
    torch.testing.assert_close(total(positive, 1) + total(negative, 0), torch.tensor([4.0, 6.0]))


def test_balanced_shares_draw_both_classes_equally_often():
    targets = torch.tensor([[1.0]] * 3 + [[0.0]] * 17 + [[torch.nan]] * 2)
    shares = balanced_shares(targets)
    assert float(shares[:3].sum()) == pytest.approx(0.5)
    assert float(shares[20:].sum()) == 0
    assert torch.allclose(balanced_shares(torch.full((4, 1), torch.nan)), torch.full((4,), 0.25, dtype=torch.float64))


def test_label_smoothing_bounds_confidence(tmp_path):
    plain, smooth = (tiny_fit(tmp_path / str(s), epochs=30, label_smoothing=s) for s in (0.0, 0.4))
    assert smooth["train_loss"].min() > 0.45 > plain["train_loss"].min()  # entropy of 0.2 is 0.50
