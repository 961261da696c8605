"""What a kind of target has to say of itself, so that everything else can treat all kinds alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Task:
    """A kind of target: what a network puts out for it, and what that says of each label.

    K is the number of classes of a target, W the number of a network's outputs for it, L the number of its labels,
    one row of the prediction table each.

    Args:
        description: One sentence, for documentation and reports.
        loss: A key of `train.loss.LOSSES`.
        labels: Classes -> the L labels of which a probability is given.
        columns: Classes -> names of the W outputs, "" for the only one.
        encode: Class numbers (N,), NaN where unknown, and K -> what the outputs should say, (N, W) from 0 to 1 or NaN.
        log_odds: Outputs (N, W) -> log odds of each label, (N, L).
    """

    description: str
    loss: str
    labels: Callable[[Sequence[str]], tuple[str, ...]]
    columns: Callable[[Sequence[str]], tuple[str, ...]]
    encode: Callable[[np.ndarray, int], np.ndarray]
    log_odds: Callable[[np.ndarray], np.ndarray]
