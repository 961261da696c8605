"""The slices at both ends of a series that show no head, or hardly any, left out."""

from __future__ import annotations

from typing import Literal

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.foreground import above_noise

VERSION = 1
Rule = Literal["foreground", "middle"]
GROUPS = 3  # of the study's k-means
DARK_PERCENTILE = 5.0  # of a slice's own pixels
SAME = 1e-6  # ratios nearer than this are one value: a slice has far fewer than a million pixels


def edge_slices(volume: Volume, *, rule: Rule = "foreground", least: float = 0.25) -> Volume:
    """Keep the slices (along k) that show enough; masks keep all of theirs.

    Args:
        volume: Array (I, J, K), k the slice axis, as after `reorient` with `axes: acquisition`.
        rule: "foreground" keeps the range from the first to the last slice whose share of pixels
            above the noise of the air is at least `least` of the largest such share;
            nothing inside that range is lost. "middle" is the rule of the GBM study: the share
            of pixels at or below the slice's own 5th percentile, k-means with three groups on
            that number, the group with the middle centre is kept, wherever its slices lie.
        least: For "foreground", 0 to 1.

    Returns:
        Volume (I, J, K'), 1 <= K' <= K. The first slice keeps its place; where the kept ones do
        not adjoin ("middle"), the affine holds for the first one only.

    Raises:
        ScanError: "middle" and fewer than three slices, or fewer than three different shares.
    """
    kept = kept_slices(volume, rule=rule, least=least)
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, 2] * kept[0]
    return Volume(volume.array[:, :, kept].copy(order="K"), affine, volume.kind)


def kept_slices(volume: Volume, *, rule: Rule = "foreground", least: float = 0.25) -> np.ndarray:
    """Numbers (K',) of the slices that `edge_slices` keeps, ascending; arguments and errors as there."""
    if rule not in ("foreground", "middle"):
        raise ScanError(f"edge_slices: rule must be 'foreground' or 'middle', got {rule!r}")
    if rule == "middle":
        return _middle_group(dark_shares(volume.array))
    share = above_noise(volume.array).mean(axis=(0, 1))
    enough = np.flatnonzero(share >= least * share.max())
    return np.arange(enough[0], enough[-1] + 1)


def dark_shares(array: np.ndarray) -> np.ndarray:
    """Share (K,) of each slice's pixels at or below its own 5th percentile, array (I, J, K).

    It is 0.05 where grey values hardly repeat, and the share of pure black where that is more.
    """
    flat = array.reshape(-1, array.shape[2])
    return (flat <= np.percentile(flat, DARK_PERCENTILE, axis=0)).mean(axis=0)


def _middle_group(shares: np.ndarray) -> np.ndarray:
    if len(shares) < GROUPS:
        raise ScanError(
            f"edge_slices: rule middle makes three groups, and the series has {len(shares)} slices; "
            "use rule: foreground"
        )
    group = three_groups(shares)
    if group is None:
        raise ScanError(
            "edge_slices: rule middle makes three groups, and the shares of dark pixels of the series' "
            f"{len(shares)} slices have fewer than three values; use rule: foreground"
        )
    return np.flatnonzero(group == 1)


def three_groups(values: np.ndarray) -> np.ndarray | None:
    """The best three groups of numbers by squared distance to their means, exactly and without chance.

    In one dimension groups are ranges, so every pair of borders is tried; k-means from random
    starts may stop short of this.

    Args:
        values: (K,).

    Returns:
        (K,) 0, 1 or 2 by ascending mean; None for fewer than three different values.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    sums = np.concatenate([[0.0], np.cumsum(ordered - ordered.mean())])  # (K + 1,)
    borders = np.flatnonzero(np.diff(ordered) > SAME) + 1  # equal values stay together
    if len(borders) < GROUPS - 1:
        return None
    first, last = (borders[side] for side in np.triu_indices(len(borders), 1))
    gained = (  # the sum of squares less the spread within groups
        sums[first] ** 2 / first
        + (sums[last] - sums[first]) ** 2 / (last - first)
        + (sums[-1] - sums[last]) ** 2 / (len(values) - last)
    )
    best = int(np.argmax(gained))
    group = np.empty(len(values), int)
    group[order] = np.searchsorted([first[best], last[best]], np.arange(len(values)), side="right")
    return group
