"""What looks odd about a volume beside the others of its role: where to look first, not a verdict."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Name -> what it means, as the page says it; worst first.
FLAGS = {
    "unreadable": "the volume could not be read or prepared",
    "burned-in": "the header says that a name is painted into the pixels, or the image is of a kind where it may be",
    "empty": "every voxel has the same value; of a mask: nothing is marked",
    "few slices": "less than half as many slices as the middle one of its role",
    "odd spacing": "a voxel side differs by more than half from the middle one of its role",
    "odd orientation": "its voxel axes point where few others of its role do",
    "odd intensity": "its brightest percent differs tenfold from the middle one of its role",
    "clipped": "more than 1 % of the voxels have the largest value, three times as many as in others of its role",
}
SPACING_FACTOR = 1.5
SLICES_FACTOR = 0.5
INTENSITY_FACTOR = 10.0
CLIPPED_SHARE = 0.01
CLIPPED_FACTOR = 3.0
RARE_SHARE = 0.1  # of an orientation among those of its role


def flag(volumes: pd.DataFrame) -> list[list[str]]:
    """Flags of each volume, worst first.

    Args:
        volumes: Columns role, kind, burned_in, reason (not empty: unreadable), orientation,
            spacing_mm and shape (three numbers each), high (99th percentile), at_max (share of
            voxels with the largest value), constant (True where there is one value only).

    Returns:
        Keys of `FLAGS`, in the order of the rows.
    """
    table = volumes.reset_index(drop=True)
    hits = pd.DataFrame(False, index=table.index, columns=list(FLAGS))
    hits["unreadable"] = table["reason"] != ""
    hits["burned-in"] = table["burned_in"].isin(("yes", "possible"))
    for _, group in table[~hits["unreadable"]].groupby("role", sort=False):
        rows = group.index
        spacing = np.sort(np.array(group["spacing_mm"].tolist(), float), axis=1)  # in-plane sides first, whatever plane
        slices = np.array([shape[2] for shape in group["shape"]], float)
        hits.loc[rows, "empty"] = group["constant"].to_numpy(bool)
        hits.loc[rows, "few slices"] = slices < SLICES_FACTOR * np.median(slices)
        hits.loc[rows, "odd spacing"] = _far(spacing, SPACING_FACTOR).any(axis=1)
        shares = group["orientation"].map(group["orientation"].value_counts(normalize=True))
        # one of few is rare too, when the others agree
        rare = shares <= max(RARE_SHARE, 1 / len(group))
        hits.loc[rows, "odd orientation"] = (rare & (shares < shares.max()) & (shares.max() > 0.5)).to_numpy()
        if (group["kind"] == "intensity").all():
            varied = ~group["constant"].to_numpy(bool)
            hits.loc[rows, "odd intensity"] = _far(group["high"].to_numpy(float), INTENSITY_FACTOR) & varied
            # equalised volumes all have many voxels at the top
            limit = max(CLIPPED_SHARE, CLIPPED_FACTOR * float(group["at_max"].median()))
            hits.loc[rows, "clipped"] = (group["at_max"] > limit) & varied
    return [[name for name in FLAGS if row[name]] for row in hits.to_dict("records")]


def _far(values: np.ndarray, factor: float) -> np.ndarray:
    """True where a value is more than `factor` times its median along the first axis, or less than one such part."""
    middle = np.median(values, axis=0)
    return np.asarray((values > factor * middle) | (values * factor < middle)) & (middle > 0)
