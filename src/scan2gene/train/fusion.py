"""Ways from instances to exams that are learned next to a finished fit, without labels of test exams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.core.files import atomic_path
from scan2gene.core.section import Plugin
from scan2gene.core.tables import WEIGHT_COLUMNS
from scan2gene.data.samples import Samples
from scan2gene.evaluate.stacking import late_weights
from scan2gene.forward.logits import NetworkOutput
from scan2gene.predict.aggregate import IDENTITY, RULES, Aggregate, Bags, by_role
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import softmax_columns
from scan2gene.train.loss import loss_groups
from scan2gene.train.mil import ATTENTIONS, fit_attention


def _no_options() -> dict[str, Any]:
    return {}


LEARNED: dict[str, Callable[..., Any]] = ATTENTIONS | {"late": _no_options}


def fit_aggregate(
    fit: Fit, way: Plugin, output: NetworkOutput, data: Samples, bags: Bags
) -> tuple[Aggregate, pd.DataFrame]:
    """Learn one way from instances to exams, where it has something to learn.

    Args:
        fit: Its folder keeps a learned attention.
        way: Name and options.
        output: Of the network on the instances.
        data: The instances.
        bags: Which belong together.

    Returns:
        The way, and the weights of roles: target, side, n, reason, member, weight; empty for ways that have none.
    """
    groups = softmax_columns(fit.config.outputs)
    none = pd.DataFrame(columns=list(WEIGHT_COLUMNS))
    if way == IDENTITY or way.name in RULES or (way.name in ATTENTIONS and output.embeddings is None):
        return Aggregate(way, groups=groups), none
    targets = data.targets.numpy()[np.unique(bags.number, return_index=True)[1]]  # (B, T)
    if way.name == "late":
        return _late(way, output, data, bags, targets, groups)
    assert output.embeddings is not None  # for the type checker
    model = fit_attention(way, output.embeddings, bags, targets, fit.seed, loss_groups(fit.config.outputs))
    with atomic_path(fit.folder.path / f"{way.name}.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    return Aggregate(way, model), none


def _late(
    way: Plugin, output: NetworkOutput, data: Samples, bags: Bags, targets: np.ndarray, groups: Sequence[Sequence[int]]
) -> tuple[Aggregate, pd.DataFrame]:
    """Mean of each role's instances, weighed by role as validation exams ask.

    Each output has its own weights; columns of `groups`, which share a softmax, have the same ones.
    """
    chosen = (bags.table["part"] == "validation").to_numpy()
    role = data.table["role"].to_numpy()
    roles = sorted(set(role))
    means = by_role(role, roles, output.logits["original"], bags.number, groups)[chosen]
    targets, together = targets[chosen].astype(float), {c: list(columns) for columns in groups for c in columns}
    learned: dict[str, pd.Series] = {}
    rows: list[Mapping[str, Any]] = []
    for column, name in enumerate(data.names):
        shared = together.get(column)
        of_target = means[:, :, column] if shared is None else means[:, :, shared].transpose(0, 2, 1)
        weights, reason = late_weights(of_target, targets[:, column if shared is None else shared])
        learned[name] = pd.Series(weights, index=roles)
        base = {"target": name, "side": "", "n": int(chosen.sum()), "reason": reason}
        rows += [base | {"member": r, "weight": w} for r, w in zip(roles, weights, strict=True)]
    return Aggregate(way, role_weights=learned, groups=groups), pd.DataFrame(rows)
