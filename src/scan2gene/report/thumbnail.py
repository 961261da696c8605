"""A volume as one small grey picture, and what its voxels are like."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume

SIZES = ((168, 80), (144, 75), (120, 70), (96, 60), (80, 50), (64, 40), (48, 30))  # pixels, JPEG quality
FLAT = 0.35  # a volume whose shortest side is less than this part of its longest is shown slice by slice
SLICES = (0.3, 0.5, 0.7)
_SAMPLE = 2_000_000  # voxels that percentiles are taken from


@dataclass(frozen=True)
class Look:
    """A picture of a volume and figures about it.

    Args:
        jpeg: Grey JPEG without metadata.
        width: Of the picture, in pixels.
        height: In pixels.
        planes: What the picture shows.
        shape: Voxels along i, j, k, as stored.
        spacing_mm: Of i, j, k.
        orientation: Axis codes.
        low: 1st percentile.
        high: 99th percentile.
        at_max: Share of voxels with the largest value.
        constant: True when there is one value only.
    """

    jpeg: bytes
    width: int
    height: int
    planes: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    orientation: str
    low: float
    high: float
    at_max: float
    constant: bool


def look(volume: Volume, max_bytes: int) -> Look:
    """Draw the middle slices in three planes, or three slices of a flat volume.

    Slices lie as radiologists look at them: the patient's right on the left, anterior or
    superior up. Of a mask, the slices through its centre of mass are taken.

    Args:
        volume: Intensity or label; of colour, the first channel is shown.
        max_bytes: Of the JPEG; it is made smaller until it fits.
    """
    grey = volume if volume.array.ndim == 3 else volume.with_array(volume.array[..., 0])
    values = grey.array.ravel(order="K")
    sample = values[:: max(1, values.size // _SAMPLE)].astype(np.float32)
    low, high = (float(v) for v in np.percentile(sample, [1, 99]))
    window = (0.0, float(values.max()) or 1.0) if volume.kind == "label" else _window(sample)
    standing = reoriented(grey, "LPS")
    panels, planes = _panels(standing, _centre(standing.array) if volume.kind == "label" else None)
    jpeg, width, height = _picture([(_grey(p, *window), size) for p, size in panels], max_bytes)
    i, j, k = grey.spacing_mm
    return Look(
        jpeg=jpeg,
        width=width,
        height=height,
        planes=planes,
        shape=grey.shape,
        spacing_mm=(round(i, 4), round(j, 4), round(k, 4)),
        orientation=grey.orientation,
        low=low,
        high=high,
        at_max=float((sample == sample.max()).mean()),
        constant=bool(values.min() == values.max()),
    )


def strip(volume: Volume, mask: Volume | None, max_bytes: int) -> tuple[bytes, int, int]:
    """Three slices side by side, through the middle of the mask where there is one.

    Args:
        volume: Intensity.
        mask: On the same grid; of an empty one the volume's middle is taken.
        max_bytes: Of the JPEG.

    Returns:
        The JPEG, its width and its height in pixels.
    """
    grey = volume if volume.array.ndim == 3 else volume.with_array(volume.array[..., 0])
    window = _window(grey.array.ravel(order="K")[:: max(1, grey.array.size // _SAMPLE)].astype(np.float32))
    centre = None if mask is None else _centre(reoriented(mask, "LPS").array)
    panels, _ = _panels(reoriented(grey, "LPS"), centre)
    return _picture([(_grey(p, *window), size) for p, size in panels], max_bytes)


def _window(sample: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(sample, [1, 99.5]))
    return low, max(high, low + 1e-6)


def _grey(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    return (np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def _panels(volume: Volume, through: list[int] | None) -> tuple[list[tuple[np.ndarray, tuple[float, float]]], str]:
    """Slices as (rows, columns) with their (height, width) in mm, and what they are.

    `volume` is in LPS: i to the left, j to posterior, k to superior. `through` is a voxel, by default the middle.
    """
    array, spacing = volume.array, np.array(volume.spacing_mm)
    extent = np.array(array.shape) * spacing
    centre = through or [n // 2 for n in array.shape]
    thin = int(np.argmin(extent))
    if extent[thin] < FLAT * extent.max():
        places = [(thin, min(int(f * array.shape[thin]), array.shape[thin] - 1)) for f in SLICES]
        planes = f"{('sagittal', 'coronal', 'axial')[thin]} slices at 30, 50 and 70 %"
        if through:
            places[1] = (thin, centre[thin])
    else:
        places = [(axis, centre[axis]) for axis in (2, 1, 0)]
        planes = "middle axial, coronal and sagittal slice"
    panels = []
    for axis, place in places:
        across, down = [a for a in range(3) if a != axis]
        plane = np.take(array, place, axis=axis).T  # (down, across)
        panels.append((plane[::-1] if down == 2 else plane, (extent[down], extent[across])))  # superior up
    return panels, planes


def _centre(array: np.ndarray) -> list[int]:
    """Voxel at the centre of mass of what is marked; the middle when nothing is."""
    marked = np.nonzero(array)
    return [int(np.mean(m)) if len(m) else n // 2 for m, n in zip(marked, array.shape, strict=True)]


def _picture(panels: list[tuple[np.ndarray, tuple[float, float]]], max_bytes: int) -> tuple[bytes, int, int]:
    """The panels side by side on one scale of mm, as the largest JPEG that fits."""
    from PIL import Image

    longest = max(side for _, size in panels for side in size)
    for pixels, quality in SIZES:
        scaled = [
            Image.fromarray(plane).resize(
                (max(1, round(pixels * across / longest)), max(1, round(pixels * down / longest))),
                Image.Resampling.BILINEAR,
                reducing_gap=2.0,
            )
            for plane, (down, across) in panels
        ]
        sheet = Image.new("L", (sum(s.width for s in scaled) + 2 * (len(scaled) - 1), max(s.height for s in scaled)))
        left = 0
        for panel in scaled:
            sheet.paste(panel, (left, (sheet.height - panel.height) // 2))
            left += panel.width + 2
        stream = io.BytesIO()
        sheet.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= max_bytes:
            break
    return stream.getvalue(), sheet.width, sheet.height
