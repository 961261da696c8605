"""Grey levels for texture: bins of one width, or one number of bins, as pyradiomics makes them."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError

MAX_LEVELS = 2048  # a co-occurrence matrix of as many takes 0.6 GB in its 13 directions


def grey_levels(values: np.ndarray, bin_count: int, bin_width: float | None, place: str) -> np.ndarray:
    """Number of the bin of each value, from 1 on.

    Args:
        values: (N,) float64, finite, N >= 1. Whole numbers of few bits would overflow.
        bin_count: Bins from the smallest value to the largest, unless there is a width.
        bin_width: Width of a bin in units of the image; edges are its multiples.
        place: Role, region and filter, for the message.

    Returns:
        (N,) int64.

    Raises:
        ScanError: The width makes more than `MAX_LEVELS` bins.
    """
    if bin_width is None:
        edges = np.histogram_bin_edges(values, bin_count)
        edges[-1] += 1  # the largest value belongs to the last bin
    else:
        low, high = float(values.min()), float(values.max())
        if (high - low) / bin_width > MAX_LEVELS - 1:
            raise ScanError(
                f"{place}: values from {low:g} to {high:g} in bins of {bin_width:g} make more than {MAX_LEVELS} grey "
                f"levels. Set a larger bin_width, normalise the image, or set bin_count in its place."
            )
        edges = np.arange(low - low % bin_width, high + 2 * bin_width, bin_width)
    return np.searchsorted(edges, values, side="right")
