"""The prediction table to tables about probabilities: calibration, decisions, abstention, prediction sets.

Whatever is fitted, is fitted on validation patients: recalibration on those of all folds but the
tested ones, as thresholds are; prediction sets on the fold's own, since they are about one network. In a split without
a validation part both are fitted on the patients whom the other folds of the repeat test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.evaluate.ensemble import ALL
from scan2gene.evaluate.evaluate import fitting_rows, to_patients, with_decisions
from scan2gene.stats.bayesian_bootstrap import decision_draws
from scan2gene.stats.calibration import (
    RECALIBRATIONS,
    brier_parts,
    chance_calibration_error,
    expected_calibration_error,
    logit,
    slope_and_intercept,
)
from scan2gene.stats.decision import (
    SET_CONFIDENCE,
    conformal_sets,
    conformal_threshold,
    net_benefit,
    predictive_values,
    risk_coverage,
)
from scan2gene.stats.intervals import Estimate, bootstrap_interval
from scan2gene.stats.resampling import Sample

PLACE = ("run_id", "split", "target")
FIGURE = (*PLACE, "figure", "value", "low", "high", "reason")
AS_GIVEN = "as given"
FEW = 20  # patients to fit on, below which nothing is fitted; and test patients, below which nothing is said
COLUMNS: dict[str, tuple[str, ...]] = {
    "calibration": (*PLACE, "method", "n", "n_fitted", *FIGURE[3:]),
    "decision": (*PLACE, "threshold", "net_benefit", "low", "high", "act_on_all", "act_on_none"),
    "predictive_values": (*PLACE, "prevalence", *FIGURE[3:]),
    "abstention": (*PLACE, "coverage", "n", "error", "low", "high", "reason"),
    "conformal": (*PLACE, "confidence", "n", "n_fits", "n_fits_too_small", *FIGURE[3:]),
}


@dataclass(frozen=True)
class Place:
    """One run, split and target: its scored test rows, and the rows of `fitting_rows`, those of its folds."""

    run: str
    split: str
    target: str
    tested: pd.DataFrame
    others: pd.DataFrame
    validated: bool

    @property
    def key(self) -> dict[str, str]:
        """The first columns of every table."""
        return dict(zip(PLACE, (self.run, self.split, self.target), strict=True))

    @property
    def lacking(self) -> str:
        """Why nothing is said about these probabilities; empty where something is."""
        sample = Sample(self.tested)
        positives, n = sample.n_positive, sample.n_units
        if not 0 < positives < n:
            return f"{positives} positive among {n} labelled test patients; both classes are needed"
        if n < FEW:
            return f"{n} test patients are too few; at least {FEW} are needed"
        return no_probabilities(self.tested["prob"]) or sample.too_few


def no_probabilities(prob: pd.Series) -> str:
    """Why scores are none; empty where they lie in [0, 1]."""
    low, high = prob.min(), prob.max()
    return f"scores from {low:.3g} to {high:.3g} are no probabilities" if low < 0 or high > 1 else ""


def probability_tables(
    predictions: pd.DataFrame,
    thresholds: Sequence[Mapping[str, Any]],
    prevalence: Mapping[str, float],
    draws: int,
    seed: int,
) -> dict[str, pd.DataFrame]:
    """Tables by name, as `COLUMNS` lists them; a figure that cannot be estimated has its reason.

    Args:
        predictions: The prediction table.
        thresholds: thresholds.json.
        prevalence: Target -> share of positives where it is to be used.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for place in _places(predictions, thresholds):
        lacking = place.lacking
        if lacking:
            for name in COLUMNS:
                rows[name] += _nothing(name, place, lacking, prevalence)
            continue
        sample = Sample(place.tested)
        counts = sample.counts(draws, seed)
        _, patient = np.unique(place.tested["patient_id"], return_inverse=True)
        rows["calibration"] += _calibration(place, counts, patient, seed)
        rows["decision"] += _decision(place, counts, patient)
        if place.target in prevalence:
            rows["predictive_values"] += _values(place, sample, prevalence[place.target], draws, seed)
        rows["abstention"] += _abstention(place, counts, patient)
        rows["conformal"] += _conformal(place, counts, patient)
    return {name: pd.DataFrame(rows[name], columns=list(columns)) for name, columns in COLUMNS.items()}


def _places(predictions: pd.DataFrame, thresholds: Sequence[Mapping[str, Any]]) -> Iterator[Place]:
    patients = to_patients(predictions[predictions["variant"] == "original"])
    patients = patients[patients["fold"] != ALL]
    cuts = [dict(t) for t in thresholds]
    decided = with_decisions(patients[patients["part"] == "test"], cuts).dropna(subset=["y_true", "prob"])
    for (run, split, target), own in patients.groupby(list(PLACE)):
        tested = own[(own["part"] == "test") & own["y_true"].notna()]
        if len(tested):
            others = fitting_rows(own)[0].dropna(subset=["y_true", "prob"])
            validated = bool((own["part"] == "validation").any())
            yield Place(run, split, target, decided.loc[decided.index.intersection(tested.index)], others, validated)


def _nothing(name: str, place: Place, lacking: str, prevalence: Mapping[str, float]) -> list[dict[str, Any]]:
    """One row that says why there are no others."""
    if name == "decision" or (name == "predictive_values" and place.target not in prevalence):
        return []  # a curve has no place for a reason; calibration.csv has it
    return [{**place.key, "figure": "all" if "figure" in COLUMNS[name] else None, "reason": lacking}]


def _figures(base: Mapping[str, Any], found: Mapping[str, Estimate]) -> list[dict[str, Any]]:
    return [{**base, "figure": name, **vars(estimate)} for name, estimate in found.items()]


def _calibration(place: Place, counts: np.ndarray, patient: np.ndarray, seed: int) -> list[dict[str, Any]]:
    rows = []
    y = place.tested["y_true"].to_numpy(float)
    mended, fitted, reasons = recalibrated(place.tested, place.others)
    for method, prob in {AS_GIVEN: place.tested["prob"].to_numpy(float), **mended}.items():
        base = {**place.key, "method": method, "n": place.tested["patient_id"].nunique(),
                "n_fitted": 0 if method == AS_GIVEN else fitted}  # fmt: skip
        rows += _figures(base, of_probabilities(y, prob, patient, counts, seed))
    rows += [
        {**place.key, "method": m, "n": place.tested["patient_id"].nunique(), "n_fitted": fitted, "figure": "all",
         "reason": reason}
        for m, reason in reasons.items()
    ]  # fmt: skip
    return rows


def of_probabilities(
    y: np.ndarray, prob: np.ndarray, patient: np.ndarray, counts: np.ndarray, seed: int
) -> dict[str, Estimate]:
    """Calibration figures by name.

    Args:
        y: Truth (N,).
        prob: Probabilities (N,) in [0, 1].
        patient: Number (N,) of the row's patient, of P.
        counts: Bootstrap draws (D, P): how often each patient counts.
        seed: Of the probabilities' own luck.
    """
    parts, (slope, intercept) = brier_parts(y, prob), slope_and_intercept(y, prob, patient)
    error, luck = expected_calibration_error(y, prob), chance_calibration_error(prob, patient, seed)
    return {
        "slope": slope,
        "intercept": intercept,
        "brier": bootstrap_interval(_mean_of((prob - y) ** 2, patient, counts.shape[1]), counts),
        "brier_reliability": Estimate(parts.reliability),
        "brier_resolution": Estimate(parts.resolution),
        "brier_uncertainty": Estimate(parts.uncertainty),
        "brier_within_bins": Estimate(parts.within),
        "ece": Estimate(error),
        "ece_if_calibrated": Estimate(*luck),
    }


def _mean_of(values: np.ndarray, patient: np.ndarray, patients: int) -> Any:
    """The mean of a column as a function of how often each patient counts."""
    over, under = (np.bincount(patient, v, minlength=patients) for v in (values, np.ones(len(values))))
    return lambda w: (w @ over) / (w @ under)


def recalibrated(tested: pd.DataFrame, others: pd.DataFrame) -> tuple[dict[str, np.ndarray], int, dict[str, str]]:
    """Probabilities of test rows, recalibrated by what patients of `fitting_rows` say, the fold's own tested left out.

    Returns:
        Method -> (N,); the fewest patients that a fold's fit had; method -> why it was not fitted.
    """
    out = {m: np.full(len(tested), np.nan) for m in RECALIBRATIONS}
    fewest = None
    for (repeat, _), rows in tested.reset_index(drop=True).groupby(["repeat", "fold"]):
        own = others[others["repeat"] == repeat]
        known = own[~own["patient_id"].isin(rows["patient_id"])]
        y, prob = known["y_true"].to_numpy(float), known["prob"].to_numpy(float)
        n = known["patient_id"].nunique()
        fewest = n if fewest is None else min(fewest, n)
        if n < FEW or not 0 < y.sum() < len(y):
            why = (f"a fold has {n} other patients to fit on, {int(y.sum())} of {len(y)} rows positive; {FEW} "
                   "patients and both classes are needed")  # fmt: skip
            return {}, fewest, dict.fromkeys(RECALIBRATIONS, why)
        for method, fit in RECALIBRATIONS.items():
            out[method][rows.index] = fit(y, prob)(rows["prob"].to_numpy(float))
    return out, fewest or 0, {}


def _decision(place: Place, counts: np.ndarray, patient: np.ndarray) -> list[dict[str, Any]]:
    y, prob = (place.tested[c].to_numpy(float) for c in ("y_true", "prob"))
    curve = net_benefit(y, prob, counts[:, patient])
    columns = zip(curve.threshold, curve.model, curve.low, curve.high, curve.all_treated, strict=True)
    names = ("threshold", "net_benefit", "low", "high", "act_on_all")
    return [
        {**place.key, **dict(zip(names, map(float, values), strict=True)), "act_on_none": 0.0} for values in columns
    ]


def _values(place: Place, sample: Sample, prevalence: float, draws: int, seed: int) -> list[dict[str, Any]]:
    drawn = sample.resampled(["recall", "specificity"], draws, seed)
    rates = [decision_draws(m, sample.cell_draws(draws, seed)) for m in drawn]
    recall, specificity = (replace(d, draws=r) for d, r in zip(drawn.values(), rates, strict=True))
    found = predictive_values(recall, specificity, prevalence)
    base = {**place.key, "prevalence": prevalence}
    return _figures(base, dict(zip(("positive_predictive_value", "negative_predictive_value"), found, strict=True)))


def _abstention(place: Place, counts: np.ndarray, patient: np.ndarray) -> list[dict[str, Any]]:
    table = place.tested
    sure = np.abs(logit(table["prob"].to_numpy(float)) - logit(table["threshold"].to_numpy(float)))
    wrong = (table["decision"] != table["y_true"]).to_numpy(float)
    return [
        {**place.key, "coverage": kept.coverage, "n": kept.n, "error": kept.error.value, "low": kept.error.low,
         "high": kept.error.high, "reason": kept.error.reason}
        for kept in risk_coverage(wrong, sure, counts, patient)
    ]  # fmt: skip


def _conformal(place: Place, counts: np.ndarray, patient: np.ndarray) -> list[dict[str, Any]]:
    table = place.tested.reset_index(drop=True)
    positive, negative = np.zeros(len(table), bool), np.zeros(len(table), bool)
    fits = small = 0
    for (repeat, fold), rows in table.groupby(["repeat", "fold"]):
        own = place.others[place.others["repeat"] == repeat]
        own = own[own["fold"] == fold] if place.validated else own[~own["patient_id"].isin(rows["patient_id"])]
        cut = conformal_threshold(own["y_true"].to_numpy(float), own["prob"].to_numpy(float))
        fits, small = fits + 1, small + (cut is None)
        positive[rows.index], negative[rows.index] = conformal_sets(rows["prob"].to_numpy(float), cut)
    y = table["y_true"].to_numpy(float)
    holds = np.where(y == 1, positive, negative).astype(float)
    base = {**place.key, "confidence": SET_CONFIDENCE, "n": table["patient_id"].nunique(), "n_fits": fits,
            "n_fits_too_small": small}  # fmt: skip
    if small == fits:
        needed = int(np.ceil(SET_CONFIDENCE / (1 - SET_CONFIDENCE) - 1e-9))
        why = f"every fold has fewer than {needed} other patients to learn from, so every set holds both classes"
        return [{**base, "figure": "all", "reason": why}]
    patients, groups = counts.shape[1], {"coverage": y >= 0, "coverage_positive": y == 1, "coverage_negative": y == 0}
    found = {
        name: bootstrap_interval(_mean_of_some(holds, inside.astype(float), patient, patients), counts)
        for name, inside in groups.items()
    }
    sizes = {"one_class": positive ^ negative, "both_classes": positive & negative, "no_class": ~positive & ~negative}
    found |= {name: Estimate(float(share.mean())) for name, share in sizes.items()}
    return _figures(base, found)


def _mean_of_some(values: np.ndarray, inside: np.ndarray, patient: np.ndarray, patients: int) -> Any:
    over, under = (np.bincount(patient, v, minlength=patients) for v in (values * inside, inside))

    def mean(w: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (w @ over) / (w @ under)

    return mean
