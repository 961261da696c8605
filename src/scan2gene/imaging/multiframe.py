"""Files of many images: enhanced multi-frame, and the Siemens mosaic of tiles."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.imaging.frame import Frame, classic_frame, exam_of, kept_of, order_of, placed, samples_of, whole
from scan2gene.imaging.sources import Source
from scan2gene.imaging.tags import KEYWORDS, Header, numbers_of, plain

_IN_STACK = frozenset({0x00209057, 0x00200032})  # dimensions that count slices: InStackPositionNumber, position
# Keywords as classic files have them.
_CLASSIC = {"EffectiveEchoTime": "EchoTime", "InversionTimes": "InversionTime"}
_TIMING = "MRTimingAndRelatedParametersSequence"


# -- enhanced multi-frame ---------------------------------------------------------------


def enhanced_frames(source: Source, header: Header, dataset: Any) -> list[Frame]:
    """Frames of a multi-frame file (PS3.3 C.7.6.16): per-frame groups, else the shared ones."""
    count = max(whole(header.get("NumberOfFrames")), 1)
    per_frame = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    trouble = ""
    if len(per_frame) != count:
        trouble, count = "a multi-frame file that does not say where each frame lies", 1  # a damaged count is endless
    elif not whole(header.get("Rows")) or not whole(header.get("Columns")):
        trouble = "a multi-frame file without pixels"
    kept = kept_of(header)
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
            value(_TIMING, "RepetitionTime") or header.get("RepetitionTime", ""),
            value(_TIMING, "FlipAngle") or header.get("FlipAngle", ""),
            header.get("ContrastBolusAgent", ""),
            header.get("ScanningSequence", ""),
        )
        size = (whole(header.get("Columns")), whole(header.get("Rows")))
        frames.append(
            Frame(
                source,
                number,
                exam_of(header),
                header.get("SOPInstanceUID", ""),
                size,
                samples_of(header),
                *placed(place, lost),
                (order_of(header), number),
                marks,
                kept,
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


def enhanced_header(header: Header, dataset: Any) -> Header:
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
    if dataset.get("EchoPlanarPulseSequence") == "YES":
        found["ScanningSequence"] = "EP"  # as a classic file says it
    return header | {k: v for k, v in found.items() if v and not header.get(k)}


# -- Siemens mosaic ---------------------------------------------------------------------


def mosaic_frames(source: Source, header: Header, dataset: Any) -> list[Frame]:
    """Tiles of a Siemens mosaic: the slices of one volume laid out on one picture.

    The position in the header is the mosaic's corner as if all of it were one slice, so
    the first tile's corner lies half the difference of the two fields further in.

    Source: nibabel, "Siemens mosaic format"; the CSA header's NumberOfImagesInMosaic and
    SliceNormalVector.
    """
    count, normal = _csa(dataset)
    across = int(np.ceil(np.sqrt(count)))
    size = (whole(header.get("Columns")), whole(header.get("Rows")))
    if not count or size[0] % across or size[1] % across:
        raise ScanError("a Siemens mosaic without the private header that says how many slices it holds")
    tile = (size[0] // across, size[1] // across)
    frame = classic_frame(source, header)
    step = numbers_of(header, "SpacingBetweenSlices") or numbers_of(header, "SliceThickness")
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
