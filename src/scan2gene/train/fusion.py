"""Ways from slices to exams that are learned beside a finished fit; labels of test exams are never looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from scan2gene.core.files import atomic_path
from scan2gene.core.section import Plugin
from scan2gene.data.cohort import CohortTensors
from scan2gene.evaluate.fusion import FUSIONS, fuse
from scan2gene.evaluate.late import WEIGHT_COLUMNS, late_weights, weighted
from scan2gene.predict.forward import Passed
from scan2gene.predict.slices import Bags
from scan2gene.train.mil import ATTENTIONS, attended, fit_attention


def _no_options() -> dict[str, Any]:
    return {}


LEARNED: dict[str, Callable[..., Any]] = ATTENTIONS | {"late": _no_options}


def fused_logits(
    way: Plugin, variant: str, passed: Passed, data: CohortTensors, bags: Bags, seed: int, folder: Path,
    fold: Mapping[str, object],
) -> tuple[np.ndarray | None, pd.DataFrame]:  # fmt: skip
    """Logits of bags by one way.

    Args:
        way: Name and options.
        variant: Of `passed.logits`.
        passed: What the network said of the slices.
        data: The slices.
        bags: Which belong together.
        seed: Of the fit.
        folder: Of the fit; keeps a learned attention.
        fold: split, repeat, fold.

    Returns:
        (B, T), or None where this way has no such variant; and the weights of roles, columns
        `WEIGHT_COLUMNS` without run_id, empty for ways that have none.
    """
    logits = passed.logits[variant]
    none = pd.DataFrame(columns=list(WEIGHT_COLUMNS[1:]))
    if way.name in FUSIONS:
        return fuse(way, logits, bags.number), none
    first = np.unique(bags.number, return_index=True)[1]
    targets = data.targets.numpy()[first]  # (B, T)
    part = bags.table["part"].to_numpy()
    if way.name == "late":
        return _late(data, logits, bags, targets, part, fold)
    if variant != "original" or passed.embeddings is None:
        return None, none  # embeddings are those of the slices as they are
    model = fit_attention(way, passed.embeddings, bags.number, targets, part, seed)
    with atomic_path(folder / f"{way.name}.pt") as temporary:
        torch.save(model.state_dict(), temporary)
    return attended(model, passed.embeddings, bags.number), none


def _late(
    data: CohortTensors, logits: np.ndarray, bags: Bags, targets: np.ndarray, part: np.ndarray,
    fold: Mapping[str, object],
) -> tuple[np.ndarray, pd.DataFrame]:  # fmt: skip
    """Mean of each role's slices, weighed by role; a target has its own weights."""
    codes, roles = pd.factorize(data.exams["role"], sort=True)
    by_role = np.full((len(bags.table), len(roles), logits.shape[1]), np.nan)
    for role in range(len(roles)):
        mine = codes == role
        there, number = np.unique(bags.number[mine], return_inverse=True)
        by_role[there, role] = fuse(Plugin(name="mean"), logits[mine], number)
    chosen = part == "validation"
    out, told = [], []
    for target, name in enumerate(data.names):
        weights, reason = late_weights(by_role[chosen, :, target], targets[chosen, target].astype(float))
        out.append(weighted(by_role[:, :, target], weights))
        base = {**fold, "target": name, "side": "", "n": int(chosen.sum()), "reason": reason}
        told += [base | {"member": r, "weight": w} for r, w in zip(roles, weights, strict=True)]
    return np.stack(out, axis=1), pd.DataFrame(told)[list(WEIGHT_COLUMNS[1:])]
