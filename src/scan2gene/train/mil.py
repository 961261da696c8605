"""Attention over slices, learned from the training part's exams; the validation part chooses the epoch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scan2gene.core.section import Plugin
from scan2gene.models.mil import AttentionMIL
from scan2gene.models.networks import one_thread
from scan2gene.predict.aggregate import Bags
from scan2gene.train.loss import Group, masked_loss

BATCH = 16  # exams


def _options(
    hidden: int = 64, epochs: int = 150, patience: int = 30, learning_rate: float = 5e-3, weight_decay: float = 1e-2,
    dropout: float = 0.1,
) -> dict[str, Any]:  # fmt: skip
    """Options of both ways, with their defaults."""
    return locals()


ATTENTIONS: dict[str, Callable[..., dict[str, Any]]] = {
    "attention": partial(_options),
    "gated_attention": partial(_options),
}


def fit_attention(
    way: Plugin, embeddings: np.ndarray, bags: Bags, targets: np.ndarray, seed: int, groups: Sequence[Group] = ()
) -> AttentionMIL:
    """Learn the attention of one fit.

    Args:
        way: "attention" or "gated_attention", with options.
        embeddings: (S, F) of slices.
        bags: Of slices; those of test are never looked at.
        targets: (B, T) of bags, NaN where unknown.
        seed: Of first weights and order.
        groups: Columns of logits that share a loss; default: all are binary.

    Returns:
        The attention of the epoch with the lowest validation loss, in evaluation mode.
    """
    options = ATTENTIONS[way.name](**way.options)
    x, number = torch.from_numpy(np.asarray(embeddings, np.float32)), torch.from_numpy(bags.number)
    y = torch.from_numpy(np.asarray(targets, np.float32))
    known, part = ~np.isnan(targets).all(axis=1), bags.table["part"].to_numpy()
    train, validation = (torch.from_numpy(np.flatnonzero((part == p) & known)) for p in ("train", "validation"))
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        gated = way.name == "gated_attention"
        model = AttentionMIL(x.shape[1], y.shape[1], options["hidden"], gated, options["dropout"])
        model.fit_scale(x[torch.isin(number, train)])
        optimizer = torch.optim.Adam(
            model.parameters(), lr=options["learning_rate"], weight_decay=options["weight_decay"]
        )
        best, best_loss, waited = model.state_dict(), float("inf"), 0
        for _ in range(options["epochs"]):
            model.train()
            for chosen in train[torch.randperm(len(train))].split(BATCH):
                loss = masked_loss(_of_bags(model, x, number, chosen), y[chosen], groups=groups)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                value = float(masked_loss(_of_bags(model, x, number, validation), y[validation], groups=groups))
            waited += 1
            if value < best_loss:
                best_loss, waited = value, 0
                best = {k: v.clone() for k, v in model.state_dict().items()}
            if waited == options["patience"]:
                break
        model.load_state_dict(best)
    return model.eval()


def _of_bags(model: AttentionMIL, x: Tensor, number: Tensor, chosen: Tensor) -> Tensor:
    """Logits of some bags, in their order."""
    place = torch.full((int(number.max()) + 1,), -1)
    place[chosen] = torch.arange(len(chosen))
    rows = torch.nonzero(place[number] >= 0)[:, 0]
    return model(x[rows], place[number[rows]], len(chosen))
