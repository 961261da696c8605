"""First-order features: the distribution of the values of a region, whatever their places."""

from __future__ import annotations

import numpy as np

NAMES = (
    "10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis", "Maximum",
    "MeanAbsoluteDeviation", "Mean", "Median", "Minimum", "Range", "RobustMeanAbsoluteDeviation", "RootMeanSquared",
    "Skewness", "TotalEnergy", "Uniformity", "Variance",
)  # fmt: skip


def first_order(values: np.ndarray, voxels: np.ndarray, voxel_mm3: float, shift: float = 0.0) -> dict[str, float]:
    """Statistics of the values.

    Args:
        values: (N,) float64, finite, N >= 1.
        voxels: Voxels of each grey level, (G,).
        voxel_mm3: Volume of a voxel.
        shift: Added to the values in Energy, TotalEnergy and RootMeanSquared.

    Returns:
        Values by `NAMES`.
    """
    p10, p25, median, p75, p90 = np.percentile(values, (10, 25, 50, 75, 90)).tolist()
    mean = float(values.mean())
    deviations = values - mean
    squares = deviations * deviations
    variance = float(squares.mean())
    middle = values[(values >= p10) & (values <= p90)]
    energy = float(((values + shift) ** 2).sum())
    shares = voxels / voxels.sum()
    low, high = float(values.min()), float(values.max())
    return {
        "10Percentile": p10,
        "90Percentile": p90,
        "Energy": energy,
        "Entropy": float(-(shares * np.log2(shares)).sum()),
        "InterquartileRange": p75 - p25,
        "Kurtosis": float((squares * squares).mean()) / variance**2 if variance else 0.0,
        "Maximum": high,
        "MeanAbsoluteDeviation": float(np.abs(deviations).mean()),
        "Mean": mean,
        "Median": median,
        "Minimum": low,
        "Range": high - low,
        "RobustMeanAbsoluteDeviation": float(np.abs(middle - middle.mean()).mean()) if middle.size else np.nan,
        "RootMeanSquared": float(np.sqrt(energy / values.size)),
        "Skewness": float((squares * deviations).mean()) / variance**1.5 if variance else 0.0,
        "TotalEnergy": energy * voxel_mm3,
        "Uniformity": float((shares * shares).sum()),
        "Variance": variance,
    }
