"""A frame: one 2D image with its place in the patient, and the one of a classic file."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass, replace

from scan2gene.core.errors import ScanError
from scan2gene.imaging.sources import Source
from scan2gene.imaging.tags import KEYWORDS, Header, numbers, numbers_of

# What may tell apart volumes that share their slice positions, in the order in which it is asked.
MARKS = (
    "ImageType", "EchoTime", "InversionTime", "DiffusionBValue", "DiffusionGradientOrientation", "SequenceName",
    "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "AcquisitionTime", "DimensionIndexValues",
    "RepetitionTime", "FlipAngle", "ContrastBolusAgent", "ScanningSequence",
)  # fmt: skip
# What a frame keeps of its header, in this order, so that every volume gets the values of its own files.
KEPT = (*KEYWORDS, "ScanningSequence", "SOPClassUID", "NumberOfFrames", "SamplesPerPixel", "PatientBirthDate")
TIMES = frozenset({"TriggerTime", "AcquisitionNumber", "AcquisitionTime"})  # may count otherwise than by volumes
_KEPT_AT = {keyword: n for n, keyword in enumerate(KEPT)}
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")


@dataclass(frozen=True, slots=True)
class Frame:
    """One 2D image.

    Args:
        source: The file.
        number: Frame of a multi-frame file, or tile of a mosaic; 0 for a classic file.
        exam: PatientID and StudyInstanceUID.
        instance: SOPInstanceUID.
        size: (columns, rows).
        samples: Values per pixel, 3 for RGB.
        position: (3,) centre of the first pixel, LPS mm.
        orientation: (6,) row direction, column direction.
        spacing: (mm between rows, mm between columns).
        order: InstanceNumber and `number`, for what nothing else tells apart.
        marks: One text per entry of `MARKS`.
        header: One text per entry of `KEPT`; frames of one series share the tuple.
        tiles: Tiles along a row of the mosaic; 0 when it is none.
        trouble: Why it has no place; empty when it has.
        damage: Why its pixels cannot be read, although its header can; empty when nothing is known against them.
    """

    source: Source
    number: int
    exam: tuple[str, ...]
    instance: str
    size: tuple[int, int]
    samples: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, ...]
    order: tuple[float, int]
    marks: tuple[str, ...]
    header: tuple[str, ...] = ("",) * len(KEPT)
    tiles: int = 0
    trouble: str = ""
    damage: str = ""

    def said(self, keyword: str) -> str:
        """Its header's text of one of `KEPT`."""
        return self.header[_KEPT_AT[keyword]]


def whole(text: str | None) -> int:
    """A header's whole number; 0 when there is none."""
    try:
        return int(float(text)) if text else 0
    except (ValueError, OverflowError):
        return 0


def exam_of(header: Header) -> tuple[str, ...]:
    """PatientID and StudyInstanceUID."""
    return header.get("PatientID", ""), header.get("StudyInstanceUID", "")


def samples_of(header: Header) -> int:
    """Values per pixel as it is read: colours of a palette are looked up."""
    palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
    return 3 if palette else whole(header.get("SamplesPerPixel")) or 1


def marks_of(header: Header) -> tuple[str, ...]:
    """What a classic header says of `MARKS`."""
    return tuple(header.get(mark, "") for mark in MARKS)


def kept_of(header: Header) -> tuple[str, ...]:
    """What a header says of `KEPT`; equal ones are one object, since a series repeats them for every slice."""
    return _shared(tuple([header.get(word, "") for word in KEPT]))


@functools.lru_cache(maxsize=1024)
def _shared(values: tuple[str, ...]) -> tuple[str, ...]:
    return values


@functools.lru_cache(maxsize=4096)
def birth_mark(date: str) -> str:
    """What stands for a birth date, so that two can be compared and none is kept; empty where it is not known."""
    digits = date.replace(".", "").replace("-", "")
    plausible = len(digits) == 8 and digits.isdigit() and digits[:4] > "1850" and digits != "19000101"  # a placeholder
    return hashlib.sha256(digits.encode()).hexdigest()[:16] if plausible else ""


def order_of(header: Header) -> float:
    """InstanceNumber; infinite where there is none."""
    try:
        number = float(header.get("InstanceNumber", ""))
    except ValueError:
        return math.inf
    return number if math.isfinite(number) else math.inf


def classic_frame(source: Source, header: Header) -> Frame:
    """The frame of a file that holds one image; `trouble` says why it has no place.

    Raises:
        ScanError: Numbers that place nothing.
    """
    trouble = ""
    if not whole(header.get("Rows")) or not whole(header.get("Columns")):
        trouble = f"not an image (modality {header.get('Modality') or 'unknown'})"
    else:
        missing = next((k for k in _PLACE if not header.get(k)), "")
        trouble = missing and f"a slice has no {missing}, so its place in the patient is unknown"
    return Frame(
        source,
        0,
        exam_of(header),
        header.get("SOPInstanceUID", ""),
        (whole(header.get("Columns")), whole(header.get("Rows"))),
        samples_of(header),
        *placed(header, trouble),
        (order_of(header), 0),
        marks_of(header),
        kept_of(header),
        0,
        trouble,
    )


def damaged_frame(source: Source, header: Header, damage: str) -> Frame:
    """The frame of a file whose header can be read and whose image cannot; placed where its header says."""
    try:
        if whole(header.get("NumberOfFrames")) > 1:
            raise ScanError(damage)
        return replace(classic_frame(source, header), damage=damage)
    except ScanError:
        bare = {k: v for k, v in header.items() if k not in _PLACE[:3]}
        return replace(classic_frame(source, bare), trouble=damage, damage=damage)


def placed(header: Header, trouble: str) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Position (3,), orientation (6,) and pixel spacing (2,) in mm; empty where there is trouble.

    Raises:
        ScanError: A wrong number of values, or impossible ones.
    """
    if trouble:
        return (), (), ()
    try:
        position = tuple(float(v) for v in header["ImagePositionPatient"].split("\\"))  # differs per slice: not cached
        return _checked(position, numbers(header["ImageOrientationPatient"]), numbers(header["PixelSpacing"]))
    except ValueError:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            numbers_of(header, keyword)
        raise


def _checked(
    position: tuple[float, ...], orientation: tuple[float, ...], spacing: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The three as they are.

    Raises:
        ScanError: Too few or too many numbers, or one that is not finite or no size.
    """
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        raise ScanError("ImagePositionPatient, ImageOrientationPatient or PixelSpacing has a wrong number of values")
    if not all(map(math.isfinite, (*position, *orientation, *spacing))) or min(spacing) <= 0:
        raise ScanError("ImagePositionPatient, ImageOrientationPatient or PixelSpacing holds an impossible number")
    return position, orientation, spacing
