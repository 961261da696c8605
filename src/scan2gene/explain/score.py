"""A map is scored, not admired: how much of it lies in the lesion, and does it depend on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.stats.intervals import Estimate, bootstrap_counts, bootstrap_interval

SCORE_COLUMNS = (
    "run_id", "split", "target", "method", "measure", "step", "value", "low", "high", "n", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class Hit:
    """How a map lies to a lesion.

    Args:
        energy: Share of the map's sum that is inside the lesion.
        fraction: The lesion's share of the field, which is what a map without aim gives.
        pointing: 1 when the map's largest value is inside, else 0; shares of equal maxima count in part.
    """

    energy: float
    fraction: float
    pointing: float


def hit(array: np.ndarray, lesion: np.ndarray) -> Hit | None:
    """Score one map.

    Args:
        array: Not negative, any shape.
        lesion: Of the same shape, True inside.

    Returns:
        None where the map is all 0 or the lesion is not in the field.

    Source: Wang 2020, "Score-CAM" (energy-based pointing game); Zhang 2018, "Top-down
    neural attention by excitation backprop" (pointing game).
    """
    total = float(array.sum(dtype=np.float64))
    if not total > 0 or not lesion.any():
        return None
    top = array == array.max()
    return Hit(float(array[lesion].sum(dtype=np.float64)) / total, float(lesion.mean()), float(lesion[top].mean()))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps; None where one of them has a single value only."""
    from scipy.stats import rankdata

    if one.min() == one.max() or other.min() == other.max():
        return None
    ranks = np.stack([rankdata(one.ravel()), rankdata(other.ravel())])
    return float(np.corrcoef(ranks)[0, 1])


def summary(maps: pd.DataFrame, randomised: pd.DataFrame, draws: int, seed: int) -> pd.DataFrame:
    """Scores by run, split, target and method, each patient counting once.

    Args:
        maps: maps.csv; rows with `drawn` are the random sample of patients.
        randomised: randomised.csv.
        draws: Bootstrap draws behind an interval.
        seed: Of the draws.

    Returns:
        Columns `SCORE_COLUMNS`. `energy_ratio` is the mean share of energy inside the lesion
        over the mean share of the field that the lesion fills: 1 without aim.
        `energy_ratio_random` is the same of a network with random weights. `rank_correlation`
        is the mean over exams after a `step` of the randomisation, such as "2 of 6" layers.
    """
    keys = ["run_id", "split", "target", "method"]
    rows: list[dict[str, Any]] = []
    for key, group in maps[maps["drawn"]].groupby(keys, sort=False):
        base = dict(zip(keys, key, strict=True)) | {"step": ""}
        for measure, top, bottom in (
            ("energy", "energy", None),
            ("lesion_fraction", "lesion_fraction", None),
            ("energy_ratio", "energy", "lesion_fraction"),
            ("energy_ratio_random", "energy_random", "lesion_fraction"),
            ("pointing", "pointing", None),
        ):
            used = group.dropna(subset=[top, *([bottom] if bottom else [])])
            rows.append({**base, "measure": measure, "n": len(used), **vars(_ratio(used, top, bottom, draws, seed))})
    for key, group in randomised.groupby([*keys, "step"], sort=False):
        base = dict(zip([*keys, "step"], key, strict=True)) | {"measure": "rank_correlation"}
        known = group.dropna(subset=["correlation"])
        found = Estimate(float(known["correlation"].mean())) if len(known) else Estimate(None, reason="no map left")
        rows.append({**base, "n": len(known), **vars(found)})
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


def _ratio(table: pd.DataFrame, top: str, bottom: str | None, draws: int, seed: int) -> Estimate:
    """Mean of a column, or ratio of two means, with a patient-bootstrap interval."""
    if table.empty:
        return Estimate(None, reason="no map of a patient with a lesion mask could be scored")
    over = table[top].to_numpy(float)
    under = table[bottom].to_numpy(float) if bottom else np.ones(len(table))
    if len(table) == 1:
        return Estimate(float(over[0] / under[0]), reason="one patient only, so there is no interval")
    counts = bootstrap_counts(np.zeros(len(table)), draws, seed)
    return bootstrap_interval(lambda w: (w @ over) / (w @ under), counts)
