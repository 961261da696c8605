"""Features of the grey-level co-occurrence matrix (GLCM): how often two levels are neighbours.

Source: Haralick 1973, "Textural features for image classification".
"""

from __future__ import annotations

from functools import cache

import numpy as np

from scan2gene.features.radiomics_matrices import Counts

NAMES = (
    "Autocorrelation", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast", "Correlation",
    "DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "Id", "Idm", "Idmn", "Idn", "Imc1", "Imc2",
    "InverseVariance", "JointAverage", "JointEnergy", "JointEntropy", "MCC", "MaximumProbability", "SumAverage",
    "SumEntropy", "SumSquares",
)  # fmt: skip


def glcm(counts: Counts, pooled: bool = False) -> dict[str, float]:
    """Means over the directions of each direction's features.

    Args:
        counts: Of a region.
        pooled: Features of one matrix that adds up the directions, instead.

    Returns:
        Values by `NAMES`; NaN where no two voxels are neighbours.
    """
    pairs = counts.pairs.sum(axis=0, keepdims=True, dtype=np.int32) if pooled else counts.pairs
    pairs = pairs[pairs.any(axis=(1, 2))]
    if not len(pairs):
        return dict.fromkeys(NAMES, np.nan)
    top = int(counts.levels[-1])
    joint, sums, differences, margin, totals = _kernel()(pairs, counts.levels)
    k = np.arange(2 * top + 1)
    d = np.arange(top)
    mean = margin @ counts.levels
    from_mean = k - 2 * mean[:, None]
    tendency = (sums * from_mean**2).sum(axis=1)
    contrast = differences @ d**2.0
    spread = (margin * (counts.levels - mean[:, None]) ** 2).sum(axis=1)
    difference = differences @ d
    entropy, energy, largest, product = totals.T
    alone = _entropy(margin)
    shared = np.maximum(2 * alone - entropy, 0.0)  # mutual information of the two levels, bits
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = np.where(spread > 0, (tendency - contrast) / 4 / spread, 1.0)
        coefficient = np.where(alone > 0, -shared / alone, 0.0)
    features = {
        "Autocorrelation": product,
        "ClusterProminence": (sums * from_mean**4).sum(axis=1),
        "ClusterShade": (sums * from_mean**3).sum(axis=1),
        "ClusterTendency": tendency,
        "Contrast": contrast,
        "Correlation": correlation,
        "DifferenceAverage": difference,
        "DifferenceEntropy": _entropy(differences),
        "DifferenceVariance": contrast - difference**2,
        "Id": differences @ (1 / (1 + d)),
        "Idm": differences @ (1 / (1 + d**2)),
        "Idmn": differences @ (1 / (1 + (d / top) ** 2)),
        "Idn": differences @ (1 / (1 + d / top)),
        "Imc1": coefficient,
        "Imc2": np.sqrt(1 - np.exp(-2 * shared)),
        "InverseVariance": differences[:, 1:] @ (1 / d[1:] ** 2.0),
        "JointAverage": mean,
        "JointEnergy": energy,
        "JointEntropy": entropy,
        "MCC": _largest_correlation(joint, margin),
        "MaximumProbability": largest,
        "SumAverage": 2 * mean,
        "SumEntropy": _entropy(sums),
        "SumSquares": spread,
    }
    return dict(zip(features, np.array([*features.values()]).mean(axis=1).tolist(), strict=True))


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy of each row (A, K) in bits."""
    return -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=1)


def _largest_correlation(joint: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """Second largest singular value of each joint / sqrt(margin x margin), (A,); 1 where there is one level.

    Its square is the second eigenvalue of Haralick's matrix Q. The largest is 1, with sqrt(margin) as its vector;
    taken out, what remains is symmetric.
    """
    if joint.shape[1] < 2:
        return np.ones(len(joint))
    root = np.sqrt(margin)
    scale = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
    rest = joint * scale[:, :, None] * scale[:, None, :] - root[:, :, None] * root[:, None, :]
    return np.abs(np.linalg.eigvalsh(rest)[:, [0, -1]]).max(axis=1)


@cache
def _kernel():
    """The compiled sums over a matrix; numba is imported at first use and keeps the machine code on disk."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def add_up(pairs, levels):
        directions, size, _ = pairs.shape
        top = int(levels[-1])
        joint = np.zeros((directions, size, size))
        sums, differences = np.zeros((directions, 2 * top + 1)), np.zeros((directions, top))
        margin, totals = np.zeros((directions, size)), np.zeros((directions, 4))
        for a in range(directions):
            both = 0
            for g in range(size):
                for h in range(size):
                    both += 2 * pairs[a, g, h]
            for g in range(size):
                for h in range(g + 1):
                    share = (pairs[a, g, h] + pairs[a, h, g]) / both
                    if share == 0:
                        continue
                    joint[a, g, h] = share
                    joint[a, h, g] = share
                    times = 1 if g == h else 2
                    margin[a, g] += share
                    if g != h:
                        margin[a, h] += share
                    sums[a, int(levels[g] + levels[h])] += times * share
                    differences[a, int(levels[g] - levels[h])] += times * share
                    totals[a, 0] -= times * share * np.log2(share)
                    totals[a, 1] += times * share * share
                    totals[a, 2] = max(totals[a, 2], share)
                    totals[a, 3] += times * share * levels[g] * levels[h]
        return joint, sums, differences, margin, totals

    return add_up
