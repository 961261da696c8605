"""Losses that know that a label can be missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from scan2gene.tasks.outputs import Output

Group = tuple[str, list[int]]  # key of LOSSES, columns of logits
BCE = "binary_cross_entropy"


def _binary(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over entries; each column is a question of its own."""
    return (binary_cross_entropy_with_logits(logits, targets, reduction="none") * weights).sum()


def _softmax(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum over exams of the cross-entropy with class probabilities."""
    return -((log_softmax(logits, dim=1) * targets).sum(dim=1) * weights.sum(dim=1)).sum()


# (logits, targets, weights), each (B, W), unknown targets 0 with weight 0 -> weighted sum over exams
LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {BCE: _binary, "cross_entropy": _softmax}


def loss_groups(answers: Sequence[Output]) -> list[Group]:
    """Columns of logits that share a loss: all binary ones together, those of another output by themselves."""
    binary: list[int] = []
    others: list[Group] = []
    start = 0
    for output in answers:
        columns = list(range(start, start + len(output.names)))
        start += len(columns)
        if output.kind.loss == BCE:
            binary += columns
        else:
            others.append((output.kind.loss, columns))
    return [*([(BCE, binary)] if binary else []), *others]


def masked_loss(logits: Tensor, targets: Tensor, weights: Tensor | None = None, groups: Sequence[Group] = ()) -> Tensor:
    """Mean loss over known labels only.

    Args:
        logits: (B, T).
        targets: (B, T) from 0 to 1, or NaN where unknown.
        weights: (B, T) of each entry; those of a group that shares a loss add up to the exam's weight. Default: 1 in
            all for every label.
        groups: Columns that share a loss; default: all are binary.

    Returns:
        Weighted mean over the known labels; 0 with zero gradient when there is none.
    """
    known = ~torch.isnan(targets)
    groups = groups or [(BCE, list(range(targets.shape[1])))]
    if weights is None:
        weights = torch.ones_like(logits)
        for _, columns in (g for g in groups if g[0] != BCE):
            weights[:, columns] /= len(columns)
    weights = known.to(logits.dtype) * weights
    total = weights.sum().clamp(min=torch.finfo(logits.dtype).tiny)
    targets = torch.nan_to_num(targets)
    if len(groups) == 1 and len(groups[0][1]) == logits.shape[1]:
        return LOSSES[groups[0][0]](logits, targets, weights) / total
    parts = [LOSSES[name](logits[:, own], targets[:, own], weights[:, own]) for name, own in groups]
    return torch.stack(parts).sum() / total


@dataclass(frozen=True)
class LabelWeights:
    """What each label counts in the loss.

    Args:
        binary: (2, T), of a negative and of a positive label.
        classes: Of each group that shares a loss: its columns, its classes as they are encoded (U, W), and (U,) what
            an exam of each class counts.
    """

    binary: Tensor
    classes: list[tuple[list[int], Tensor, Tensor]]

    def of(self, targets: Tensor) -> Tensor:
        """(B, T) weight of each label, 0 where unknown."""
        table = self.binary.to(targets.device)
        weights = torch.nan_to_num(targets * table[1] + (1 - targets) * table[0])
        for columns, codes, counts in self.classes:
            same = (targets[:, None, columns] == codes.to(targets.device)).all(dim=2).to(weights.dtype)
            weights[:, columns] = (same @ counts.to(targets.device, weights.dtype))[:, None] / len(columns)
        return weights


def label_weights(
    targets: Tensor, balanced: bool, target_weights: Tensor, groups: Sequence[Group] = ()
) -> LabelWeights:
    """Weights of the training part's labels.

    Args:
        targets: (N, T) 0, 1 or NaN, of training exams.
        balanced: Each class of a target weighs the same share of the target's known labels.
        target_weights: (T,).
        groups: As in `masked_loss`.
    """
    known = ~torch.isnan(targets)
    counts = torch.stack([((targets == c) & known).sum(dim=0) for c in (0, 1)]).float()  # (2, T)
    binary = counts.sum(dim=0) / (2 * counts.clamp(min=1)) if balanced else torch.ones_like(counts)
    classes = []
    for _, columns in (g for g in groups if g[0] != BCE):
        rows = targets[:, columns]
        codes, size = torch.unique(rows[~torch.isnan(rows).any(dim=1)], dim=0, return_counts=True)
        each = size.sum() / (len(size) * size.float()) if balanced else torch.ones(len(size))
        classes.append((list(columns), codes, each * target_weights[columns[0]]))
    return LabelWeights(binary * target_weights, classes)


def class_codes(targets: Tensor, groups: Sequence[Group] = ()) -> Tensor:
    """(N, T) encoded labels -> (N, G) a number for each class of each target and side, NaN where unknown."""
    binary = [[c] for name, own in groups or [(BCE, list(range(targets.shape[1])))] if name == BCE for c in own]
    codes = []
    for columns in [*binary, *(own for name, own in groups if name != BCE)]:
        rows = targets[:, columns]
        code = torch.unique(torch.nan_to_num(rows, nan=-1.0), dim=0, return_inverse=True)[1].to(targets.dtype)
        code[torch.isnan(rows).any(dim=1)] = torch.nan
        codes.append(code)
    return torch.stack(codes, dim=1)


def balanced_shares(codes: Tensor) -> Tensor:
    """Probability of drawing each training exam so that the classes of every target are equally frequent.

    Args:
        codes: (N, G) class numbers or NaN. With several targets their shares are averaged, so
            that each comes nearer to balance and none is exactly balanced.

    Returns:
        (N,), sums to 1.
    """
    shares = torch.zeros(len(codes), dtype=torch.float64)
    for own in codes.T:
        for value in own[~torch.isnan(own)].unique():
            chosen = own == value
            shares[chosen] += 1 / chosen.sum()
    return shares / shares.sum() if shares.sum() > 0 else torch.full_like(shares, 1 / len(codes))
