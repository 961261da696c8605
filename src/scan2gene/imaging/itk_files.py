"""NRRD and MetaImage files, read by SimpleITK."""

from __future__ import annotations

import math
import re
from contextlib import nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from scan2gene.core.axes import axis_codes
from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import from_sitk
from scan2gene.core.volume import Kind, Volume
from scan2gene.imaging.header_geometry import UNPLACED, skew
from scan2gene.imaging.nifti import Checked, check_memory, check_shape, check_values, constant, label_array
from scan2gene.imaging.sources import MAX_DEFLATE_RATIO, Source

NRRD_SUFFIXES = (".nrrd", ".nhdr")
META_SUFFIXES = (".mha", ".mhd")
ITK_SUFFIXES = NRRD_SUFFIXES + META_SUFFIXES
_LARGE_BYTES, _ONE_LARGE = 256 << 20, Lock()
_HEAD_BYTES = 64 << 10  # a text header ends within these
_UNITS_MM = {"mm": 1.0, "millimeter": 1.0, "um": 0.001, "µm": 0.001, "μm": 0.001, "micron": 0.001, "microns": 0.001,
             "cm": 10.0, "m": 1000.0, "meter": 1000.0, "": 1.0, "?": 1.0, "???": 1.0}  # fmt: skip


def read_itk(source: Source, kind: Kind = "intensity", threshold: float | None = None) -> Volume:
    """Read one 3D volume, LPS turned to RAS+: array (I, J, K) float32 (labels keep integers).

    Args:
        source: A file; not a member of an archive.
        kind: "intensity" or "label".
        threshold: Of a label: voxels above it are 1, all others 0.

    Raises:
        ScanError: It cannot be read, is not 3D, or holds values that are not finite or, in a mask, not whole.
    """
    reader, head, _ = _reader(source)
    image = _image(source, reader)
    volume = _in_mm(from_sitk(image, kind), head)
    if volume.array.ndim == 4 or image.GetNumberOfComponentsPerPixel() > 1:
        return _colour(image, volume, kind)
    check_values(volume.array)
    array = volume.array
    return volume.with_array(label_array(array, threshold) if kind == "label" else array.astype(np.float32))


def check_itk(source: Source) -> Checked:
    """Read a file to its end and keep nothing.

    Raises:
        ScanError: As `read_itk`.
    """
    reader, head, need = _reader(source)
    # of the threads that index, one at a time holds a large image: a small file may unpack to it
    with _ONE_LARGE if need > _LARGE_BYTES else nullcontext():
        return _checked(source, _image(source, reader), head)


def _checked(source: Source, image: Any, head: dict[str, str]) -> Checked:
    if image.GetNumberOfComponentsPerPixel() > 1:
        volume, ends = _colour(image, _in_mm(from_sitk(image, "intensity"), head), "intensity"), []
    else:
        volume = _in_mm(from_sitk(image, "intensity"), head)
        ends = [*check_values(volume.array)]
    check_shape(volume.shape)
    notes = (
        [] if _has_axes(source, head) else [UNPLACED.format("no orientation in the header", axis_codes(volume.affine))]
    )
    return Checked(volume.shape, volume.affine, 1, "; ".join([*notes, *skew(volume.affine), *constant(ends)]))


def data_files(path: str | Path) -> list[str]:
    """Files beside a header that hold its voxels; none where they follow the header itself."""
    path = Path(path)
    key = {".mhd": "elementdatafile", ".nhdr": "data file"}.get(path.suffix.lower())
    if key is None or not path.is_file():
        return []
    with path.open("rb") as stream:
        head = _fields(stream.read(_HEAD_BYTES))
    name = head.get(key, head.get("datafile", ""))
    beside = path.parent / name
    return [str(beside)] if name and beside.is_file() else []


def _reader(source: Source) -> tuple[Any, dict[str, str], int]:
    """A reader of a three-dimensional image, the fields of its text header, and the bytes of its voxels."""
    import SimpleITK as sitk

    if source.archive:
        raise ScanError(f"{Path(source.path).suffix} files are not read inside a zip archive: unpack it first")
    sitk.ProcessObject.SetGlobalWarningDisplay(False)  # ITK would print paths; what is odd is judged here
    head = _fields(source.read(_HEAD_BYTES))
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if source.name.endswith(NRRD_SUFFIXES) else "MetaImageIO")
    reader.SetFileName(source.path)
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise _damaged(source) from None
    shape = list(reader.GetSize())
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 3:
        raise ScanError(f"expected 3D, found shape {tuple(shape)}: write each volume to a file of its own")
    stored = source.size + sum(Path(file).stat().st_size for file in data_files(source.path))
    values = math.prod(shape) * reader.GetNumberOfComponents()
    if values > stored * MAX_DEFLATE_RATIO:
        raise ScanError("damaged or cut short (more voxels than the file holds)")
    need = values * sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    check_memory(need)
    return reader, head, need


def _image(source: Source, reader: Any) -> Any:
    try:
        image = reader.Execute()
    except RuntimeError:
        raise _damaged(source) from None
    while image.GetDimension() > 3:
        image = image[(slice(None),) * (image.GetDimension() - 1) + (0,)]
    return image


def _damaged(source: Source) -> ScanError:
    """In place of ITK's own text, which names files and lines of its build."""
    return ScanError(f"not a readable {_format(source)} file: damaged, cut short, or its data file is missing")


def _format(source: Source) -> str:
    return "NRRD" if source.name.endswith(NRRD_SUFFIXES) else "MetaImage"


def _fields(head: bytes) -> dict[str, str]:
    """Fields of a text header, lower-case names: `name: value` of NRRD, `Name = value` of MetaImage."""
    text = re.split(rb"\r?\n\r?\n|ElementDataFile *= *LOCAL", head, maxsplit=1)[0].decode("utf-8", "replace")
    pairs = [re.match(r"([A-Za-z][A-Za-z ]*?) *[:=](?!=) *(.*?) *$", line) for line in text.splitlines()]
    return {pair[1].lower(): pair[2] for pair in pairs if pair}


def _has_axes(source: Source, head: dict[str, str]) -> bool:
    """Whether the header says how the voxel axes lie in the patient."""
    if source.name.endswith(NRRD_SUFFIXES):
        return "space directions" in head and re.search(r"right|left|^[RL][AP][SI]", head.get("space", "")) is not None
    return any(name in head for name in ("transformmatrix", "rotation", "orientation"))


def _in_mm(volume: Volume, head: dict[str, str]) -> Volume:
    """Headers may state units, which ITK passes over; mm where there are none.

    Raises:
        ScanError: Units that are no lengths, or differ between the axes.
    """
    words = re.findall(r'"([^"]*)"', head.get("space units", head.get("units", "")))
    lengths = {word.strip().lower() for word in words[-3:]} or {head.get("distanceunits", "").lower()}
    if len(lengths) > 1 or not lengths <= _UNITS_MM.keys():
        raise ScanError(f"space units {', '.join(sorted(lengths))}: write all three axes in mm")
    affine = volume.affine.copy()
    affine[:3] *= _UNITS_MM[lengths.pop()]
    return Volume(volume.array, affine, volume.kind)


def _colour(image: Any, volume: Volume, kind: Kind) -> Volume:
    """Several values per voxel: colours as a last axis, as of other formats; anything else is refused."""
    import SimpleITK as sitk

    channels = image.GetNumberOfComponentsPerPixel()
    if kind == "label" or channels not in (3, 4) or image.GetPixelID() != sitk.sitkVectorUInt8:
        what = "overlapping segments or a vector" if kind == "label" else "a vector"
        raise ScanError(f"{channels} values per voxel ({what}): write one volume with one value per voxel")
    array = sitk.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    return volume.with_array(array.astype(np.float32))
