"""Exams whose pixels may show a name."""

from __future__ import annotations

import pandas as pd

BURNED_IN = ("yes", "possible")  # as series.csv has it, worst first


def burned_in(cohort: pd.DataFrame, series: pd.DataFrame) -> dict[str, int]:
    """Exams by the worst flag of the series that play a role in them.

    Args:
        cohort: cohort.csv.
        series: series.csv; without a column `burned_in` nothing is flagged.

    Returns:
        "yes" and "possible" -> exams; empty when there are none.
    """
    if "burned_in" not in series.columns:
        return {}
    flag = series.set_index("series_id")["burned_in"]
    roles = cohort[[c for c in cohort.columns if c.startswith("role:")]]
    flags = roles.apply(lambda column: column.map(flag))
    left = pd.Series(True, index=cohort.index)
    counts = {}
    for word in BURNED_IN:
        hit = left & (flags == word).any(axis=1)
        left &= ~hit
        counts[word] = int(hit.sum())
    return {word: n for word, n in counts.items() if n}
