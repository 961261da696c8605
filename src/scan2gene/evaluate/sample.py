"""Scored patients as a function of how often each of them counts: what every interval is drawn from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from scan2gene.evaluate.intervals import Resampled, bootstrap_counts, resample
from scan2gene.evaluate.metrics import METRICS, WITHIN_FOLD

PERSON = ["patient_id", "side"]  # what is scored: a patient, or a side of one
_AT_ONCE = 250_000  # weights that a metric is asked for: more is no faster, and takes memory


@dataclass(frozen=True)
class Sample:
    """The scored rows of one run, split, variant and target.

    Args:
        table: A row per repeat and patient, or side of one: repeat, fold, patient_id, side,
            y_true, prob, decision; none of these three is null.
    """

    table: pd.DataFrame
    _drawn: dict[str, Resampled] = field(default_factory=dict, repr=False, compare=False)

    @property
    def units(self) -> pd.DataFrame:
        """One row per patient, or side."""
        return self.table.drop_duplicates(PERSON)

    @property
    def lacking(self) -> str:
        """Why nothing can be estimated; empty where it can."""
        truth, patients = self.units["y_true"], self.table["patient_id"].nunique()
        if len(truth) and 0 < truth.sum() < len(truth):
            return ""
        who = "labelled test patients" if len(truth) == patients else "labelled sides of test patients"
        return f"{int(truth.sum())} positive among {len(truth)} {who}; both classes are needed"

    @property
    def fewest(self) -> int:
        """Patients of the rarer class."""
        units = self.units
        return int(min(units.loc[units["y_true"] == c, "patient_id"].nunique() for c in (0, 1)))

    def counts(self, draws: int, seed: int) -> np.ndarray:
        """(draws, P): how often each patient, in the order of ids, is drawn.

        Patients are drawn among those with as many positive and negative sides, and both
        sides of one together.
        """
        sides = self.units.groupby("patient_id")["y_true"].agg(["sum", "size"])
        _, strata = np.unique(sides.to_numpy(), axis=0, return_inverse=True)
        return bootstrap_counts(strata.ravel(), draws, seed)

    def statistic(self, metric: str, weights: np.ndarray) -> np.ndarray:
        """A metric at weights of patients (..., P): values (...).

        With repeated splits it is the mean over repeats; a drawn patient counts in all.
        """
        if weights.ndim == 2 and weights.size > _AT_ONCE and len(weights) > 1:
            parts = np.array_split(weights, -(-weights.size // _AT_ONCE))
            return np.concatenate([self.statistic(metric, part) for part in parts if len(part)])
        function, column = METRICS[metric]
        _, patient = np.unique(self.table["patient_id"], return_inverse=True)
        y, fold, repeat = (self.table[c].to_numpy() for c in ("y_true", "fold", "repeat"))
        score = self.table[column].to_numpy(float)
        values = []
        for number in np.unique(repeat):
            rows = repeat == number
            extra = {"groups": fold[rows]} if metric in WITHIN_FOLD else {}
            values.append(function(y[rows], score[rows], weights[..., patient[rows]], **extra))
        return np.mean(values, axis=0)

    def resampled(self, metrics: Iterable[str], draws: int, seed: int) -> dict[str, Resampled]:
        """Metrics on the same draws of patients; a metric that was asked for before is not drawn again."""
        new = [m for m in metrics if m not in self._drawn]
        if new:
            counts = self.counts(draws, seed)
            self._drawn.update({m: resample(partial(self.statistic, m), counts) for m in new})
        return self._drawn
