"""Whether an exam looks like those that networks were trained on: learned ranges, and why one is outside.

Each measure of a role has the range that training exams span, widened by `widening` times their
interquartile range. The widening is the smallest at which at most `REFUSED_SHARE` of the training
exams, each judged by ranges learned without it, would be refused; it is kept between two limits.
With few exams that share cannot be shown to hold, so `Ranges.summary` says how much is known.

Source: the left-out exams are jackknife conformity scores, Barber et al. 2021, "Predictive inference
with the jackknife+", with the largest excess of any measure for the score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.text import percent
from scan2gene.stats.proportions import upper_limit

REFUSED_SHARE = 0.01  # of exams like those of training
LEAST_EXAMS = 5  # of a role; below, ranges say nothing and it is not judged
WIDENINGS = (0.5, 3.0)  # interquartile ranges; a single odd training exam must not open every range

# Measure -> words, unit, and what its widening is based on at least: a share of its median, or an amount.
_MM = ("mm", 0.1, 0.0)
NUMBERS: dict[str, tuple[str, str, float, float]] = {
    "spacing_slice_mm": ("slice spacing", *_MM),
    "spacing_fine_mm": ("in-plane spacing", *_MM),
    "spacing_coarse_mm": ("in-plane spacing (coarser axis)", *_MM),
    "slices": ("number of slices", "", 0.1, 2.0),
    "field_R-L_mm": ("field of view R-L", *_MM),
    "field_A-P_mm": ("field of view A-P", *_MM),
    "field_S-I_mm": ("field of view S-I", *_MM),
    "mean": ("mean grey value", "", 0.0, 0.0),
    "sd": ("standard deviation of grey values", "", 0.0, 0.0),
    "p1": ("1st percentile of grey values", "", 0.0, 0.0),
    "p25": ("25th percentile of grey values", "", 0.0, 0.0),
    "p50": ("median grey value", "", 0.0, 0.0),
    "p75": ("75th percentile of grey values", "", 0.0, 0.0),
    "p99": ("99th percentile of grey values", "", 0.0, 0.0),
    "at_minimum": ("share of voxels at the minimum", "", 0.0, 0.02),
    "roughness": ("roughness (step between neighbours in standard deviations)", "", 0.1, 0.0),
    "likeness": ("correlation with the mean training volume", "", 0.0, 0.02),
    "marked_mm3": ("marked volume", "mm3", 0.1, 0.0),
}
_GREY = ("mean", "sd", "p1", "p25", "p50", "p75", "p99")
GREY_MEASURES = (*_GREY, "at_minimum", "roughness")  # of a prepared volume
_GREY_SHARE = 0.02  # of the middle exam's grey range: what rounding and interpolation may move
WORDS = {"plane": "plane", "orientation": "orientation", "sequence": "sequence"}


@dataclass(frozen=True)
class Ranges:
    """What training exams look like.

    Args:
        exams: How many.
        refused: How many of them would be refused by ranges learned from the others.
        widening: In interquartile ranges.
        numbers: Role -> measure -> smallest, largest, and the unit of widening.
        words: Role -> measure -> the words that occur.
        present: Role -> number of exams that have it.
    """

    exams: int
    refused: int
    widening: float
    numbers: dict[str, dict[str, tuple[float, float, float]]]
    words: dict[str, dict[str, list[str]]]
    present: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Ranges:
        """From `as_json`."""
        numbers = {r: {m: (v[0], v[1], v[2]) for m, v in ms.items()} for r, ms in values["numbers"].items()}
        return cls(**{**values, "numbers": numbers})

    def summary(self) -> str:
        """How many exams stand behind the ranges and how often they would refuse one like these."""
        if not any(self.numbers.values()):
            return f"with {self.exams} training exams what is unlike them is not judged"
        at_most = upper_limit(self.refused, self.exams)
        return (
            f"ranges of {self.exams} training exams, widened by {self.widening:.2g} interquartile ranges; of training "
            f"exams judged without themselves {self.refused} would be refused, so of exams like these at most "
            f"{percent(at_most)} (95 % confidence)"
        )


def learn(table: pd.DataFrame) -> Ranges:
    """Ranges of training exams.

    Args:
        table: One row per exam and role that it has: exam_id, role, measures of `NUMBERS` (NaN
            where unknown) and `WORDS` ("" where unknown).
    """
    exams = sorted(table["exam_id"].unique())
    scores = pd.Series(0.0, index=exams)
    numbers: dict[str, dict[str, tuple[float, float, float]]] = {}
    words: dict[str, dict[str, list[str]]] = {}
    present = {str(role): len(rows) for role, rows in table.groupby("role", sort=False)}
    for name, rows in table.groupby("role", sort=False):
        role, rows = str(name), rows.set_index("exam_id")
        numbers[role], words[role] = {}, {}
        if len(rows) < LEAST_EXAMS:
            continue
        floors = _floors(rows)
        for measure in [m for m in NUMBERS if m in rows and rows[m].notna().sum() >= LEAST_EXAMS]:
            values = rows[measure].dropna()
            array = values.to_numpy(float)
            unit = max(_iqr(array), floors[measure])
            numbers[role][measure] = (float(array.min()), float(array.max()), unit)
            excess = pd.Series(_left_out(array, floors[measure], measure), index=values.index)
            scores = np.maximum(scores, excess.reindex(exams).fillna(0.0))
        for measure in [m for m in WORDS if m in rows]:
            known = rows[measure][rows[measure] != ""]
            if known.empty:
                continue
            words[role][measure] = sorted(known.unique())
            alone = known.index[known.map(known.value_counts()) == 1]
            scores[alone] = np.inf
    widening = _widening(scores.to_numpy())
    return Ranges(len(exams), int((scores > widening).sum()), widening, numbers, words, present)


def judge(rows: pd.DataFrame, ranges: Ranges) -> list[str]:
    """Why an exam is unlike training exams; empty: it is like them.

    Args:
        rows: Of one exam, as for `learn`.
        ranges: Learned.
    """
    reasons = []
    here = {row["role"]: row for row in rows.to_dict("records")}
    for role, seen in ranges.present.items():
        if role not in here:
            if seen == ranges.exams >= LEAST_EXAMS:
                reasons.append(f"{role} is absent, and every training exam had it")
            continue
        row = here[role]
        for measure, known in ranges.words[role].items():
            if row.get(measure) and row[measure] not in known:
                what = f"{WORDS[measure]} {row[measure]}"
                reasons.append(f"{role}: {what} was not seen in training ({', '.join(known)})")
        for measure, (low, high, unit) in ranges.numbers[role].items():
            value = row.get(measure)
            room = ranges.widening * unit
            if value is None or np.isnan(value):
                continue
            if value < low - room or (value > high + room and measure != "likeness"):
                reasons.append(f"{role}: {_outside(measure, float(value), low, high)}")
    return reasons


def _outside(measure: str, value: float, low: float, high: float) -> str:
    words, unit, _, _ = NUMBERS[measure]
    digits = _digits(value, low, high) if measure != "slices" else 0
    between = f"{low:.{digits}f} to {high:.{digits}f}{f' {unit}' if unit else ''}"
    return f"{words} {value:.{digits}f}{f' {unit}' if unit else ''} is outside what training saw ({between})"


def _digits(*values: float) -> int:
    """Decimals that show about three digits of the largest."""
    largest = max(abs(v) for v in values)
    return int(np.clip(2 - np.floor(np.log10(largest)), 0, 4)) if largest > 0 else 0


def _floors(rows: pd.DataFrame) -> dict[str, float]:
    """The least unit of widening of each measure: where all training exams agree, small differences pass."""
    grey = float((rows["p99"] - rows["p1"]).median()) if {"p1", "p99"} <= set(rows) else 0.0
    floors = {}
    for measure, (_, _, share, amount) in NUMBERS.items():
        if measure in rows:
            of_range = _GREY_SHARE * grey if measure in _GREY and np.isfinite(grey) else 0.0
            floors[measure] = max(share * abs(float(rows[measure].median())), amount, of_range, 1e-12)
    return floors


def _iqr(values: np.ndarray) -> float:
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def _left_out(values: np.ndarray, floor: float, measure: str) -> np.ndarray:
    """How far each value lies outside the range of the others, in their units of widening; 0 inside."""
    order = np.argsort(values, kind="stable")
    ranked, n = values[order], len(values)
    place = np.arange(n)

    def percentile(share: float) -> np.ndarray:
        """Of the others, for each value left out: linear between order statistics."""
        at = (n - 2) * share
        below, rest = int(at), at - int(at)
        first = ranked[below + (place <= below)]
        second = ranked[np.minimum(below + 1 + (place <= below + 1), n - 1)]
        return first + rest * (second - first)

    unit = np.maximum(percentile(0.75) - percentile(0.25), floor)
    low, high = np.where(place == 0, ranked[1], ranked[0]), np.where(place == n - 1, ranked[-2], ranked[-1])
    above = 0.0 if measure == "likeness" else (ranked - high) / unit
    excess = np.empty(n)
    excess[order] = np.maximum(np.maximum((low - ranked) / unit, above), 0.0)
    return excess


def _widening(scores: np.ndarray) -> float:
    """The smallest widening that refuses at most the stated share of left-out exams, between its limits."""
    if not len(scores):
        return WIDENINGS[1]
    allowed = int(REFUSED_SHARE * len(scores))
    needed = np.sort(scores)[len(scores) - 1 - allowed]
    return float(np.clip(needed, *WIDENINGS))
