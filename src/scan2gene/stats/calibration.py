"""Can probabilities be taken at their word? Slope, intercept, ECE, the Brier score's parts, and what mends them.

Rows are patients, or sides, perhaps in several repeats; `patient` says which rows belong together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scan2gene.core.levels import ENDS, Z
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.linear import logistic_regression, logit, sigmoid

BIN_SIZE = 20  # rows in a bin, at least
MAX_BINS = 10
_FINITE = 1e-6  # probabilities nearer to 0 or 1 count as this, where a logit is needed

Array = np.ndarray


def log_odds(prob: Array) -> Array:
    """Log odds; 0 and 1 are held a little away from infinity."""
    return logit(prob, _FINITE)


def bins_of(prob: Array) -> Array:
    """The bin of each row (N,): up to ten of equal size, each of at least 20 rows where there are so many.

    Equal probabilities share a bin.
    """
    bins = max(1, min(MAX_BINS, len(prob) // BIN_SIZE))
    edges = np.percentile(prob, np.linspace(0, 100, bins + 1))
    return np.unique(np.searchsorted(edges[1:-1], prob), return_inverse=True)[1]


@dataclass(frozen=True)
class Brier:
    """The Brier score and its parts: score = reliability - resolution + uncertainty + within.

    Args:
        score: Mean squared difference of probability and truth.
        reliability: Of bins, squared difference of mean probability and share of positives; 0 is best.
        resolution: How far the bins' shares lie from the prevalence; large is good.
        uncertainty: Prevalence times its complement: what guessing the prevalence scores.
        within: What differences inside bins add, or take away.
    """

    score: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


def brier_parts(y_true: Array, prob: Array) -> Brier:
    """Murphy's decomposition in the bins of `bins_of`.

    Source: Murphy 1973; parts inside bins, Stephenson, Coelho and Jolliffe 2008.
    """
    n, given, met = _by_bin(y_true, prob)
    share = n / n.sum()
    overall = float(y_true.mean())
    score = float(((prob - y_true) ** 2).mean())
    reliability = float((share * (given - met) ** 2).sum())
    resolution = float((share * (met - overall) ** 2).sum())
    uncertainty = overall * (1 - overall)
    return Brier(score, reliability, resolution, uncertainty, score - reliability + resolution - uncertainty)


def _by_bin(y_true: Array, prob: Array) -> tuple[Array, Array, Array]:
    place = bins_of(prob)
    n = np.bincount(place)
    return n, np.bincount(place, prob) / n, np.bincount(place, y_true) / n


def expected_calibration_error(y_true: Array, prob: Array) -> float:
    """Expected calibration error: mean distance of probability and share of positives over the bins of `bins_of`.

    Source: Naeini, Cooper and Hauskrecht 2015; bins of equal size, Nixon et al. 2019.
    """
    n, given, met = _by_bin(y_true, prob)
    return float((n * np.abs(given - met)).sum() / n.sum())


def chance_calibration_error(prob: Array, patient: Array, seed: int, draws: int = 400) -> tuple[float, float, float]:
    """Expected calibration error of perfect probabilities on as many patients: mean, and 95 % of the draws.

    The error is never 0 on finite data. Rows of a patient get the same luck.
    """
    place = bins_of(prob)
    n = np.bincount(place)
    _, whose = np.unique(patient, return_inverse=True)
    luck = np.random.default_rng(seed).random((draws, int(whose.max()) + 1))[:, whose]
    in_bin = (place[:, None] == np.arange(len(n))).astype(float)  # (N, B)
    apart = (prob - (luck < prob)) @ in_bin
    errors = np.abs(apart).sum(axis=1) / n.sum()
    low, high = np.quantile(errors, ENDS)
    return float(errors.mean()), float(low), float(high)


def slope_and_intercept(y_true: Array, prob: Array, patient: Array) -> tuple[Estimate, Estimate]:
    """Calibration slope, and calibration in the large.

    Args:
        y_true: (N,) 0 or 1.
        prob: (N,) in [0, 1].
        patient: (N,) whose rows are not independent.

    Returns:
        The slope of the log odds of truth on those given: 1 is right, below 1 they are too extreme. The
        intercept with the slope held at 1: above 0, positives are more frequent than said. 95 % intervals
        are normal, with a variance clustered by patient.

    Source: Cox 1958; Van Calster et al. 2019, "Calibration: the Achilles heel of predictive analytics";
    variance, Liang and Zeger 1986.
    """
    if not 0 < y_true.sum() < len(y_true):
        nothing = Estimate(None, reason="both classes are needed")
        return nothing, nothing
    x, ones = log_odds(prob), np.ones((len(prob), 1))
    intercept = _clustered(ones, y_true, x, patient)
    if np.ptp(x) == 0:
        return Estimate(None, reason="all probabilities are equal"), intercept
    return _clustered(np.c_[ones, x], y_true, np.zeros(len(x)), patient), intercept


def _clustered(columns: Array, y_true: Array, offset: Array, patient: Array) -> Estimate:
    """The last coefficient of a logistic regression, with an interval that allows for rows of one patient."""
    beta = logistic_regression(columns, y_true, offset=offset)
    p = sigmoid(offset + columns @ beta)
    curve = (columns * (p * (1 - p))[:, None]).T @ columns
    if not np.isfinite(beta).all() or not np.linalg.cond(curve) < 1e12:
        return Estimate(None, reason="a cut on the probability separates the classes wholly")
    names, whose = np.unique(patient, return_inverse=True)
    scores = np.zeros((len(names), len(beta)))
    np.add.at(scores, whose, columns * (y_true - p)[:, None])
    inverse = np.linalg.inv(curve)
    few = len(names) / max(len(names) - 1, 1)
    value, error = float(beta[-1]), float(np.sqrt((inverse @ (scores.T @ scores) @ inverse)[-1, -1] * few))
    if not error > 0:
        return Estimate(value, reason="no spread to estimate")
    return Estimate(value, value - Z * error, value + Z * error)


# what is fitted on validation patients and mends probabilities of test patients


def fit_temperature(y_true: Array, prob: Array) -> Callable[[Array], Array]:
    """One factor of the log odds. Source: Guo et al. 2017, with Platt's targets, so that it stays finite."""
    (factor,) = _fit(log_odds(prob)[:, None], y_true)
    return lambda p: sigmoid(factor * log_odds(p))


def fit_platt(y_true: Array, prob: Array) -> Callable[[Array], Array]:
    """A factor and a shift of the log odds. Source: Platt 1999."""
    x = log_odds(prob)
    shift, factor = _fit(np.stack([np.ones(len(x)), x], axis=1), y_true)
    return lambda p: sigmoid(shift + factor * log_odds(p))


def fit_isotonic(y_true: Array, prob: Array) -> Callable[[Array], Array]:
    """The best rising curve, straight between its points, level beyond its ends. Source: Zadrozny and Elkan 2002."""
    from scipy.optimize import isotonic_regression

    at, place, n = np.unique(prob, return_inverse=True, return_counts=True)
    curve = isotonic_regression(np.bincount(place, y_true) / n, weights=n).x
    return lambda p: np.interp(p, at, curve)


def _fit(columns: Array, y_true: Array) -> Array:
    """Logistic coefficients for Platt's targets, (N+ + 1) / (N+ + 2) and 1 / (N- + 2)."""
    positives, negatives = float(y_true.sum()), float((1 - y_true).sum())
    aim = np.where(y_true == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    return logistic_regression(columns, aim, start=np.eye(columns.shape[1])[-1])


RECALIBRATIONS: dict[str, Callable[[Array, Array], Callable[[Array], Array]]] = {
    "temperature": fit_temperature,
    "platt": fit_platt,
    "isotonic": fit_isotonic,
}
