"""A network in groups of patients, and the largest gap between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pandas as pd

from scan2gene.core.levels import ALPHA, MIN_CLASS_PATIENTS, Z
from scan2gene.core.text import estimate_text
from scan2gene.evaluate.shortcuts import Figure, measured
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.resampling import Sample

MOST_GROUPS = 8


def subgroups(
    network: Figure, scores: pd.DataFrame, columns: Mapping[str, pd.Series], draws: int, seed: int
) -> Iterator[Figure]:
    """A network's AUROC in groups of patients, and the largest gap between two of a column.

    Args:
        network: Its figure on all.
        scores: Behind it.
        columns: Name -> group of each patient_id; see `grouped`.
        draws: Bootstrap draws.
        seed: Of the draws.
    """
    where = (network.split, network.target, network.run)
    for column, group in columns.items():
        own = scores["patient_id"].map(group)
        names = [n for n in sorted(own.dropna().unique(), key=str) if n != ""][:MOST_GROUPS]
        if len(names) < 2:
            continue
        found = [_in_group(where, scores[own == name], f"{column}: {name}", draws, seed) for name in names]
        yield from found
        known = [f for f in found if f.estimate.low is not None]
        if len(known) > 1:
            yield _gap(where, column, known)


def _in_group(where: tuple[str, str, str], rows: pd.DataFrame, of: str, draws: int, seed: int) -> Figure:
    sample = Sample(rows)
    if sample.fewest < MIN_CLASS_PATIENTS:
        reason = f"it has {sample.fewest} patients of the rarer class, and {MIN_CLASS_PATIENTS} are needed"
        split, target, run = where
        figure = Figure("subgroup", split, target, run, of, Estimate(None, reason=reason),
                        sample.n_patients, sample.n_positive)  # fmt: skip
    else:
        figure = measured("subgroup", where, rows, draws, seed, of)
    value = figure.estimate
    told = f"cannot be estimated, because {value.reason}" if value.value is None else f"AUROC {estimate_text(value)}"
    return replace(figure, told=f"{of}, {figure.n} patients: {told}.")


def _gap(where: tuple[str, str, str], column: str, known: list[Figure]) -> Figure:
    """Best less worst group; the interval allows for having chosen them out of all pairs (Bonferroni)."""
    best = max(known, key=lambda f: f.estimate.value or 0)
    worst = min(known, key=lambda f: f.estimate.value or 0)
    pairs = len(list(combinations(known, 2)))
    errors = [((f.estimate.high or 0) - (f.estimate.low or 0)) / (2 * Z) for f in (best, worst)]
    reach = NormalDist().inv_cdf(1 - ALPHA / (2 * pairs)) * float(np.hypot(errors[0], errors[1]))
    value = (best.estimate.value or 0) - (worst.estimate.value or 0)
    split, target, run = where
    gap = Estimate(value, value - reach, value + reach)
    sure = "which is more than chance gives" if value - reach > 0 else "which chance alone can give"
    told = (
        f"{column}: the largest gap is {estimate_text(gap)}, between "
        f"{best.of.partition(': ')[2]} and {worst.of.partition(': ')[2]}, {sure}."
    )
    return Figure("gap", split, target, run, column, gap, best.n + worst.n, 0, told=told)


def grouped(values: pd.Series) -> pd.Series:
    """Groups of patients by a column: words and few numbers as they are, more numbers cut at their median."""
    if not pd.api.types.is_numeric_dtype(values):
        return values.where(values.notna() & (values != ""), None)
    if values.nunique() <= 5:
        return values.map(lambda v: None if pd.isna(v) else f"{v:g}")
    middle = float(values.median())
    return values.map(lambda v: None if pd.isna(v) else f"up to {middle:.4g}" if v <= middle else f"above {middle:.4g}")
