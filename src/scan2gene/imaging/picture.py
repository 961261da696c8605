"""Slices of volumes as pictures: the patient's right on the left, anterior or superior up.

Pictures carry no metadata and no id: they may end up in a report that is passed on.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scan2gene.core.files import atomic_path
from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume

PLANES = ("sagittal", "coronal", "axial")  # across i, j, k of a volume in LPS
SIZES = ((168, 80), (144, 75), (120, 70), (96, 60), (80, 50), (64, 40), (48, 30))  # pixels and quality of JPEGs
FLAT = 0.35  # a volume whose shortest side is less than this part of its longest is shown slice by slice
DEPTHS = (0.3, 0.5, 0.7)  # of the slices of a flat volume
MONTAGE_SIDE, MONTAGE_ACROSS, MONTAGE_SLICES = 72, 12, 48  # pixels of a slice, slices in a row, slices at most
STRIP_PIXELS, STRIP_SLICES = 150, 14  # longer side of a slice, slices at most
OPACITY = 0.75  # of the largest value of a map; 0 is clear
FLOOR = 0.05  # part of the largest value below which nothing is drawn
COLOURS = "plasma"  # lightness rises with the value, so it reads without colour too
_FRAME, _WHITE = (70, 170, 90), (255, 255, 255)
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


@dataclass(frozen=True)
class MapStrip:
    """Slices of one exam in a row: above the scan, below it the scan with a map.

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


def look(volume: Volume, max_bytes: int) -> Look:
    """Draw the middle slices in three planes, or three slices of a flat volume.

    Args:
        volume: Intensity or label; of colour, the first channel is shown. Of a mask, the slices
            through its centre of mass are taken.
        max_bytes: Of the JPEG; it is made smaller until it fits.
    """
    grey = _first_channel(volume)
    values = grey.array.ravel(order="K")
    sample = _sample(grey)
    low, high = (float(v) for v in np.percentile(sample, [1, 99]))
    of_mask = volume.kind == "label"
    limits = (0.0, float(values.max()) or 1.0) if of_mask else window(sample)
    jpeg, width, height, planes = _three_slices(grey, grey if of_mask else None, limits, max_bytes)
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


def three_slices(volume: Volume, mask: Volume | None, max_bytes: int) -> tuple[bytes, int, int]:
    """Three slices side by side, through the middle of the mask where there is one.

    Args:
        volume: Intensity.
        mask: On the same grid; of an empty one the volume's middle is taken.
        max_bytes: Of the JPEG.

    Returns:
        The JPEG, its width and its height in pixels.
    """
    grey = _first_channel(volume)
    return _three_slices(grey, mask, window(_sample(grey)), max_bytes)[:3]


def montage(volume: Volume, kept: np.ndarray) -> np.ndarray:
    """Slices (along k) in rows, (height, width, 3) uint8; those that are not kept are dimmed.

    Args:
        volume: Array (I, J, K).
        kept: Numbers of the kept slices, which get a frame.
    """
    side = MONTAGE_SIDE
    limits = window(volume.array)
    tiles = []
    for k in _evenly(volume.shape[2], MONTAGE_SLICES):
        inside = k in kept
        tile = np.full((side, side, 3), 255, np.uint8)
        tile[1:-1, 1:-1] = _FRAME if inside else _WHITE
        shown = grey_levels(volume.array[:, :, k].T, *limits) * (1 if inside else 0.35)
        tile[2:-2, 2:-2] = as_bytes(resized(shown, side - 4, side - 4))[:, :, None]
        tiles.append(tile)
    tiles += [np.full((side, side, 3), 255, np.uint8)] * (-len(tiles) % MONTAGE_ACROSS)
    starts = range(0, len(tiles), MONTAGE_ACROSS)
    return np.concatenate([np.concatenate(tiles[n : n + MONTAGE_ACROSS], axis=1) for n in starts])


def map_strip(image: Volume, cam: Volume, lesion: Volume | None, pixels: int = STRIP_PIXELS) -> MapStrip:
    """Draw a map over its prepared volume.

    Args:
        image: Intensities (I, J, K).
        cam: The map on the same grid; its largest value has the strongest colour.
        lesion: Mask on the same grid, drawn as an outline.
        pixels: Longer side of a slice.

    Returns:
        Slices along the axis with the fewest voxels, axial when none has fewer; at most
        `STRIP_SLICES`, evenly spread, with the one that holds most of the map among them.
    """
    from matplotlib import colormaps

    scan, heat = reoriented(image, "LPS"), reoriented(cam, "LPS")
    mask = reoriented(lesion, "LPS") if lesion else None
    axis = min((2, 1, 0), key=lambda a: scan.shape[a])
    amount = heat.array.sum(axis=tuple(a for a in range(3) if a != axis))
    strongest = int(amount.argmax())
    places = _evenly(len(amount), STRIP_SLICES)
    places[np.abs(places - strongest).argmin()] = strongest
    limits, top = window(scan.array), float(heat.array.max()) or 1.0
    height_mm, width_mm = extent_mm(scan, axis)
    scale = pixels / max(height_mm, width_mm)
    size = max(1, round(scale * height_mm)), max(1, round(scale * width_mm))
    columns = []
    for place in places:
        plain = resized(grey_levels(upright(scan, axis, place), *limits), *size)[..., None].repeat(3, axis=2)
        share = resized(upright(heat, axis, place) / top, *size)
        weight = np.where(share > FLOOR, OPACITY * np.sqrt(share), 0)[..., None]
        column = as_bytes(np.concatenate([plain, plain * (1 - weight) + colormaps[COLOURS](share)[..., :3] * weight]))
        if mask is not None:
            inside = resized(upright(mask, axis, place) > 0, *size, nearest=True) > 0.5
            column[np.concatenate([_edge(inside)] * 2)] = _WHITE
        columns.append(column)
    sheet = beside(columns, 3, 255)
    position = int(np.flatnonzero(places == strongest)[0]) + 1
    return MapStrip(
        jpeg(sheet, 78), sheet.shape[1], sheet.shape[0], PLANES[axis], len(places), len(amount), position
    )  # fmt: skip


def draw_slice(axis: Any, volume: Volume, title: str, plane: str = "axial") -> None:
    """The middle slice of a plane on axes of matplotlib."""
    standing, across = reoriented(_first_channel(volume), "LPS"), PLANES.index(plane)
    picture = upright(standing, across, standing.shape[across] // 2).astype(float)
    low, high = window(picture)
    height_mm, width_mm = extent_mm(standing, across)
    aspect = (height_mm / picture.shape[0]) / (width_mm / picture.shape[1])
    axis.imshow(picture, cmap="gray", vmin=low, vmax=high, aspect=aspect, interpolation="nearest")
    axis.set_title(title, fontsize=8, y=1)  # matplotlib looks for the place of a title by drawing all ticks first
    axis.set_axis_off()


def upright(volume: Volume, axis: int, place: int) -> np.ndarray:
    """A slice across one axis of a volume in LPS, as (rows, columns)."""
    plane = np.take(volume.array, place, axis).T  # (down, across)
    return plane if axis == 2 else plane[::-1]  # superior up


def extent_mm(volume: Volume, axis: int) -> tuple[float, float]:
    """Height and width of a slice across one axis of a volume in LPS, in mm."""
    across, down = (volume.shape[a] * volume.spacing_mm[a] for a in range(3) if a != axis)
    return float(down), float(across)


def window(values: np.ndarray) -> tuple[float, float]:
    """The grey values that are drawn black and white: 1st and 99.5th percentile."""
    low, high = (float(v) for v in np.percentile(np.asarray(values, np.float32), [1, 99.5]))
    return low, max(high, low + 1e-6)


def grey_levels(plane: np.ndarray, low: float, high: float) -> np.ndarray:
    """Grey values from 0 (black) to 1 (white)."""
    return np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1)


def as_bytes(picture: np.ndarray) -> np.ndarray:
    """A picture of 0 to 1 as uint8."""
    return (picture * 255).round().astype(np.uint8)


def resized(plane: np.ndarray, height: int, width: int, nearest: bool = False) -> np.ndarray:
    """A plane (rows, columns) with another number of pixels, float32; linear between them unless `nearest`."""
    from PIL import Image

    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(np.ascontiguousarray(plane, np.float32)).resize((width, height), how))


def beside(tiles: Sequence[np.ndarray], gap: int, fill: int) -> np.ndarray:
    """Pictures side by side, lower ones in the middle of the height, `fill` between and around them."""
    height = max(tile.shape[0] for tile in tiles)
    padded = []
    for tile in tiles:
        room = height - tile.shape[0]
        ends = ((room // 2, room - room // 2), (0, gap), *[(0, 0)] * (tile.ndim - 2))
        padded.append(np.pad(tile, ends, constant_values=fill))
    return np.concatenate(padded, axis=1)[:, :-gap]


def jpeg(picture: np.ndarray, quality: int) -> bytes:
    """A picture (rows, columns[, 3]) of uint8 as a JPEG file."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """A "png" or "jpeg" file as the source of an image on a page."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture (rows, columns[, 3]) of uint8."""
    from PIL import Image

    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG", optimize=True)


def _three_slices(
    grey: Volume, through: Volume | None, limits: tuple[float, float], max_bytes: int
) -> tuple[bytes, int, int, str]:
    """The largest JPEG that fits, its width and height, and what it shows; on one scale of mm."""
    standing = reoriented(grey, "LPS")
    centre = [n // 2 for n in standing.shape] if through is None else _centre(reoriented(through, "LPS").array)
    field = np.array(standing.shape) * standing.spacing_mm
    thin = int(np.argmin(field))
    if field[thin] < FLAT * field.max():
        places = [(thin, min(int(f * standing.shape[thin]), standing.shape[thin] - 1)) for f in DEPTHS]
        planes = f"{PLANES[thin]} slices at 30, 50 and 70 %"
        if through is not None:
            places[1] = (thin, centre[thin])
    else:
        places = [(axis, centre[axis]) for axis in (2, 1, 0)]
        planes = "middle axial, coronal and sagittal slice"
    tiles = [(grey_levels(upright(standing, *p), *limits), extent_mm(standing, p[0])) for p in places]
    longest = max(side for _, size in tiles for side in size)
    for pixels, quality in SIZES:
        scale = pixels / longest
        sizes = [(max(1, round(scale * height)), max(1, round(scale * width))) for _, (height, width) in tiles]
        scaled = [as_bytes(resized(plane, *size)) for (plane, _), size in zip(tiles, sizes, strict=True)]
        sheet = beside(scaled, 2, 0)
        found = jpeg(sheet, quality)
        if len(found) <= max_bytes:
            break
    return found, sheet.shape[1], sheet.shape[0], planes


def _first_channel(volume: Volume) -> Volume:
    return volume if volume.array.ndim == 3 else volume.with_array(volume.array[..., 0])


def _sample(volume: Volume) -> np.ndarray:
    values = volume.array.ravel(order="K")
    return values[:: max(1, values.size // _SAMPLE)].astype(np.float32)


def _centre(array: np.ndarray) -> list[int]:
    """Voxel at the centre of mass of what is marked; the middle when nothing is."""
    marked = np.nonzero(array)
    return [int(np.mean(m)) if len(m) else n // 2 for m, n in zip(marked, array.shape, strict=True)]


def _evenly(count: int, most: int) -> np.ndarray:
    """Numbers of all slices, or of `most` of them, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def _edge(inside: np.ndarray) -> np.ndarray:
    """The outermost pixels of a region."""
    padded = np.pad(inside, 1)
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return inside & ~core
