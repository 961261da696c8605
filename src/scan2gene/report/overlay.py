"""A map over its scan, slice beside slice, as one picture that scrolls sideways."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume

PIXELS = 150
MAX_SLICES = 14
OPACITY = 0.75  # of the largest value; 0 is clear
FLOOR = 0.05  # part of the largest value below which nothing is drawn
COLOURS = "plasma"  # lightness rises with the value, so it reads without colour too
OUTLINE = (255, 255, 255)
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Strip:
    """Slices of one exam in a row: above the scan, below it the scan with the map.

    Args:
        jpeg: Colour JPEG without metadata.
        width: In pixels.
        height: In pixels.
        plane: "axial", "coronal" or "sagittal".
        shown: Slices in the picture.
        total: Slices of the prepared volume.
        strongest: Position in the picture, from 1, of the slice with the most of the map.
    """

    jpeg: bytes
    width: int
    height: int
    plane: str
    shown: int
    total: int
    strongest: int


def strip(image: Volume, cam: Volume, lesion: Volume | None, pixels: int = PIXELS) -> Strip:
    """Draw a map over its prepared volume.

    Args:
        image: Intensities (I, J, K).
        cam: The map on the same grid; its largest value has the strongest colour.
        lesion: Mask on the same grid, drawn as an outline.
        pixels: Longer side of a slice.

    Returns:
        Slices along the axis with the fewest voxels, axial when none has fewer; at most
        `MAX_SLICES`, evenly spread, with the one that holds most of the map among them.
        The patient's right lies on the left, anterior or superior is up.
    """
    from matplotlib import colormaps
    from PIL import Image

    grey, heat = reoriented(image, "LPS"), reoriented(cam, "LPS")
    mask = reoriented(lesion, "LPS").array > 0 if lesion else np.zeros(grey.shape, bool)
    axis = min((2, 1, 0), key=lambda a: grey.shape[a])
    chosen = _slices(heat.array, axis)
    low, high = np.percentile(grey.array.astype(np.float32), [1, 99.5])
    top = float(heat.array.max()) or 1.0
    columns = []
    for place in chosen:
        plane, height, width = _plane(grey, axis, place, pixels)
        base = np.clip((plane.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
        size = (width, height)
        scan = _resized(base, size, Image.Resampling.BILINEAR)
        share = _resized(np.take(heat.array, place, axis) / top, size, Image.Resampling.BILINEAR, axis)
        inside = _resized(np.take(mask, place, axis).astype(np.float32), size, Image.Resampling.NEAREST, axis) > 0.5
        colour = colormaps[COLOURS](share)[..., :3]
        weight = np.where(share > FLOOR, OPACITY * np.sqrt(share), 0)[..., None]
        plain = np.repeat(scan[..., None], 3, axis=2)
        drawn = np.concatenate([plain, plain * (1 - weight) + colour * weight])
        edges = np.concatenate([_edge(inside)] * 2)
        column = (drawn * 255).round().astype(np.uint8)
        column[edges] = OUTLINE
        columns += [column, np.full((len(column), 3, 3), 255, np.uint8)]
    sheet = Image.fromarray(np.concatenate(columns[:-1], axis=1))
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=78, optimize=True)
    strongest = chosen.index(_strongest(heat.array, axis)) + 1
    return Strip(stream.getvalue(), sheet.width, sheet.height, _PLANES[axis], len(chosen), grey.shape[axis], strongest)


def _strongest(heat: np.ndarray, axis: int) -> int:
    return int(heat.sum(axis=tuple(a for a in range(3) if a != axis)).argmax())


def _slices(heat: np.ndarray, axis: int) -> list[int]:
    """Evenly spread positions; the nearest one gives way to the slice with most of the map."""
    count = heat.shape[axis]
    if count <= MAX_SLICES:
        return list(range(count))
    places = np.linspace(0, count - 1, MAX_SLICES).round().astype(int)
    strongest = _strongest(heat, axis)
    places[np.abs(places - strongest).argmin()] = strongest
    return sorted({int(p) for p in places})


def _plane(volume: Volume, axis: int, place: int, pixels: int) -> tuple[np.ndarray, int, int]:
    """One slice as (rows, columns), and its size in pixels; `volume` is in LPS."""
    across, down = [a for a in range(3) if a != axis]
    extent = np.array(volume.shape) * volume.spacing_mm
    scale = pixels / max(extent[across], extent[down])
    plane = _upright(np.take(volume.array, place, axis), axis)
    return plane, max(1, round(scale * extent[down])), max(1, round(scale * extent[across]))


def _upright(plane: np.ndarray, axis: int) -> np.ndarray:
    """(across, down) to (rows, columns), superior up."""
    return plane.T[::-1] if axis != 2 else plane.T


def _resized(plane: np.ndarray, size: tuple[int, int], how: Any, axis: int | None = None) -> np.ndarray:
    from PIL import Image

    turned = plane if axis is None else _upright(plane, axis)
    return np.asarray(Image.fromarray(np.ascontiguousarray(turned, np.float32)).resize(size, how))


def _edge(inside: np.ndarray) -> np.ndarray:
    """The outermost pixels of a region."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
