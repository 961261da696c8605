"""Pixels of DICOM frames to volumes.

Uncompressed little-endian files are read directly, everything else by pydicom and its
decoders. DICOM's LPS becomes RAS+ in `grid.grid`, nowhere else.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.imaging.frame import Frame, whole
from scan2gene.imaging.frames import ENHANCED, ROOM_BYTES, read_dataset
from scan2gene.imaging.grid import Stack, grid
from scan2gene.imaging.sources import Source
from scan2gene.imaging.tags import NATIVE, Header, scan

# Samples per pixel and photometric interpretation that need no conversion; ARGB is retired and still met.
_PLAIN = frozenset({(1, "MONOCHROME1"), (1, "MONOCHROME2"), (3, "RGB"), (4, "ARGB")})
_SMALLEST_SLOPE, _LARGEST_SLOPE = 1e-25, 1e25  # with them, 32-bit voxels stay within float32
_FRAME_HEADER_BYTES = 64 << 10
_EPSILON = float(np.finfo(np.float32).eps)
_READERS = 4  # threads: files are read while others are converted


def read_stack(stack: Stack) -> Volume:
    """Read the frames of one volume: array (I, J, K) float32, rescale applied.

    8-bit colour gives (I, J, K, C).

    Raises:
        ScanError: Not a regular stack, or a frame that cannot be decoded.
    """
    frames, shape, affine = grid(stack)
    channels = frames[0].samples
    colour = (channels,) if channels > 1 else ()
    array = np.empty((shape[2], shape[1], shape[0], *colour), dtype=np.float32)  # (K, J, I), as the files hold it
    by_file: list[tuple[Source, list[tuple[int, Frame]]]] = [
        (source, list(members))
        for source, members in groupby(
            sorted(enumerate(frames), key=lambda pair: pair[1].source.path), key=lambda pair: pair[1].source
        )
    ]
    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(lambda work: _read_file(work[0], work[1], array), by_file))
    return Volume(array.swapaxes(0, 2), affine)


def _read_file(source: Source, members: list[tuple[int, Frame]], array: np.ndarray) -> None:
    try:
        _read_frames(source, members, array)
    except ScanError:
        raise
    except MemoryError:
        raise ScanError("a slice cannot be decoded: there is not enough memory") from None
    except Exception as error:  # headers hold anything
        raise ScanError(f"a slice cannot be decoded: its header is inconsistent ({type(error).__name__})") from None


def _read_frames(source: Source, members: list[tuple[int, Frame]], array: np.ndarray) -> None:
    """Write the frames of one file into their slices of `array` (K, J, I[, C])."""
    frame = members[0][1]
    # what a packed file may unpack to: all its frames, of the largest kind of voxel, each with a header
    count = max(frame.tiles**2, whole(frame.said("NumberOfFrames")), 1)
    room = count * (8 * frame.samples * frame.size[0] * frame.size[1] + _FRAME_HEADER_BYTES)
    if len(members) == 1 and not frame.tiles and frame.number == 0:
        data = source.read(room + ROOM_BYTES)
        header = scan(data, complete=True, pixels=True)
        pixels = _native_pixels(data, header) if header else None
        if pixels is not None and header is not None:
            slope, intercept = _numbers(header.get("RescaleSlope"), header.get("RescaleIntercept"))
            _rescale(pixels, slope, intercept, _fitting(array[members[0][0]], pixels))
            return
    dataset = read_dataset(source, pixels=room)
    mosaic = _decoded(dataset, 0) if frame.tiles else None
    for k, one in members:
        pixels = _decoded(dataset, one.number) if mosaic is None else _tile(mosaic, one)
        slope, intercept = _frame_rescale(dataset, one.number)
        _rescale(pixels, slope, intercept, _fitting(array[k], pixels))


def _tile(mosaic: np.ndarray, frame: Frame) -> np.ndarray:
    line, place = divmod(frame.number, frame.tiles)
    columns, rows = frame.size
    return mosaic[line * rows : (line + 1) * rows, place * columns : (place + 1) * columns]


def _fitting(target: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    if target.shape != pixels.shape:
        raise ScanError(f"a slice decodes to shape {pixels.shape} where its header says {target.shape}")
    return target


def _rescale(pixels: np.ndarray, slope: float, intercept: float, target: np.ndarray) -> None:
    target[...] = pixels
    if slope != 1:
        target *= np.float32(slope)
    if intercept != 0:
        target += np.float32(intercept)
    if pixels.dtype.kind == "f" and not np.isfinite(target).all():
        raise ScanError("voxels beyond what float32 can hold")


def _numbers(slope: Any, intercept: Any) -> tuple[float, float]:
    """Slope and intercept; a slope of 0, which would wipe the image out, is none."""
    try:
        found = float(slope or 1) or 1.0, float(intercept or 0)
    except (TypeError, ValueError):
        raise ScanError("RescaleSlope or RescaleIntercept is no number") from None
    if not np.isfinite(found).all():
        raise ScanError("RescaleSlope or RescaleIntercept is not finite")
    slope_, intercept_ = map(abs, found)
    if not _SMALLEST_SLOPE <= slope_ <= _LARGEST_SLOPE or intercept_ * _EPSILON > slope_:
        raise ScanError("RescaleSlope or RescaleIntercept is so large or small that float32 loses the grey values")
    return found


def _native_pixels(data: bytes, header: Header) -> np.ndarray | None:
    """Pixels (rows, columns[, channels]) of an uncompressed file; None when pydicom should decode it."""
    stored = header.get("PixelData", "").split()
    samples = _int(header, "SamplesPerPixel") or 1
    if not (
        len(stored) == 2
        and header["TransferSyntaxUID"] in NATIVE
        and (samples, header.get("PhotometricInterpretation", "")) in _PLAIN
        and header.get("NumberOfFrames", "") in ("", "1")
        and header.get("SOPClassUID") not in ENHANCED  # whose rescale lies in its functional groups
        and header.get("BitsAllocated") in ("8", "16")
        and _int(header, "HighBit") == _int(header, "BitsStored") - 1
        and "ModalityLUTSequence" not in header
    ):
        return None
    bits, stored_bits = _int(header, "BitsAllocated"), _int(header, "BitsStored")
    if not 0 < stored_bits <= bits:
        raise ScanError(f"a slice cannot be decoded: BitsStored is {stored_bits} and BitsAllocated {bits}")
    kind = f"<{'i' if header.get('PixelRepresentation') == '1' else 'u'}{bits // 8}"
    rows, columns = _int(header, "Rows"), _int(header, "Columns")
    offset, length = int(stored[0]), int(stored[1])
    count = rows * columns * samples
    if length < count * bits // 8 or offset + count * bits // 8 > len(data):
        raise ScanError("a slice cannot be decoded: its pixel data are cut short")
    pixels = np.frombuffer(data, kind, count, offset)
    unused = bits - stored_bits
    if unused:  # overlays of old files lie in the unused bits: shift them out, the sign back in
        pixels = (pixels << unused) >> unused
    if samples == 1:
        return pixels.reshape(rows, columns)
    by_plane = header.get("PlanarConfiguration") == "1"
    colour = (
        pixels.reshape(samples, rows, columns).transpose(1, 2, 0) if by_plane else pixels.reshape(rows, columns, -1)
    )
    return np.roll(colour, -1, axis=-1) if samples == 4 else colour  # ARGB to RGBA


def _int(header: Header, keyword: str) -> int:
    return int(float(header.get(keyword) or 0))


def _decoded(dataset: Any, number: int) -> np.ndarray:
    """One frame (rows, columns[, channels]) by pydicom, colour as RGB."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    try:
        pixels = pixel_array(dataset, index=number)
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            pixels = apply_color_lut(pixels, dataset)
        if "ModalityLUTSequence" in dataset:
            pixels = apply_modality_lut(pixels, dataset)
    except BaseException as error:  # a decoder in Rust panics past Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ScanError(f"a slice cannot be decoded{_cause(dataset, error)}") from None
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise ScanError("voxels that are not finite numbers")
    return pixels


def _cause(dataset: Any, error: BaseException) -> str:
    """Whether a decoder is missing or the file is at fault."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import UID

    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID", "")))
    if syntax.is_private or not syntax.is_transfer_syntax:
        return ": its transfer syntax is not one of DICOM"
    try:
        missing = syntax.is_encapsulated and not get_decoder(syntax).is_available
    except NotImplementedError:
        return f": pydicom has no decoder for {syntax.name}"
    if missing:
        return f": {syntax.name} needs `pip install scan2gene[codecs]`"
    return f": its pixel data are damaged, or do not fit its header ({type(error).__name__})"


def _frame_rescale(dataset: Any, number: int) -> tuple[float, float]:
    """Slope and intercept of one frame: its own, the shared or the file's."""
    groups = [
        *list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[number : number + 1],
        *list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1],
    ]
    found = [s[0] for g in groups if (s := g.get("PixelValueTransformationSequence"))]
    holder = found[0] if found else dataset
    return _numbers(holder.get("RescaleSlope"), holder.get("RescaleIntercept"))
