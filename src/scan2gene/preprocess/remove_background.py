"""The body, and everything outside it to the background."""

from __future__ import annotations

from typing import Literal

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import bounding_box, cropped
from scan2gene.core.volume import Volume
from scan2gene.preprocess.components import large_components
from scan2gene.preprocess.foreground import above_noise, filled
from scan2gene.preprocess.grey import histogram
from scan2gene.preprocess.resample import like

VERSION = 1
Keep = Literal["largest", "large"]
LEVELS = 256  # grey levels that Otsu's threshold tells apart


def remove_background(
    volume: Volume,
    *,
    threshold: float | Literal["otsu"] | None = None,
    keep: Keep = "largest",
    min_voxels: int = 1000,
    crop: bool = False,
    reference: Volume | None = None,
) -> Volume:
    """Set everything outside the body to the volume's minimum, and crop to the body if asked.

    Args:
        volume: Array (I, J, K). A mask is cropped only, its voxels are left alone.
        threshold: None finds what is brighter than the noise of the air, and fills holes (see
            `foreground`); it needs intensities as they were acquired, or scaled, so it stands
            before `equalise`. A number from 0 to 1 is the share of the intensity range above
            which a voxel counts as body; "otsu" is Otsu's threshold, which loses dark tissue.
        keep: "largest" keeps the largest 26-connected component, "large" every one of
            at least `min_voxels`.
        min_voxels: Smallest component that "large" keeps.
        crop: Cut out the box around what is left.
        reference: The volume in which the body is looked for; default: this one. In a study
            file: the name of a role. Then every role keeps the same body and the same box.

    Raises:
        ScanError: Nothing is left.
    """
    inside = body(volume if reference is None else reference, threshold, keep, min_voxels)
    if reference is not None:
        inside = like(inside, volume)
        if not inside.array.any():
            raise ScanError("the body of the reference lies outside this volume's field")
    if volume.kind == "intensity":
        low = volume.array.dtype.type(volume.array.min())
        volume = volume.with_array(np.where(inside.array, volume.array, low))
    return cropped(volume, *bounding_box(inside.array)) if crop else volume


def body(
    volume: Volume,
    threshold: float | Literal["otsu"] | None = None,
    keep: Keep = "largest",
    min_voxels: int = 1000,
) -> Volume:
    """The body as a label volume of 0 and 1; arguments and errors as in `remove_background`."""
    if keep not in ("largest", "large"):
        raise ScanError(f"keep must be 'largest' or 'large', got {keep!r}")
    smallest = None if keep == "largest" else min_voxels
    if threshold is None:
        inside = filled(large_components(above_noise(volume.array), smallest))
    else:
        low, high = float(volume.array.min()), float(volume.array.max())
        level = otsu(volume.array, low, high) if threshold == "otsu" else low + threshold * (high - low)
        inside = large_components(volume.array > level, smallest)
    if not inside.any():
        raise ScanError("background removal left nothing: no component is bright and large enough")
    return Volume(inside.view(np.uint8), volume.affine, "label")


def otsu(array: np.ndarray, low: float, high: float) -> float:
    """Threshold that separates two classes with the largest variance between them (Otsu 1979).

    Args:
        array: Any shape.
        low: Lower end of the histogram, at most the smallest voxel.
        high: Its upper end, at least the largest voxel.
    """
    if high <= low:
        return high
    counts = histogram(array, low, high, LEVELS)
    edges = np.linspace(low, high, LEVELS + 1)
    weight = np.cumsum(counts)[:-1].astype(float)
    mean = np.cumsum(counts * (edges[:-1] + edges[1:]) / 2)
    rest = weight[-1] + counts[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (mean[:-1] / weight - (mean[-1] - mean[:-1]) / rest) ** 2
    return float(edges[1 + int(np.nanargmax(between))])
