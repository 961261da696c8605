"""What a score would be worth in use: net benefit, predictive values, abstention, prediction sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scan2gene.core.levels import ENDS
from scan2gene.stats.intervals import Estimate, Resampled, bootstrap_interval, percentile_interval

THRESHOLDS = np.round(np.arange(0.02, 0.99, 0.02), 2)
COVERAGES = np.round(np.arange(1.0, 0.05, -0.1), 1)
SET_CONFIDENCE = 0.9  # share of prediction sets that hold the true class

Array = np.ndarray


@dataclass(frozen=True)
class NetBenefit:
    """Of acting where the probability reaches a threshold, in true positives per row; acting on none is 0.

    Args:
        threshold: (T,) probability at which acting and not acting are worth the same.
        model: (T,) of the model.
        low: (T,) lower end of its 95 % interval.
        high: (T,) upper end.
        all_treated: (T,) of acting on everybody.
    """

    threshold: Array
    model: Array
    low: Array
    high: Array
    all_treated: Array


def net_benefit(y_true: Array, prob: Array, weights: Array, thresholds: Array = THRESHOLDS) -> NetBenefit:
    """Decision curve.

    Args:
        y_true: (N,) 0 or 1.
        prob: (N,) in [0, 1].
        weights: (D, N) how often each row is drawn in each bootstrap draw.
        thresholds: (T,) in (0, 1).

    Source: Vickers and Elkin 2006, "Decision curve analysis". Intervals are percentiles of the draws.
    """
    odds = thresholds / (1 - thresholds)
    acted = prob[:, None] >= thresholds  # (N, T)
    gain = acted * (y_true[:, None] - (1 - y_true)[:, None] * odds)
    draws = (weights @ gain) / weights.sum(axis=1, keepdims=True)
    low, high = np.quantile(draws, ENDS, axis=0)
    share = float(y_true.mean())
    return NetBenefit(thresholds, gain.mean(axis=0), low, high, share - (1 - share) * odds)


def useful_range(curve: NetBenefit) -> tuple[float, float] | None:
    """The widest stretch of thresholds at which the model's interval lies above acting on all and on none.

    A single threshold is no stretch: with so many, one lies above by luck.
    """
    above = curve.low > np.maximum(curve.all_treated, 0) + 1e-9
    best: tuple[float, float] | None = None
    start = None
    for index, yes in enumerate([*above, False]):
        if yes and start is None:
            start = index
        elif not yes and start is not None:
            stretch = float(curve.threshold[start]), float(curve.threshold[index - 1])
            longest = best[1] - best[0] if best else 0.0
            best = stretch if stretch[1] - stretch[0] > longest else best
            start = None
    return best


def predictive_values(recall: Resampled, specificity: Resampled, prevalence: float) -> tuple[Estimate, Estimate]:
    """Positive and negative predictive value at a prevalence that is not the cohort's.

    Args:
        recall: With its draws, such as those of `bayesian_bootstrap.cell_draws`.
        specificity: On the same draws.
        prevalence: Of positives among those on whom it is to be used, in (0, 1).

    Source: Bayes' rule; sensitivity and specificity are taken to be the same there, which a milder or
    more severe spectrum of disease would change.
    """
    right = _through(recall, specificity, lambda se, sp: _share(se * prevalence, (1 - sp) * (1 - prevalence)))
    spared = _through(recall, specificity, lambda se, sp: _share(sp * (1 - prevalence), (1 - se) * prevalence))
    return right, spared


def _through(first: Resampled, second: Resampled, rule: Callable[[Any, Any], Any]) -> Estimate:
    return percentile_interval(float(rule(first.value, second.value)), np.asarray(rule(first.draws, second.draws)))


def _share(these: Any, others: Any) -> Array:
    total = np.asarray(these + others, dtype=float)
    return np.divide(these, total, out=np.full_like(total, np.nan), where=total > 0)


@dataclass(frozen=True)
class Kept:
    """Error among the surest rows: share of rows that are kept, how many, and the share of wrong decisions."""

    coverage: float
    n: int
    error: Estimate


def risk_coverage(wrong: Array, sureness: Array, counts: Array, place: Array) -> list[Kept]:
    """How often decisions are wrong when the least sure are left to someone else.

    Args:
        wrong: (N,) 1 where the decision is wrong.
        sureness: (N,) distance of the log odds from those of the threshold.
        counts: (D, P) draws of patients.
        place: (N,) patient of each row.

    Returns:
        One entry per share of `COVERAGES`; rows that are equally sure stay together.

    Source: El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017.
    """
    order = np.sort(sureness)[::-1]
    points = []
    for coverage in COVERAGES:
        least = order[max(int(np.ceil(coverage * len(order) - 1e-9)), 1) - 1]
        kept = (sureness >= least).astype(float)
        over, under = (np.bincount(place, v, minlength=counts.shape[1]) for v in (kept * wrong, kept))

        def error(w: Array, over: Array = over, under: Array = under) -> Array:
            with np.errstate(invalid="ignore", divide="ignore"):
                return (w @ over) / (w @ under)

        points.append(Kept(float(kept.mean()), int(kept.sum()), bootstrap_interval(error, counts)))
    return points


def conformal_threshold(y_true: Array, prob: Array, confidence: float = SET_CONFIDENCE) -> float | None:
    """How improbable a class may be and still be in the prediction set, from validation patients.

    Args:
        y_true: (N,) 0 or 1.
        prob: (N,) of class 1.
        confidence: Share of new patients whose set is to hold their class.

    Returns:
        The k-th smallest of 1 - probability of the true class, k = ceil((N + 1) confidence); None where N is
        too small, and every set has to hold both classes.

    Source: split conformal prediction, Vovk, Gammerman and Shafer 2005; Angelopoulos and Bates 2021.
    """
    k = int(np.ceil((len(prob) + 1) * confidence - 1e-9))
    if k > len(prob):
        return None
    return float(np.sort(np.where(y_true == 1, 1 - prob, prob))[k - 1])


def conformal_sets(prob: Array, cut: float | None) -> tuple[Array, Array]:
    """Whether the set of each row holds class 1, and class 0: two (N,) of truth values."""
    if cut is None:
        return np.ones(len(prob), bool), np.ones(len(prob), bool)
    return 1 - prob <= cut, prob <= cut
