"""Scored patients as a function of how often each of them counts: what every interval is drawn from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import pandas as pd

from scan2gene.stats.auroc_variance import spread_of_pairs
from scan2gene.stats.bayesian_bootstrap import Cells, cell_draws, decision_draws
from scan2gene.stats.intervals import (
    SINGLE,
    Estimate,
    Resampled,
    Spread,
    bca_interval,
    bootstrap_counts,
    jackknife,
    logit_interval,
    percentile_interval,
    without_spread,
)
from scan2gene.stats.metrics import OF_DECISIONS, PROPORTIONS, weighted_metrics
from scan2gene.stats.power import too_few

PERSON = ["patient_id", "side"]  # what is scored: a patient, or a side of one
ROW = ["repeat", "fold", *PERSON]
MIN_NEGATIVES = 10  # negatives of a fold: among fewer, 90 % are all of them
_AT_ONCE = 250_000  # weights that a metric is asked for: more is no faster, and takes memory
_THREADS = 2


@dataclass(frozen=True)
class Sample:
    """The scored rows of one run, split, variant and target.

    Args:
        table: A row per repeat and patient, or side of one: repeat, fold, patient_id, side,
            y_true, prob, decision; none of these three is null.
    """

    table: pd.DataFrame
    _drawn: dict[str, Resampled] = field(default_factory=dict, repr=False, compare=False)
    _cells: dict[tuple[int, int], list[Cells]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def columns(self) -> dict[str, np.ndarray]:
        """Columns of the table (N,) by name, "patient" being the number of each row's patient in the order of ids."""
        patient = np.unique(self.table["patient_id"].to_numpy(), return_inverse=True)[1]
        names = [c for c in ("repeat", "fold", "y_true", "prob", "decision") if c in self.table]
        return {"patient": patient, **{c: self.table[c].to_numpy() for c in names}}

    @cached_property
    def _first(self) -> tuple[np.ndarray, np.ndarray]:
        """Patient and label of each patient, or side: its first row."""
        first = ~self.table.duplicated(PERSON).to_numpy()
        return self.columns["patient"][first], self.columns["y_true"][first].astype(float)

    @cached_property
    def units(self) -> pd.DataFrame:
        """One row per patient, or side."""
        return self.table.drop_duplicates(PERSON)

    @property
    def n_patients(self) -> int:
        """Patients."""
        return int(self.columns["patient"].max(initial=-1)) + 1

    @property
    def n_units(self) -> int:
        """Patients, or sides of them."""
        return len(self._first[0])

    @property
    def n_positive(self) -> int:
        """Positive patients, or sides."""
        return int(self._first[1].sum())

    @property
    def fewest(self) -> int:
        """Patients of the rarer class."""
        patient, y = self._first
        return min(len(np.unique(patient[y == c])) for c in (0, 1))

    @property
    def lacking(self) -> str:
        """Why nothing can be estimated; empty where it can."""
        if 0 < self.n_positive < self.n_units:
            return ""
        who = "labelled test patients" if self.n_units == self.n_patients else "labelled sides of test patients"
        return f"{self.n_positive} positive among {self.n_units} {who}; both classes are needed"

    @property
    def too_few(self) -> str:
        """Why its figures are not judged, as `power.too_few`."""
        return too_few(self.n_positive, self.n_units, None if self.n_units == self.n_patients else self.fewest)

    def counts(self, draws: int, seed: int) -> np.ndarray:
        """(draws, P) uint8: how often each patient, in the order of ids, is drawn.

        Patients are drawn among those with as many positive and negative sides, and both
        sides of one together.
        """
        return drawn_counts(self._strata.tobytes(), draws, seed)

    @cached_property
    def _strata(self) -> np.ndarray:
        patient, y = self._first
        sides = np.stack([np.bincount(patient, y), np.bincount(patient)], axis=1)
        return np.unique(sides, axis=0, return_inverse=True)[1].ravel().astype(np.int64)

    def statistic(self, metric: str, weights: np.ndarray | None = None) -> np.ndarray:
        """A metric at weights of patients (..., P), by default 1: values (...), as `at_weights`."""
        weights = np.ones(self.n_patients) if weights is None else weights
        rows = weights.reshape(math.prod(weights.shape[:-1]), weights.shape[-1])
        return self.at_weights([metric], rows)[metric].reshape(weights.shape[:-1])

    def resampled(self, metrics: Iterable[str], draws: int, seed: int) -> dict[str, Resampled]:
        """Metrics on the same draws of patients; a metric that was drawn before is not drawn again."""
        new = [m for m in metrics if m not in self._drawn]
        if new:
            counts = self.counts(draws, seed)
            value, drawn = (self.at_weights(new, w) for w in (np.ones((1, counts.shape[1])), counts))
            left_out = self._without_each(new)
            self._drawn.update({m: Resampled(float(value[m][0]), drawn[m], left_out[m]) for m in new})
        return self._drawn

    def _without_each(self, metrics: list[str]) -> dict[str, np.ndarray]:
        """Metric -> (P,) without each patient, neighbours being of one stratum and like scores."""
        patient, prob = self.columns["patient"], self.columns["prob"].astype(float)
        order = np.lexsort((np.bincount(patient, prob) / np.bincount(patient), self._strata))

        def evaluate(weights: np.ndarray) -> np.ndarray:
            values = self.at_weights(metrics, weights)
            return np.stack([values[m] for m in metrics], axis=1)

        return dict(zip(metrics, jackknife(evaluate, len(order), order).T, strict=True))

    def at_weights(self, metrics: Sequence[str], weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metric -> (D,) at weights of patients (D, P), in the order of ids.

        With repeated splits it is the mean over repeats; a drawn patient counts in all.
        """
        columns = self.columns
        repeats = [np.flatnonzero(columns["repeat"] == number) for number in np.unique(columns["repeat"])]

        def work(part: np.ndarray) -> dict[str, np.ndarray]:
            part, values = part.astype(float), []
            for rows in repeats:
                patient, y, fold = (columns[c][rows] for c in ("patient", "y_true", "fold"))
                prob = columns["prob"][rows].astype(float)
                decision = columns["decision"][rows].astype(float) if "decision" in columns else None
                of_rows = part if np.array_equal(patient, np.arange(part.shape[1])) else part.take(patient, axis=1)
                values.append(weighted_metrics(metrics, y, prob, decision, fold, of_rows))
            return {m: np.mean([v[m] for v in values], axis=0) for m in metrics}

        parts = np.array_split(weights, max(1, min(len(weights), -(-weights.size // _AT_ONCE))))
        if len(parts) == 1:
            return work(parts[0])
        with ThreadPoolExecutor(_THREADS) as pool:
            done = list(pool.map(work, parts))
        return {m: np.concatenate([d[m] for d in done]) for m in metrics}

    def interval(self, metric: str, draws: int, seed: int) -> Estimate:
        """What is reported of a metric: its value and its BCa interval over patients, or why there is none.

        The draws of an AUROC are brought to the spread that `auroc_variance.spread_of_pairs` gives, or widened where
        there is none; average precision and sensitivity at a specificity have a `logit_interval`; metrics of decisions
        the middle of `bayesian_bootstrap.cell_draws`.
        """
        result = self.resampled([metric], draws, seed)[metric]
        if metric == "auroc":
            if len(np.unique(self.columns["prob"])) == 1:
                return Estimate(result.value, reason="all scores are equal")
            if self.fewest < 2:
                return Estimate(result.value, reason=SINGLE)
            spread = self._spread()
            result = result.with_spread(spread) if spread else result.widened(self._strata)
        if metric == "sensitivity_at_90_specificity" and self._fewest_negatives() < MIN_NEGATIVES:
            reason = f"fewer than {MIN_NEGATIVES} negatives of a fold cannot show a specificity of 90 %"
            return Estimate(result.value, reason=reason)
        if metric in ("average_precision", "sensitivity_at_90_specificity"):
            patient, y = self._first
            return logit_interval(result, self.fewest, len(np.unique(patient[y == 1])))
        if metric in OF_DECISIONS:
            none = without_spread(result, self.fewest if metric in PROPORTIONS else 0)
            return none or percentile_interval(result.value, decision_draws(metric, self.cell_draws(draws, seed)))
        if metric in ("brier", "log_loss"):
            result = result.widened(self._strata)
        return bca_interval(result, self.fewest if metric in PROPORTIONS else 0)

    def _fewest_negatives(self) -> int:
        """Of a fold, on average over those that have positives, as scores are compared inside folds."""
        rows = self.table.groupby(["repeat", "fold"])["y_true"].agg(["sum", "size"])
        rows = rows[rows["sum"] > 0]
        return int((rows["size"] - rows["sum"]).mean()) if len(rows) else 0

    def cell_draws(self, draws: int, seed: int) -> list[Cells]:
        """What decisions come to in each draw, as `bayesian_bootstrap.cell_draws`; the same for all metrics."""
        if (draws, seed) not in self._cells:
            c = self.columns
            self._cells[draws, seed] = cell_draws(c["patient"], c["y_true"], c["decision"], c["repeat"], draws, seed)
        return self._cells[draws, seed]

    def auroc(self, draws: int, seed: int) -> Resampled:
        """The AUROC of pairs within folds, its draws with the spread that `interval` reports."""
        return self.resampled(["auroc"], draws, seed)["auroc"].with_spread(self._spread())

    def difference(self, other: Sample, metric: str, draws: int, seed: int) -> Resampled:
        """A metric less that of another run on the same draws of the same patients.

        Two AUROCs of the same rows in the same folds get the spread of their pairs, as `interval` has it.
        """
        paired = self.resampled([metric], draws, seed)[metric] - other.resampled([metric], draws, seed)[metric]
        if metric in PROPORTIONS:
            paired = replace(paired, bounds=(-1.0, 1.0))
        first, second = (s.table.sort_values(ROW, ignore_index=True) for s in (self, other))
        if metric != "auroc" or not first[ROW].equals(second[ROW]):
            return paired
        return paired.with_spread(Sample(first)._spread(second["prob"].to_numpy()))

    def shared(self, other: Sample) -> tuple[Sample, Sample]:
        """Both on the rows that both have, in one order."""
        first, second = (s.table.assign(side=s.table["side"].fillna("")) for s in (self, other))
        if first[ROW].reset_index(drop=True).equals(second[ROW].reset_index(drop=True)):
            return self, other
        rows = first[ROW].merge(second[ROW]).sort_values(ROW, ignore_index=True)
        return Sample(rows.merge(first, on=ROW)), Sample(rows.merge(second, on=ROW))

    def _spread(self, other: np.ndarray | None = None) -> Spread | None:
        """Of an AUROC, or of its difference from that of other scores of the same rows."""
        c = self.columns
        return spread_of_pairs(c["patient"], c["y_true"], c["prob"], c["repeat"], c["fold"], other)


@lru_cache(maxsize=8)
def drawn_counts(strata: bytes, draws: int, seed: int) -> np.ndarray:
    """`bootstrap_counts`, kept: runs of a study are drawn alike, and drawing costs more than scoring."""
    return bootstrap_counts(np.frombuffer(strata, np.int64), draws, seed)
