"""Features of matrices that count grey levels by a second number.

That is the length of a run (GLRLM), the size of a zone (GLSZM), or the neighbours of the same level plus one (GLDM).

Source: Galloway 1975, "Texture analysis using gray level run lengths"; Thibault 2009, "Texture indexes and gray level
size zone matrix"; Sun 1983, "Neighboring gray level dependence matrix".
"""

from __future__ import annotations

import numpy as np

from scan2gene.features.radiomics_matrices import Counts

_SHARED = (
    "{less}Emphasis", "{more}Emphasis", "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized",
    "{size}NonUniformity", "{size}NonUniformityNormalized", "{thing}Percentage", "GrayLevelVariance",
    "{thing}Variance", "{thing}Entropy", "LowGrayLevel{of}Emphasis", "HighGrayLevel{of}Emphasis",
    "{less}LowGrayLevelEmphasis", "{less}HighGrayLevelEmphasis", "{more}LowGrayLevelEmphasis",
    "{more}HighGrayLevelEmphasis",
)  # fmt: skip


def _names(**words: str) -> tuple[str, ...]:
    return tuple(name.format(**words) for name in _SHARED)


GLRLM_NAMES = _names(less="ShortRun", more="LongRun", size="RunLength", thing="Run", of="Run")
GLSZM_NAMES = _names(less="SmallArea", more="LargeArea", size="SizeZone", thing="Zone", of="Zone")
_GLDM_ALL = _names(less="SmallDependence", more="LargeDependence", size="Dependence", thing="Dependence", of="")
GLDM_NAMES = tuple(n for n in _GLDM_ALL if n not in ("GrayLevelNonUniformityNormalized", "DependencePercentage"))


def glrlm(counts: Counts, pooled: bool = False) -> dict[str, float]:
    """Run-length features: means over the directions, or those of one matrix that adds up the directions (`pooled`)."""
    runs = counts.runs.sum(axis=0, keepdims=True) if pooled else counts.runs
    return dict(zip(GLRLM_NAMES, _emphases(runs, counts.levels, np.arange(1.0, runs.shape[2] + 1)), strict=True))


def glszm(counts: Counts) -> dict[str, float]:
    """Size-zone features; a zone is a 26-connected part of one level."""
    return dict(zip(GLSZM_NAMES, _emphases(counts.zones[None], counts.levels, counts.sizes), strict=True))


def gldm(counts: Counts) -> dict[str, float]:
    """Dependence features; neighbours depend on each other where they have one level."""
    numbers = np.arange(1.0, counts.alike.shape[1] + 1)
    every = dict(zip(_GLDM_ALL, _emphases(counts.alike[None], counts.levels, numbers), strict=True))
    return {name: every[name] for name in GLDM_NAMES}


def _emphases(matrix: np.ndarray, levels: np.ndarray, sizes: np.ndarray) -> list[float]:
    """Values in the order of `_SHARED`, means over the first axis; NaN where it is empty.

    Args:
        matrix: Counts (A, G, S).
        levels: (G,).
        sizes: (S,).
    """
    total = matrix.sum(axis=(1, 2))
    if not len(total) or not total.all():
        return [np.nan] * len(_SHARED)
    by_level, by_size = matrix.sum(axis=2), matrix.sum(axis=1)
    low, high, small, large = 1 / levels**2, levels**2, 1 / sizes**2, sizes**2
    # (A, 2, 2): low and high levels by small and large sizes
    corners = np.stack([low, high]) @ matrix @ np.stack([small, large], axis=1) / total[:, None, None]
    shares = matrix / total[:, None, None]
    level_squares, size_squares = (by_level**2).sum(axis=1), (by_size**2).sum(axis=1)
    values = (
        by_size @ small / total, by_size @ large / total, level_squares / total, level_squares / total**2,
        size_squares / total, size_squares / total**2, total / (by_size @ sizes), _variance(by_level, levels, total),
        _variance(by_size, sizes, total), -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(axis=(1, 2)),
        by_level @ low / total, by_level @ high / total, corners[:, 0, 0], corners[:, 1, 0], corners[:, 0, 1],
        corners[:, 1, 1],
    )  # fmt: skip
    return np.array(values).mean(axis=1).tolist()


def _variance(counts: np.ndarray, values: np.ndarray, total: np.ndarray) -> np.ndarray:
    shares = counts / total[:, None]
    return (shares * (values - (shares @ values)[:, None]) ** 2).sum(axis=1)
