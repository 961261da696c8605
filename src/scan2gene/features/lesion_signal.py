"""Intensities in and around a lesion: each measure a function of `Signal`, named in `SIGNAL` and `DIFFERENCE`.

Images come minus their mean in the body, over their standard deviation there: MR intensities have no unit, so a
ratio of them would depend on their zero, a difference in standard deviations does not. Unit of every measure
unless it says another: standard deviations of the body.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scan2gene.features.regions import Body, Region, window

BINS = 32  # of `entropy`
FEW = 10  # voxels below which a region says too little


@dataclass(frozen=True)
class Signal:
    """One image, or the difference of two, and where it is measured.

    Args:
        image: (I, J, K) float32, standardised; NaN where nothing is known.
        part: The same around the region, (i, j, k).
        region: Where it is measured, in that part.
        body: (I, J, K) bool.
    """

    image: np.ndarray
    part: np.ndarray
    region: Region
    body: np.ndarray

    @classmethod
    def of(cls, image: np.ndarray, body: Body, region: Region) -> Signal:
        """A standardised image (I, J, K), or the difference of two, in a region."""
        return cls(image, window(image, region.start, region.stop), region, body.inside)

    @cached_property
    def values(self) -> np.ndarray:
        """(N,) float64, finite, of the lesion's voxels."""
        return self.within(self.region.inside)

    def within(self, region: np.ndarray) -> np.ndarray:
        """(N,) float64, finite, of a region (i, j, k) bool."""
        values = self.part[region]
        return values[np.isfinite(values)].astype(np.float64)


def _mean(values: np.ndarray, few: int = 1) -> float:
    return float(values.mean()) if values.size >= few else np.nan


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's; NaN where one of them is constant or values are few."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both].astype(np.float64), b[both].astype(np.float64)
    if a.size < FEW or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


def mean(signal: Signal) -> float:
    """Mean in the lesion."""
    return _mean(signal.values)


def sd(signal: Signal) -> float:
    """Standard deviation in the lesion: heterogeneity."""
    return float(signal.values.std()) if signal.values.size > 1 else np.nan


def p10(signal: Signal) -> float:
    """10th percentile in the lesion."""
    return float(np.quantile(signal.values, 0.1)) if signal.values.size else np.nan


def p90(signal: Signal) -> float:
    """90th percentile in the lesion."""
    return float(np.quantile(signal.values, 0.9)) if signal.values.size else np.nan


def skewness(signal: Signal) -> float:
    """Skewness in the lesion; no unit. Source: IBSI (KE2A)."""
    off = signal.values - mean(signal)
    square = off * off  # much faster than powers
    return float((square * off).mean() / square.mean() ** 1.5) if off.size >= FEW and np.ptp(off) > 0 else np.nan


def entropy(signal: Signal) -> float:
    """Entropy of the histogram, 32 equal bins from the lesion's 1st to its 99th percentile. Unit: bits."""
    if signal.values.size < FEW:
        return np.nan
    low, high = np.quantile(signal.values, [0.01, 0.99])
    if not high > low:
        return np.nan
    bins = ((np.clip(signal.values, low, high) - low) / (high - low) * BINS).astype(int)
    share = np.bincount(np.minimum(bins, BINS - 1)) / bins.size
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())


def core_minus_rim(signal: Signal) -> float:
    """Mean of the deeper half of the lesion minus that of its outer half."""
    return _mean(signal.within(signal.region.core)) - _mean(signal.within(signal.region.rim))


def depth_correlation(signal: Signal) -> float:
    """Correlation of intensity with depth below the lesion's surface; no unit."""
    inside = signal.region.inside
    return _correlation(signal.part[inside], signal.region.depth_mm[inside])


def minus_surroundings(signal: Signal) -> float:
    """Mean in the lesion minus that of the body within `ring_mm` around it."""
    return mean(signal) - _mean(signal.within(signal.region.surroundings), FEW)


def minus_contralateral(signal: Signal) -> float:
    """Mean in the lesion minus that of the mirrored place, mirrored at the middle of the body's box.

    The body there without the lesion; needs a tenth of the lesion's voxels.
    """
    i, j, k = signal.region.mirrored
    in_grid = (i >= 0) & (i < signal.image.shape[0])
    i, j, k = i[in_grid], j[in_grid], k[in_grid]
    a, b, c = (np.column_stack([i, j, k]) - signal.region.start).T
    shape = signal.region.inside.shape
    near = (a >= 0) & (a < shape[0])
    lesion = np.zeros(len(i), bool)
    lesion[near] = signal.region.inside[a[near], b[near], c[near]]
    values = signal.image[i, j, k][signal.body[i, j, k] & ~lesion]
    values = values[np.isfinite(values)].astype(np.float64)
    return mean(signal) - _mean(values, max(1, len(signal.region.voxels) // 10))


def edge_step(signal: Signal) -> float:
    """Mean of the lesion's outermost voxels minus that of the voxels just outside: sharpness of the margin."""
    return _mean(signal.within(signal.region.edge)) - _mean(signal.within(signal.region.just_outside))


def autocorrelation(signal: Signal) -> float:
    """Correlation of voxels in the lesion with their neighbours within slices: smoothness; no unit.

    Source: Haralick 1979, autocorrelation at lag 1.
    """
    return _lag_one(signal, [axis for axis in range(3) if axis != signal.region.slice_axis])


def autocorrelation_left_right(signal: Signal) -> float:
    """The same along the axis from right to left alone: the direction of texture; no unit.

    Source: Haralick 1979, autocorrelation at lag 1.
    """
    return _lag_one(signal, [0])


def autocorrelation_front_back(signal: Signal) -> float:
    """The same along the axis from back to front; no unit.

    Source: Haralick 1979, autocorrelation at lag 1.
    """
    return _lag_one(signal, [1])


def autocorrelation_head_foot(signal: Signal) -> float:
    """The same along the axis from foot to head; no unit.

    Source: Haralick 1979, autocorrelation at lag 1.
    """
    return _lag_one(signal, [2])


def _lag_one(signal: Signal, axes: Sequence[int]) -> float:
    """Correlation of voxels in the lesion with their next neighbours along some axes."""
    inside = signal.region.inside & np.isfinite(signal.part)
    first, second = [], []
    for axis in axes:
        here = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        there = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        both = inside[here] & inside[there]
        first.append(signal.part[here][both])
        second.append(signal.part[there][both])
    a, b = np.concatenate(first).astype(np.float64), np.concatenate(second).astype(np.float64)
    if a.size < FEW or max(a.max(), b.max()) == min(a.min(), b.min()):
        return np.nan
    middle = (a.mean() + b.mean()) / 2  # either of two neighbours may come first
    a, b = a - middle, b - middle
    return float(2 * (a @ b) / (a @ a + b @ b))


SIGNAL: dict[str, Callable[[Signal], float]] = {
    "mean": mean,
    "sd": sd,
    "p10": p10,
    "p90": p90,
    "skewness": skewness,
    "entropy": entropy,
    "core_minus_rim": core_minus_rim,
    "depth_correlation": depth_correlation,
    "minus_surroundings": minus_surroundings,
    "minus_contralateral": minus_contralateral,
    "edge_step": edge_step,
    "autocorrelation": autocorrelation,
    "autocorrelation_left_right": autocorrelation_left_right,
    "autocorrelation_front_back": autocorrelation_front_back,
    "autocorrelation_head_foot": autocorrelation_head_foot,
}
DIFFERENCE: dict[str, Callable[[Signal], float]] = {
    name: SIGNAL[name] for name in ("mean", "sd", "p10", "p90", "core_minus_rim", "minus_contralateral")
}
