"""Columns of history.csv: what training and validation came to in an epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.stats.metrics import auroc


def figures(part: str, truth: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    """AUROC and accuracy of a part, such as "train": the mean over outputs, and that of each.

    Args:
        part: Begin of the columns' names.
        truth: (N, T) labels, NaN where unknown.
        logits: (N, T).
        names: Of the outputs.
    """
    values = {"auroc": _aurocs(truth, logits), "accuracy": _accuracies(truth, logits)}
    return {k: v for name, of in values.items() for k, v in _by_target(f"{part}_{name}", of, names).items()}


def _aurocs(truth: np.ndarray, logits: np.ndarray) -> list[float | None]:
    """AUROC of each output; None where labels have one class only."""
    values: list[float | None] = []
    for target in range(truth.shape[1]):
        known = ~np.isnan(truth[:, target])
        y = truth[known, target]
        values.append(float(auroc(y, logits[known, target])) if 0 < y.sum() < len(y) else None)
    return values


def _accuracies(truth: np.ndarray, logits: np.ndarray) -> list[float | None]:
    """Share of each output's known labels that a threshold of 0.5 gets right; None where none is known."""
    known = ~np.isnan(truth)
    return [
        float(((z > 0) == y)[k].mean()) if k.any() else None for z, y, k in zip(logits.T, truth.T, known.T, strict=True)
    ]


def _by_target(name: str, values: Sequence[float | None], names: Sequence[str]) -> dict[str, float | None]:
    """Columns of history.csv: the mean over the outputs that have a value, and that of each."""
    told = [v for v in values if v is not None]
    mean = {name: float(np.mean(told)) if told else None}
    return mean | {f"{name}:{output}": v for output, v in zip(names, values, strict=False)}
