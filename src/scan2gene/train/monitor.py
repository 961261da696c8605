"""What early stopping watches: the validation loss, or any metric of the validation part."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.section import unknown_name
from scan2gene.stats.linear import sigmoid
from scan2gene.stats.metrics import LOWER_IS_BETTER, METRICS, metric_value
from scan2gene.tasks.outputs import target_of
from scan2gene.train.loss import masked_loss

LOSS = "loss"
_OF_ANY_LABELS = LOWER_IS_BETTER | {LOSS, "accuracy"}  # the others need both classes


def check_monitor(name: str, targets: Iterable[str]) -> None:
    """Refuse a metric or a target that does not exist.

    Args:
        name: `train.monitor`, such as "loss", "auroc" or "auroc:malignant".
        targets: Of the run.

    Raises:
        StudyError: With the valid names.
    """
    metric, _, target = name.partition(":")
    if metric not in (LOSS, *METRICS):
        raise StudyError(f"train.monitor: metric {unknown_name(metric, (LOSS, *METRICS))}")
    if ":" in name and target not in (known := list(targets)):
        raise StudyError(f"train.monitor: target {unknown_name(target, known)}")


def check_watched(name: str, truth: np.ndarray, names: Sequence[str], where: str) -> None:
    """Refuse validation labels of which the metric is undefined in every epoch.

    Args:
        name: `train.monitor`.
        truth: (N, T) validation labels, NaN where unknown.
        names: Of the T outputs.
        where: The fit, for the message.

    Raises:
        CohortError: No target that is watched has what the metric needs.
    """
    metric, _, target = name.partition(":")
    if name == LOSS:
        return
    fewest = 1 if metric in _OF_ANY_LABELS else 2
    classes = [np.unique(truth[:, own][~np.isnan(truth[:, own])]) for own in _watched(names, target)]
    if all(len(found) < fewest for found in classes):
        needed = "a known label" if fewest == 1 else "patients of both classes"
        raise CohortError(
            f"{where}: train.monitor is {name}, and the validation part lacks {needed}. "
            "Enlarge validation_fraction, or use monitor: loss."
        )


def monitored(name: str, truth: np.ndarray, logits: np.ndarray, names: Sequence[str]) -> float:
    """A metric of the validation part; the sides of a target count together, and decisions are at 0.5.

    Args:
        name: `train.monitor`; without a target the mean over those for which it is defined.
        truth: (N, T) labels, NaN where unknown.
        logits: (N, T).
        names: Of the T outputs.

    Returns:
        The value; NaN where it is undefined, such as a precision without a positive decision.
    """
    metric, _, target = name.partition(":")
    values = []
    for own in _watched(names, target):
        known = ~np.isnan(truth[:, own])
        y, z = truth[:, own][known], logits[:, own][known]
        if not len(y) or (metric not in _OF_ANY_LABELS and len(np.unique(y)) < 2):
            continue
        if metric == LOSS:
            values.append(float(masked_loss(torch.from_numpy(z[:, None]), torch.from_numpy(y[:, None]).double())))
            continue
        score = sigmoid(z) if METRICS[metric] == "prob" else z >= 0
        values.append(float(metric_value(metric, y, score)))
    defined = [v for v in values if not np.isnan(v)]
    return float(np.mean(defined)) if defined else float("nan")


def to_lower(name: str, value: float) -> float:
    """The value where lower is better: itself, or its negative; infinite where it is undefined."""
    if np.isnan(value):
        return float("inf")
    return value if name.partition(":")[0] in LOWER_IS_BETTER | {LOSS} else -value


def _watched(names: Sequence[str], target: str) -> list[list[int]]:
    """Places of the outputs of each target that is watched."""
    places: dict[str, list[int]] = {}
    for place, output in enumerate(names):
        places.setdefault(target_of(output), []).append(place)
    return [places[target]] if target else list(places.values())
