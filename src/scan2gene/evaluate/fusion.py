"""From slices to one answer per exam, as functions of tables.

Every way takes the logits of slices and gives one logit per bag: an exam, or what of it is in a part.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin, unknown_name
from scan2gene.stats.linear import logit, sigmoid

_EDGE = 1e-12  # probabilities stay this far from 0 and 1, so that logits are finite


def mean(logits: np.ndarray) -> float:
    """Logit of the mean probability."""
    return float(logit(sigmoid(logits).mean()))


def maximum(logits: np.ndarray) -> float:
    """The surest slice decides; with many slices one mistake is enough."""
    return float(logits.max())


def top_k(logits: np.ndarray, k: int = 3) -> float:
    """Logit of the mean probability of the k surest slices, or of all where there are fewer."""
    return float(logit(sigmoid(np.sort(logits)[-k:]).mean()))


def noisy_or(logits: np.ndarray) -> float:
    """Positive unless every slice is negative, as if slices erred independently: 1 - prod(1 - p).

    It grows with the number of slices, and with many of them leaves the range of a probability.
    """
    nothing = np.logaddexp(0, logits).sum()  # -log prod(1 - p)
    return float(nothing + np.log(-np.expm1(-nothing))) if nothing > 0 else float(np.log(_EDGE))


FUSIONS: dict[str, Callable[..., float]] = {"mean": mean, "max": maximum, "top_k": top_k, "noisy_or": noisy_or}


def shares(way: Plugin, logits: np.ndarray) -> np.ndarray:
    """How much each slice of one bag counts in its answer.

    Args:
        way: A name of `FUSIONS` with its options.
        logits: (S,) of one target.

    Returns:
        (S,) not negative, 1 in sum: equal for the mean, 1 for the surest slice of max, equal among
        the surest of top_k; for noisy_or by probability, as the answer's logit moves with each slice's.
    """
    count = len(logits)
    if way.name == "mean":
        return np.full(count, 1 / count)
    if way.name == "noisy_or":
        weight = np.exp(-np.logaddexp(0, -np.asarray(logits, float)))  # never overflows, and is never 0
        return weight / weight.sum()
    most = 1 if way.name == "max" else min(count, int(way.options.get("k", 3)))
    found = np.zeros(count)
    found[np.argsort(logits, kind="stable")[-most:]] = 1 / most
    return found


def check_fusion(fusion: Sequence[Plugin], learned: Mapping[str, Callable[..., Any]]) -> None:
    """Refuse unknown ways and options before any work.

    Args:
        fusion: Of a study file.
        learned: Name -> function, of ways that are trained.

    Raises:
        StudyError: With the valid names.
    """
    for way in fusion:
        known = FUSIONS | dict(learned)
        if way.name not in known:
            raise StudyError(f"data.slices.fusion: {unknown_name(way.name, known)}")
        valid = [p.name for p in inspect.signature(known[way.name]).parameters.values() if p.default is not p.empty]
        for option in way.options:
            if option not in valid:
                raise StudyError(f"data.slices.fusion, {way.name}: option {unknown_name(option, valid)}")
    for way in fusion:
        k = way.options.get("k", 1)
        if way.name == "top_k" and not (isinstance(k, int) and k >= 1):
            raise StudyError(f"data.slices.fusion, top_k: k is a whole number, 1 at least; got {k!r}")


def fuse(way: Plugin, logits: np.ndarray, bags: np.ndarray) -> np.ndarray:
    """One logit per bag and target.

    Args:
        way: A name of `FUSIONS` with its options.
        logits: (S, T) of slices.
        bags: (S,) number of each slice's bag, 0 to B - 1, each occurring.

    Returns:
        (B, T) float64.
    """
    order = np.argsort(bags, kind="stable")
    parts = np.split(logits[order], np.flatnonzero(np.diff(bags[order])) + 1)
    function = FUSIONS[way.name]
    return np.array([[function(column, **way.options) for column in part.T] for part in parts], float)
