"""From DICOM files to frames: one 2D image each, with its place in the patient.

A classic file holds one frame, an enhanced one many, a Siemens mosaic one file of tiles.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.imaging.sources import Source, as_stream
from scan2gene.imaging.tags import KEYWORDS, NATIVE, Header, numbers, of_dataset, plain, scan

HEAD_BYTES = 16 << 10  # nearly every header's wanted part lies in here
# What may tell apart volumes that share their slice positions, in the order in which it is asked.
MARKS = (
    "ImageType", "EchoTime", "InversionTime", "DiffusionBValue", "DiffusionGradientOrientation", "SequenceName",
    "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber", "AcquisitionTime", "DimensionIndexValues",
)  # fmt: skip
TIMES = frozenset({"TriggerTime", "AcquisitionNumber", "AcquisitionTime"})  # may count otherwise than by volumes
MAX_COMPRESSION = 1000  # lossless codecs reach this on empty slices only
_DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
# Enhanced MR, legacy converted enhanced MR, enhanced CT: they may hold one frame.
ENHANCED = frozenset(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4.1", "4.4", "2.1"))
_IN_STACK = frozenset({0x00209057, 0x00200032})  # dimensions that count slices: InStackPositionNumber, position
_CLASSIC = {"EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime"}  # keywords as classic files have them
_SUFFIXES = (".dcm", ".ima", ".dicom", ".dcm.gz", ".ima.gz")
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
        tiles: Tiles along a row of the mosaic; 0 when it is none.
        trouble: Why it has no place; empty when it has.
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
    tiles: int = 0
    trouble: str = ""


def read_frames(source: Source) -> tuple[Header, list[Frame]] | None:
    """Header and frames of one file, its pixels unread; None when it is no DICOM image file by any sign.

    Raises:
        ScanError: It looks or is named like DICOM but cannot be read.
    """
    try:
        return _frames(source)
    except ScanError:
        raise
    except Exception as error:  # headers hold anything; what they hold is not repeated, it may be a name
        raise ScanError(f"unreadable ({type(error).__name__})") from None


def _frames(source: Source) -> tuple[Header, list[Frame]] | None:
    head = source.read(HEAD_BYTES)
    named = source.name.endswith(_SUFFIXES)
    if head[128:132] != b"DICM" and not named and not _bare(head):
        return None
    if not head:
        raise ScanError("an empty file")
    if not head.strip(b"\0"):
        raise ScanError("the file begins with zeros only, as after a failed copy")
    header = scan(head, complete=len(head) < HEAD_BYTES)
    if header is None and len(head) == HEAD_BYTES and head[128:132] == b"DICM":
        header = scan(source.read(1 << 20), complete=False)
    if header is None:
        header = of_dataset(read_dataset(source))
    if header["MediaStorageSOPClassUID"] == _DIRECTORY:
        return None
    if not header.get("SOPInstanceUID") and not header.get("SeriesInstanceUID"):
        raise ScanError("a DICOM file without image identifiers")
    _refuse_cut_short(source, header)
    if _whole(header.get("NumberOfFrames")) > 1 or header.get("SOPClassUID") in ENHANCED:
        dataset = read_dataset(source)
        return _enhanced_header(header, dataset), _enhanced_frames(source, header, dataset)
    if "MOSAIC" in header.get("ImageType", "").split("\\"):
        return header, _mosaic_frames(source, header, read_dataset(source))
    return header, [_classic_frame(source, header)]


def _bare(head: bytes) -> bool:
    """A data set without preamble: little endian, beginning with group 0002 or 0008."""
    return head[:2] in (b"\x08\0", b"\x02\0") and head[3:4] == b"\0" and len(head) > 64


def read_dataset(source: Source, pixels: bool = False, words: list[str] | None = None) -> Any:
    """A file by pydicom.

    Args:
        source: The file.
        pixels: With its pixels.
        words: Keywords of the elements that are wanted; default: all.

    Raises:
        ScanError: It cannot be parsed.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # What is odd is judged here; pydicom's warnings would print paths and values, and those may be names.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
    try:
        with as_stream(source) as stream:
            start = stream.read(132)
            stream.seek(0)
            bare = start[128:132] != b"DICM"
            if bare and not _bare(start):
                raise ScanError("not a readable DICOM file: it has neither the DICM mark nor a DICOM data set")
            dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=bare, specific_tags=words)
            if "TransferSyntaxUID" not in dataset.file_meta:
                implicit = dataset.is_implicit_VR
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            return dataset
    except ScanError:
        raise
    except Exception as error:  # damaged headers raise many kinds
        raise ScanError(f"not a readable DICOM file ({type(error).__name__})") from None


def _refuse_cut_short(source: Source, header: Header) -> None:
    """An uncompressed image needs so many bytes, a compressed one a small share of them; fewer, and it was cut.

    Also a guard against a damaged header that asks for more memory than there is.
    """
    samples = 1
    for keyword in ("NumberOfFrames", "SamplesPerPixel"):
        samples *= max(_whole(header.get(keyword)), 1)
    bits = _whole(header.get("BitsAllocated"))
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":  # two pixels share their colour
        samples, bits = samples // 3, 2 * bits
    need = samples * _whole(header.get("Rows")) * _whole(header.get("Columns")) * bits // 8
    gzipped = source.name.endswith(".gz")  # then the size is that of the packed file
    left = source.size - (0 if gzipped else int(header.get("HeaderBytes", 0)))
    packed = gzipped or header.get("TransferSyntaxUID") not in NATIVE
    if left * (MAX_COMPRESSION if packed else 1) < need:
        raise ScanError(f"cut short: the image needs {need} bytes and the file has {left} after its header")


def _whole(text: str | None) -> int:
    try:
        return int(float(text)) if text else 0
    except ValueError:
        return 0


def _exam(header: Header) -> tuple[str, ...]:
    return header.get("PatientID", ""), header.get("StudyInstanceUID", "")


def _samples(header: Header) -> int:
    """Values per pixel as it is read: colours of a palette are looked up."""
    palette = header.get("PhotometricInterpretation") == "PALETTE COLOR"
    return 3 if palette else _whole(header.get("SamplesPerPixel")) or 1


def _marks(header: Header) -> tuple[str, ...]:
    return tuple(header.get(mark, "") for mark in MARKS)


def _order(header: Header) -> float:
    """InstanceNumber; infinite where there is none."""
    try:
        number = float(header.get("InstanceNumber", ""))
    except ValueError:
        return math.inf
    return number if math.isfinite(number) else math.inf


def _classic_frame(source: Source, header: Header) -> Frame:
    trouble = ""
    if not _whole(header.get("Rows")) or not _whole(header.get("Columns")):
        trouble = f"not an image (modality {header.get('Modality') or 'unknown'})"
    else:
        missing = next((k for k in _PLACE if not header.get(k)), "")
        trouble = missing and f"a slice has no {missing}, so its place in the patient is unknown"
    return Frame(
        source,
        0,
        _exam(header),
        header.get("SOPInstanceUID", ""),
        (_whole(header.get("Columns")), _whole(header.get("Rows"))),
        _samples(header),
        *_place(header, trouble),
        (_order(header), 0),
        _marks(header),
        0,
        trouble,
    )


def _place(header: Header, trouble: str) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    if trouble:
        return (), (), ()
    position = tuple(float(v) for v in header["ImagePositionPatient"].split("\\"))  # differs per slice: not cached
    return _checked(position, numbers(header["ImageOrientationPatient"]), numbers(header["PixelSpacing"]))


def _checked(
    position: tuple[float, ...], orientation: tuple[float, ...], spacing: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The three as they are.

    Raises:
        ScanError: Too few or too many numbers, or one that is not finite or no size.
    """
    if (len(position), len(orientation), len(spacing)) != (3, 6, 2):
        raise ScanError("ImagePositionPatient, ImageOrientationPatient or PixelSpacing has a wrong number of values")
    if not np.isfinite((*position, *orientation, *spacing)).all() or min(spacing) <= 0:
        raise ScanError("ImagePositionPatient, ImageOrientationPatient or PixelSpacing holds an impossible number")
    return position, orientation, spacing


# -- enhanced multi-frame ---------------------------------------------------------------


def _enhanced_frames(source: Source, header: Header, dataset: Any) -> list[Frame]:
    """Frames of a multi-frame file (PS3.3 C.7.6.16): per-frame groups, else the shared ones."""
    count = max(_whole(header.get("NumberOfFrames")), 1)
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    trouble = ""
    if len(per_frame) != count:
        trouble, count = "a multi-frame file that does not say where each frame lies", 1  # a damaged count is endless
    elif not _whole(header.get("Rows")) or not _whole(header.get("Columns")):
        trouble = "a multi-frame file without pixels"
    dimensions = [item.get("DimensionIndexPointer") for item in dataset.get("DimensionIndexSequence") or []]
    frames = []
    for number in range(count):
        groups = [*per_frame[number : number + 1], *shared[:1]]

        def value(sequence: str, keyword: str, groups: list[Any] = groups) -> str:
            return _first(groups, sequence, keyword)

        place = {
            "ImagePositionPatient": value("PlanePositionSequence", "ImagePositionPatient"),
            "ImageOrientationPatient": value("PlaneOrientationSequence", "ImageOrientationPatient"),
            "PixelSpacing": value("PixelMeasuresSequence", "PixelSpacing"),
        }
        lost = trouble or next((f"a frame has no {k}, so its place is unknown" for k, v in place.items() if not v), "")
        marks = (
            value("MRImageFrameTypeSequence", "FrameType") or header.get("ImageType", ""),
            value("MREchoSequence", "EffectiveEchoTime"),
            value("MRModifierSequence", "InversionTimes"),
            value("MRDiffusionSequence", "DiffusionBValue"),
            _gradient(groups),
            "",
            value("FrameContentSequence", "TemporalPositionIndex"),
            value("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
            value("FrameContentSequence", "FrameAcquisitionNumber"),
            value("FrameContentSequence", "FrameAcquisitionDateTime")[8:],  # the time of YYYYMMDDHHMMSS
            _index_of_volume(value("FrameContentSequence", "DimensionIndexValues"), dimensions),
        )
        size = (_whole(header.get("Columns")), _whole(header.get("Rows")))
        frames.append(
            Frame(
                source,
                number,
                _exam(header),
                header.get("SOPInstanceUID", ""),
                size,
                _samples(header),
                *_place(place, lost),
                (_order(header), number),
                marks,
                0,
                lost,
            )
        )
    return frames


def _first(groups: list[Any], sequence: str, keyword: str) -> str:
    """A value from the first group that has it, as text."""
    items = (group.get(sequence) for group in groups)
    return next((plain(i[0].get(keyword)) for i in items if i and i[0].get(keyword) is not None), "")


def _gradient(groups: list[Any]) -> str:
    """Direction of the diffusion gradient, else whether there is one."""
    diffusion = [items[0] for group in groups if (items := group.get("MRDiffusionSequence"))]
    direction = _first(diffusion, "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation")
    return direction or _first(groups, "MRDiffusionSequence", "DiffusionDirectionality")


def _index_of_volume(values: str, dimensions: list[Any]) -> str:
    """A frame's dimension indices (PS3.3 C.7.6.17) without those that count slices."""
    numbered = values.split("\\") if values else []
    if len(numbered) != len(dimensions):
        return ""
    return "\\".join(v for v, tag in zip(numbered, dimensions, strict=True) if tag not in _IN_STACK)


def _enhanced_header(header: Header, dataset: Any) -> Header:
    """The header, with what an enhanced file keeps in the functional groups of its first frame."""
    groups = [
        *list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[:1],
        *list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1],
    ]
    found: Header = {}
    for group in groups:
        for element in group:
            for item in element.value[:1] if element.VR == "SQ" and element.value else []:
                for one in item:  # private elements may be of unknown type
                    keyword = _CLASSIC.get(one.keyword, one.keyword)
                    if keyword in KEYWORDS and one.VR != "SQ":
                        found.setdefault(keyword, plain(one.value))
    return header | {k: v for k, v in found.items() if v and not header.get(k)}


# -- Siemens mosaic ---------------------------------------------------------------------


def _mosaic_frames(source: Source, header: Header, dataset: Any) -> list[Frame]:
    """Tiles of a Siemens mosaic: the slices of one volume laid out on one picture.

    The position in the header is the mosaic's corner as if all of it were one slice, so
    the first tile's corner lies half the difference of the two fields further in.

    Source: nibabel, "Siemens mosaic format"; the CSA header's NumberOfImagesInMosaic and
    SliceNormalVector.
    """
    count, normal = _csa(dataset)
    across = int(np.ceil(np.sqrt(count)))
    size = (_whole(header.get("Columns")), _whole(header.get("Rows")))
    if not count or size[0] % across or size[1] % across:
        raise ScanError("a Siemens mosaic without the private header that says how many slices it holds")
    tile = (size[0] // across, size[1] // across)
    frame = _classic_frame(source, header)
    step = numbers(header.get("SpacingBetweenSlices", "")) or numbers(header.get("SliceThickness", ""))
    if frame.trouble or not step:
        raise ScanError(frame.trouble or "a Siemens mosaic without SpacingBetweenSlices")
    row, column = np.array(frame.orientation[:3]), np.array(frame.orientation[3:])
    own = np.cross(row, column)
    direction = own if normal is None or own @ normal >= 0 else -own
    corner = np.array(frame.position)
    corner = corner + row * frame.spacing[1] * (size[0] - tile[0]) / 2
    corner = corner + column * frame.spacing[0] * (size[1] - tile[1]) / 2
    frames = []
    for number in range(count):
        position = tuple(float(v) for v in corner + direction * step[0] * number)
        order = (frame.order[0], number)
        frames.append(replace(frame, number=number, size=tile, position=position, order=order, tiles=across))
    return frames


def _csa(dataset: Any) -> tuple[int, np.ndarray | None]:
    """Slices and slice normal of a mosaic's private header; 0 and None where there is none."""
    with warnings.catch_warnings():  # nibabel warns at import that its DICOM part is young
        warnings.simplefilter("ignore")
        from nibabel.nicom import csareader

    try:
        tags = (csareader.get_csa_header(dataset, "image") or {}).get("tags", {})
        count = tags["NumberOfImagesInMosaic"]["items"]
        normal = tags["SliceNormalVector"]["items"]
        return int(count[0]), np.array(normal, float) if len(normal) == 3 else None
    except Exception:  # private headers hold anything
        found = dataset.get((0x0019, 0x100A))
        digits = re.fullmatch(r"\d+", str(found.value)) if found is not None else None
        return (int(digits[0]) if digits else 0), None
