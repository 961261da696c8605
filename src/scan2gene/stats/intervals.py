"""95 % intervals by resampling patients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from scan2gene.core.levels import ENDS, Z
from scan2gene.core.text import percent
from scan2gene.stats.linear import sigmoid

SINGLE = "a single patient in the rarer class shows no spread"
MAX_JACKKNIFE = 2_000  # patients that are left out in turn; of more, so many that stand for their neighbours
_CELLS = 250_000  # weights of draws or patients left out that are in memory at once
MAX_UNDEFINED = 0.1  # a larger share of draws without a value makes the interval meaningless


@dataclass(frozen=True)
class Estimate:
    """A figure and its interval; None with a reason where it cannot be estimated."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Spread:
    """Of an AUROC.

    Args:
        variance: Of the figure, patients of both classes being drawn anew.
        freedom: Degrees of freedom of that variance (Satterthwaite): about one less than the
            patients of the class that contributes most to it.
        most: How far the variance of draws may be raised to it: a plug-in's own narrowness, n / (n - 1), and what
            the steadying adds.
        least: How far it may be lowered. That of a difference is not: where two runs order most pairs alike, the
            estimate rests on the few that differ, may be next to nothing by luck, and would make them look apart.
    """

    variance: float
    freedom: float
    most: float
    least: float = 0.0


def bootstrap_counts(strata: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each patient is drawn, with replacement within its stratum.

    Args:
        strata: (P,) class of each patient; each keeps its size, so no draw lacks a class.
        draws: Number of resamples.
        seed: Same seed, same draws: metrics of one table are then paired.

    Returns:
        (draws, P) counts, uint8: nobody is drawn 256 times.
    """
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(strata)), np.uint8)
    for stratum in np.unique(strata):
        members = np.flatnonzero(strata == stratum)
        size = len(members)
        for rows in chunks(draws, size, 8 * _CELLS):
            some = rows.stop - rows.start
            drawn = rng.integers(0, size, (some, size), dtype=np.int32) + (np.arange(some) * size)[:, None]
            counts[rows, members] = np.bincount(drawn.ravel(), minlength=some * size).reshape(some, size)
    return counts


def chunks(rows: int, columns: int, cells: int = _CELLS) -> list[slice]:
    """Rows of a wide matrix in parts of about so many cells."""
    step = max(1, cells // max(columns, 1))
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def jackknife(
    evaluate: Callable[[np.ndarray], np.ndarray], patients: int, order: np.ndarray | None = None
) -> np.ndarray:
    """A statistic without each patient, never holding a matrix of patients by patients.

    Args:
        evaluate: Weights (D, P) -> values (D,) or (D, M).
        patients: P.
        order: (P,) patients in an order in which neighbours are alike. Of more than `MAX_JACKKNIFE` patients only
            that many, evenly spaced in it, are left out in turn, and each stands for those around it. The
            acceleration that is computed from these values is then below 0.01.

    Returns:
        (P,) or (P, M).
    """
    order = np.arange(patients) if order is None else order
    edges = np.linspace(0, patients, min(patients, MAX_JACKKNIFE) + 1).astype(int)
    left = order[(edges[:-1] + edges[1:]) // 2]
    parts = []
    for rows in chunks(len(left), patients):
        weights = np.ones((rows.stop - rows.start, patients))
        weights[np.arange(len(weights)), left[rows]] = 0
        parts.append(np.asarray(evaluate(weights), float))
    without = np.concatenate(parts)
    values = np.empty((patients, *without.shape[1:]))
    values[order] = np.repeat(without, np.diff(edges), axis=0)
    return values


@dataclass(frozen=True)
class Resampled:
    """A statistic at equal weights, in each draw (draws,), and without each patient (P,); NaN where undefined.

    Two of them from the same draws of the same patients may be subtracted: a paired difference.
    `freedom` are the degrees of freedom of the spread, where they are known; `bounds` what no end may leave.
    """

    value: float
    draws: np.ndarray
    left_out: np.ndarray
    freedom: float = np.inf
    bounds: tuple[float, float] = (-np.inf, np.inf)

    def __sub__(self, other: Resampled) -> Resampled:
        return Resampled(self.value - other.value, self.draws - other.draws, self.left_out - other.left_out)

    def with_spread(self, spread: Spread | None) -> Resampled:
        """Draws brought to a known variance about the value, and its degrees of freedom.

        Their variance is raised by the factor `spread.most` at most, and lowered to the share `spread.least` at most.
        """
        drawn = float(np.nanvar(self.draws)) if spread else 0.0
        if spread is None or not drawn > 0:
            return self
        factor = min(max(spread.variance / drawn, spread.least), spread.most) ** 0.5
        return replace(self, draws=self.value + factor * (self.draws - self.value), freedom=spread.freedom)

    def widened(self, strata: np.ndarray) -> Resampled:
        """Draws about the value, wider by what drawing from few patients of a stratum lacks, with their freedom.

        Args:
            strata: (P,) from which patients were drawn. One of n patients scatters n / (n - 1) times as much as its
                draws show, and has n - 1 degrees of freedom; how much each weighs, patients left out tell.

        Source: Rao and Wu 1988, "Resampling inference with complex survey data"; Satterthwaite 1946.
        """
        parts = []
        for stratum in np.unique(strata):
            left = self.left_out[strata == stratum]
            left = left[~np.isnan(left)]
            if len(left) > 1:
                parts.append((len(left), float(((left - left.mean()) ** 2).sum()) * (len(left) - 1) / len(left)))
        sizes, shown = np.array(parts, float).reshape(-1, 2).T
        if not shown.sum() > 0:
            return self
        grown = shown * sizes / (sizes - 1)
        freedom = float(grown.sum() ** 2 / (grown**2 / (sizes - 1)).sum())
        factor = float((grown.sum() / shown.sum()) ** 0.5)
        return replace(self, draws=self.value + factor * (self.draws - self.value), freedom=freedom)


def resample(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray) -> Resampled:
    """Evaluate a statistic on draws of patients.

    Args:
        statistic: Weights (..., P) -> values (...); NaN where undefined.
        counts: (draws, P) from `bootstrap_counts`.
    """
    patients = counts.shape[1]
    value = float(np.asarray(statistic(np.ones(patients)), dtype=float))
    parts = chunks(len(counts), patients, 8 * _CELLS)
    draws = [np.asarray(statistic(counts[rows].astype(float)), float) for rows in parts]
    return Resampled(value, np.concatenate(draws), jackknife(statistic, patients))


def bootstrap_interval(statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, fewest: int = 0) -> Estimate:
    """Bias-corrected and accelerated bootstrap interval of a statistic: `bca_interval` what `resample` gives."""
    return bca_interval(resample(statistic, counts), fewest)


def bca_interval(resampled: Resampled, fewest: int = 0) -> Estimate:
    """Bias-corrected and accelerated bootstrap interval.

    Args:
        resampled: From `resample`.
        fewest: Patients of the rarer class, where the statistic is a share from 0 to 1. A share
            that is 1 (or 0) in every draw then gets the exact interval of so many successes
            (or failures) in so many trials, which is wider than that of all pairs or patients.

    Returns:
        The value at equal weights and its interval; without an interval, the reason.

    Source: Efron 1987, "Better bootstrap confidence intervals"; Clopper and Pearson 1934; Student's
    quantiles where degrees of freedom are known, as Hesterberg 2015, "What teachers should know about
    the bootstrap".
    """
    value, draws = resampled.value, _defined(resampled.draws)
    none = without_spread(resampled, fewest)
    if none is not None:
        return none
    bias, acceleration = _corrections(resampled, draws)
    normal = NormalDist()
    ends = []
    for reach in (-_reach(resampled.freedom), _reach(resampled.freedom)):
        z = bias + reach
        ends.append(float(np.quantile(draws, normal.cdf(bias + z / (1 - acceleration * z)))))
    low, high = (0.0, 1.0) if fewest else resampled.bounds  # draws that were widened may leave the range
    ends = [min(max(end, low), high) for end in ends]
    return Estimate(value, ends[0], ends[1])


def logit_interval(resampled: Resampled, fewest: int, positives: int | None = None) -> Estimate:
    """Interval of a share on the logit scale, from the spread of its draws and Student's quantiles.

    For average precision, which `bca_interval` would place too high and make too narrow: one of few positives lies
    above that of many, since each positive counts itself among those found at its own cut, and draws of few patients
    scatter too little. So the interval stands about the value less what the median of the draws lies above it, the
    spread is raised by n / (n - 1), and the quantiles are those of n - 1 degrees of freedom, for the n patients of
    the rarer class. Half a patient is added to both sides of the share, so that draws at 0 or 1 have a logit.

    Args:
        resampled: From `resample`.
        fewest: Patients of the rarer class.
        positives: Positive patients, of whom it is a share; default: as many.

    Returns:
        As `bca_interval`; the value stays as it is.

    Source: Boyd, Eng and Page 2013, "Area under the precision-recall curve", for the scale; Cox 1970 for the half;
    Hesterberg 2015, "What teachers should know about the bootstrap", for spread and quantiles. How often it holds
    the truth is in `docs/results/coverage.md`.
    """
    value, draws = resampled.value, _defined(resampled.draws)
    if not np.isnan(value) and fewest < 2:
        return Estimate(value, reason=SINGLE)
    none = without_spread(resampled, fewest)
    if none is not None:
        return none

    of = fewest if positives is None else positives

    def logit(share: np.ndarray) -> np.ndarray:
        return np.log((share * of + 0.5) / ((1 - share) * of + 0.5))

    scattered = logit(np.clip(draws, 0, 1))
    middle = 2 * float(logit(np.array(value))) - float(np.median(scattered))
    reach = _reach(fewest - 1) * float(scattered.std()) * (fewest / (fewest - 1)) ** 0.5
    ends = sigmoid([middle - reach, middle + reach])
    low, high = (min(max(float((end * (of + 1) - 0.5) / of), 0.0), 1.0) for end in ends)
    return Estimate(value, low, high)


def percentile_interval(value: float, draws: np.ndarray) -> Estimate:
    """The middle 95 % of draws, stretched to the value; for draws that need no correction."""
    if np.isnan(value):
        return Estimate(None, reason="undefined on this test set")
    low, high = np.nanquantile(draws, ENDS)
    return Estimate(value, min(float(low), value), max(float(high), value))


def without_spread(resampled: Resampled, fewest: int) -> Estimate | None:
    """What is reported where draws show no spread, as `bca_interval` says; None where they do."""
    value, draws = resampled.value, _defined(resampled.draws)
    if np.isnan(value):
        return Estimate(None, reason="undefined on this test set")
    share = float(np.isnan(resampled.draws).mean())
    if share > MAX_UNDEFINED:
        return Estimate(value, reason=f"undefined in {percent(share)} of the bootstrap draws")
    if draws[0] == draws[-1] == value and value in (0.0, 1.0) and fewest:
        beyond = float(ENDS[0] ** (1 / fewest))
        return Estimate(value, beyond, 1.0) if value else Estimate(value, 0.0, 1 - beyond)
    if draws[0] == draws[-1]:
        return Estimate(value, reason="every bootstrap draw gives the same value; too few cases for an interval")
    return None


def _reach(freedom: float) -> float:
    """Standard errors to each side of a 95 % interval."""
    if not np.isfinite(freedom):
        return Z
    from scipy.special import stdtrit

    return float(stdtrit(max(freedom, 1.0), ENDS[1]))


def p_value(resampled: Resampled, null: float = 0.0) -> float | None:
    """Two-sided P value: one less the coverage of the BCa interval that just reaches a value.

    Args:
        resampled: From `resample`.
        null: The value that is doubted.

    Returns:
        Not below 1 / draws, or 2 / draws where no draw reaches the value; 1 where every draw is the null itself;
        None where there is no interval.

    Source: Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 16 on the achieved level.
    """
    draws = _defined(resampled.draws)
    if np.isnan(resampled.value) or len(draws) < (1 - MAX_UNDEFINED) * len(resampled.draws):
        return None
    if draws[0] == draws[-1]:
        return 1.0 if draws[0] == resampled.value == null else None
    if not draws[0] <= null <= draws[-1]:
        return min(1.0, 2 / len(draws))  # beyond every draw the corrections have nothing to go by
    bias, acceleration = _corrections(resampled, draws)
    normal = NormalDist()
    beyond = normal.inv_cdf(_share_below(draws, null)) - bias
    z = beyond / (1 + acceleration * beyond) - bias  # solved for the tail, `bca_interval` the other way round
    tail = _tail(z, resampled.freedom) if 1 + acceleration * beyond > 0 else float(beyond > 0)
    return min(1.0, max(2 * min(tail, 1 - tail), 1 / len(draws)))


def _tail(z: float, freedom: float) -> float:
    """Share below z, of the law whose quantiles `_reach` takes."""
    if not np.isfinite(freedom):
        return NormalDist().cdf(z)
    from scipy.special import stdtr

    return float(stdtr(max(freedom, 1.0), z))


def _defined(draws: np.ndarray) -> np.ndarray:
    return np.sort(draws[~np.isnan(draws)])


def _corrections(resampled: Resampled, draws: np.ndarray) -> tuple[float, float]:
    """Bias and acceleration; `draws` are the defined ones, sorted."""
    pull = np.nanmean(resampled.left_out) - resampled.left_out[~np.isnan(resampled.left_out)]
    spread = float((pull**2).sum())
    acceleration = float((pull**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    return NormalDist().inv_cdf(_share_below(draws, resampled.value)), acceleration


def _share_below(draws: np.ndarray, value: float) -> float:
    """Share of draws below a value, ties half, never quite 0 or 1."""
    below = (float((draws < value).sum()) + 0.5 * float((draws == value).sum())) / len(draws)
    return min(max(below, 1 / len(draws)), 1 - 1 / len(draws))
