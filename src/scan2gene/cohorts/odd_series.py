"""What is odd about the series that play a role, in lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from scan2gene.core.text import dimensions, listed

OUTLIER = 3.0  # times the middle field of view of a role, or one such part of it
_NAMED = 5  # patients named in a line


def odd_series(cohort: pd.DataFrame, series: pd.DataFrame) -> Iterator[str]:
    """Notes of the index, and fields of view unlike those of the same role.

    Args:
        cohort: cohort.csv's rows.
        series: series.csv.

    Yields:
        One line per role and kind of oddity.
    """
    known = series.set_index("series_id")
    for column in [c for c in cohort.columns if c.startswith("role:")]:
        role = column.removeprefix("role:")
        rows = cohort[cohort[column].isin(known.index)]
        own = known.loc[rows[column]]
        notes = own["note"].fillna("") if "note" in own else pd.Series("", index=own.index)
        for note, count in notes[notes != ""].value_counts().items():
            yield f"{role}: {count} of {len(own)} series: {note}"
        fields = np.array([_field_mm(row) for row in own.to_dict("records")], float).reshape(-1, 3)
        odd = unlike(fields)
        if odd.any():
            middle, first = (dimensions(np.rint(f)) for f in (np.median(fields, axis=0), fields[odd][0]))
            patients = listed(sorted(set(rows["patient_id"][odd])), most=_NAMED)
            yield (
                f"{role}: a field of view over {OUTLIER:g} times larger or smaller than the middle one, {middle} mm, "
                f"in {patients} (first: {first} mm): is the voxel size in the header right? cohort.exclude_file leaves "
                "patients out"
            )


def unlike(sizes: np.ndarray) -> np.ndarray:
    """Which sizes (N, 3) are more than `OUTLIER` times larger or smaller than the middle one along every axis."""
    if len(sizes) < 3:  # no middle one
        return np.zeros(len(sizes), bool)
    middle = np.median(sizes, axis=0)
    larger, smaller = sizes > OUTLIER * middle, sizes * OUTLIER < middle
    return np.asarray(larger.all(axis=1) | smaller.all(axis=1))


def _field_mm(row: dict) -> list[float]:
    """Sorted, so that planes and storage orders compare."""
    counts = [float(n) for n in str(row["shape"]).split("x")[:3]]
    return sorted(float(row[f"spacing_{axis}_mm"]) * n for axis, n in zip("ijk", counts, strict=True))
