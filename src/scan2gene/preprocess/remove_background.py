"""Body out of air, by connected components."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume


def remove_background(
    volume: Volume, *, threshold: float | None = None, keep: str = "largest", min_voxels: int = 1000
) -> Volume:
    """Set everything outside the body to the volume's minimum.

    Args:
        volume: Array (I, J, K).
        threshold: Share of the intensity range above which a voxel counts as body,
            0 to 1; None takes Otsu's threshold.
        keep: "largest" keeps the largest 26-connected component, "large" every one of
            at least `min_voxels`.
        min_voxels: Smallest component that "large" keeps.

    Raises:
        ScanError: Nothing is left.
    """
    from scipy import ndimage

    if keep not in ("largest", "large"):
        raise ScanError(f"keep must be 'largest' or 'large', got {keep!r}")
    low, high = float(volume.array.min()), float(volume.array.max())
    level = _otsu(volume.array, low, high) if threshold is None else low + threshold * (high - low)
    parts, count = ndimage.label(volume.array > level, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = sizes >= (sizes.max() if keep == "largest" else min_voxels)
    kept[0] = False
    if sizes.max() == 0 or not kept.any():
        raise ScanError("background removal left nothing: no component is bright and large enough")
    return volume.with_array(np.where(kept[parts], volume.array, volume.array.dtype.type(low)))


def _otsu(array: np.ndarray, low: float, high: float) -> float:
    """Threshold that separates two classes with the largest variance between them (Otsu 1979)."""
    if high <= low:
        return high
    counts, edges = np.histogram(array, bins=256, range=(low, high))
    weight = np.cumsum(counts)[:-1].astype(float)
    mean = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    rest = weight[-1] + counts[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (mean[:-1] / weight - (mean[-1] - mean[:-1]) / rest) ** 2
    return float(edges[1 + int(np.nanargmax(between))])
