"""NIfTI in and out; Analyze pairs and FreeSurfer's MGH, which nibabel reads too, in."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.files import atomic_path
from scan2gene.core.text import file_size
from scan2gene.core.volume import Kind, Volume
from scan2gene.imaging.grid import MIN_SLICES
from scan2gene.imaging.header_geometry import affine_mm, odd_geometry
from scan2gene.imaging.sources import MAX_DEFLATE_RATIO, MAX_UNPACKED_BYTES, Source

NIFTI_SUFFIXES = (".nii", ".nii.gz")
MGH_SUFFIXES = (".mgh", ".mgz")
PAIR_SUFFIX = ".img"  # of voxels; the header lies beside it as .hdr
GZIP = b"\x1f\x8b"
_CHECKED_BYTES = 16 << 20  # of a file, checked at once: what a thread needs, however large the file unpacks to
_DAMAGED = "not a readable NIfTI file: damaged or cut short ({})"
_WHOLE = 1e-3  # what a mask value may miss a whole number by: a slope is stored in 32 bits
_FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Checked:
    """What a file holds.

    Args:
        shape: Voxels along i, j, k.
        affine: (4, 4) RAS+ mm.
        count: Number of volumes.
        note: What a user should know about it; empty where nothing is odd.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    count: int = 1
    note: str = ""


def read_nifti(
    path: str | Path | Source, kind: Kind = "intensity", number: int | None = None, threshold: float | None = None
) -> Volume:
    """Read one 3D volume: array (I, J, K) float32 (labels keep integers), slope and intercept applied.

    Args:
        path: The file, or a `Source`, which may lie in a zip archive.
        kind: "intensity" or "label".
        number: Volume of a 4D file.
        threshold: Of a label: voxels above it are 1, all others 0.

    Returns:
        The volume, its affine in mm whatever the header's unit.

    Raises:
        ScanError: Not a NIfTI, cut short, not 3D, with values that are complex or not finite,
            or a label that is not whole or outside 0 to 255.
    """
    with _opened(path) as image:
        shape = _volume_shape(image, path)
        if number is None and len(shape) == 4:
            raise ScanError(f"a 4D file of {shape[3]} volumes; name one as FILE#0 to FILE#{shape[3] - 1}")
        if number is not None and not 0 <= number < (shape[3] if len(shape) == 4 else 1):
            raise ScanError(f"there is no volume {number} in a file of shape {shape}")
        array = _values(image, ... if len(shape) == 3 else (..., number))
        affine = affine_mm(image)
    array = array.reshape(shape[:3])
    if array.dtype.names:  # RGB(A) is stored as a structure; channels become the last axis
        if kind == "label":
            raise ScanError("a colour image, which is no mask")
        colours = np.stack([array[n] for n in array.dtype.names], axis=-1).astype(np.float32)
        return Volume(colours, affine)
    check_values(array)
    array = label_array(array, threshold) if kind == "label" else array.astype(np.float32)
    return Volume(array, affine, kind)


def check_nifti(source: Source) -> Checked:
    """Read a file to its end, volume by volume, and keep nothing.

    Raises:
        ScanError: As `read_nifti`, and for an affine that places nothing.
    """
    with _opened(source) as image:
        shape = _volume_shape(image, source)
        count = shape[3] if len(shape) == 4 else 1
        step = max(1, _CHECKED_BYTES // max(1, math.prod(shape[:-1]) * 8))
        ends: list[float] = []
        for begin in range(0, shape[-1], step):  # slices of a volume, volumes of a 4D file: as they lie in the file
            rest = (0,) * (len(image.shape) - len(shape))
            part = _values(image, (..., slice(begin, begin + step), *rest))
            if not part.dtype.names:
                ends += check_values(part)
        i, j, k = shape[:3]
        check_shape((i, j, k))
        affine = affine_mm(image)
        Volume(np.empty((1, 1, 1), np.uint8), affine)  # checks the affine
        return Checked((i, j, k), affine, count, "; ".join([*odd_geometry(image, affine), *constant(ends)]))


def _values(image: Any, where: Any) -> np.ndarray:
    try:
        return np.asanyarray(image.dataobj[where])
    except Exception as error:  # zlib and OS raise their own
        raise ScanError(_DAMAGED.format(type(error).__name__)) from error


def check_shape(shape: tuple[int, int, int]) -> None:
    """Refuse what is no volume."""
    if min(shape) < MIN_SLICES:
        i, j, k = shape
        raise ScanError(f"shape {i}x{j}x{k}; a volume needs at least {MIN_SLICES} voxels along each axis")


def constant(ends: list[float]) -> list[str]:
    """A note where the smallest and largest values of all parts are one value: nothing is marked, or nothing seen."""
    return [f"every voxel is {ends[0]:g}"] if ends and min(ends) == max(ends) else []


def check_values(array: np.ndarray) -> tuple[float, float]:
    """Smallest and largest value.

    Raises:
        ScanError: Values that are complex, not finite, or beyond what float32 holds.
    """
    if array.dtype.kind == "c":
        raise ScanError("complex values, of which one part would be lost: write the magnitude to a file of its own")
    low, high = float(array.min()), float(array.max())  # a NaN shows in both
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ScanError("voxels that are not finite numbers")
    if max(-low, high) > _FLOAT32_MAX:
        raise ScanError(f"values up to {max(-low, high):.3g}, beyond 32-bit numbers: is the slope in the header right?")
    return low, high


@contextmanager
def _opened(path: str | Path | Source) -> Iterator[Any]:
    """An image whose voxels are read when they are asked for, out of zip archives and gzip too."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError

    file = path.path if isinstance(path, Source) else str(path)
    with ExitStack() as stack:
        try:
            image = nib.load(file) if _is_plain(path, file) else _from_stream(stack, file, path)
        except ScanError:
            raise
        except HeaderDataError as error:  # tells which field, and nothing of a patient
            raise ScanError(f"not a readable NIfTI file: {error}") from error
        except Exception as error:  # nibabel, zlib and OS each raise their own
            raise ScanError(_DAMAGED.format(type(error).__name__)) from error
        yield image


def _is_plain(path: str | Path | Source, file: str) -> bool:
    """Whether nibabel opens it by its name: a pair, or an unpacked file whose suffix has one case throughout."""
    if isinstance(path, Source) and path.archive:
        return False
    return file.lower().endswith(PAIR_SUFFIX) or (file.endswith((".nii", ".mgh")) and not _is_gzip(file))


def _from_stream(stack: ExitStack, name: str, path: str | Path | Source) -> Any:
    """An image from a file or member of an archive, unpacked on the way where it is packed, whatever its name says."""
    import nibabel as nib

    def opened() -> IO[bytes]:
        return stack.enter_context(path.open() if isinstance(path, Source) else Path(path).open("rb"))

    packed = opened().read(2) == GZIP
    stream: Any = stack.enter_context(gzip.GzipFile(fileobj=opened())) if packed else opened()
    if name.lower().endswith(MGH_SUFFIXES):
        return nib.MGHImage.from_stream(stream)
    start = stream.read(4)
    stream.seek(0)
    kind = nib.Nifti2Image if start in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    return kind.from_stream(stream)


def _is_gzip(file: str | Path) -> bool:
    with Path(file).open("rb") as stream:
        return stream.read(2) == GZIP


def _volume_shape(image: Any, path: str | Path | Source) -> tuple[int, ...]:
    """(I, J, K) or (I, J, K, N); trailing axes of length one are dropped.

    Raises:
        ScanError: Fewer than three axes, more than four, an empty one, or more voxels
            than a file of this size can hold.
    """
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ScanError(f"expected 3D or 4D, found shape {shape}")
    need = math.prod(shape) * image.get_data_dtype().itemsize
    check_size(need, path)
    check_memory(need // (shape[3] if len(shape) == 4 else 1))
    return shape


def check_memory(need: int) -> None:
    """Refuse a volume that is larger than any scan, before it is taken into memory."""
    if need > MAX_UNPACKED_BYTES:
        raise ScanError(f"one volume of {file_size(need)}, more than any scan holds ({file_size(MAX_UNPACKED_BYTES)})")


def check_size(need: int, path: str | Path | Source) -> None:
    """Refuse a header that asks for more bytes than a file of this size can hold, before they are taken."""
    size = path.size if isinstance(path, Source) else Path(path).stat().st_size
    archived = isinstance(path, Source) and bool(path.archive)
    if need > size and not archived and not _is_gzip(path.path if isinstance(path, Source) else path):
        raise ScanError(_DAMAGED.format("more voxels than the file holds"))
    if need > size * MAX_DEFLATE_RATIO:
        raise ScanError(_DAMAGED.format("more voxels than the file holds"))


def label_array(array: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """Mask values as uint8.

    Args:
        array: Of any real type.
        threshold: Voxels above it become 1, all others 0; for probabilities and soft edges.

    Raises:
        ScanError: A value that is not whole, and so would turn into another label or vanish,
            or outside 0 to 255.
    """
    if threshold is not None:
        return (array > threshold).astype(np.uint8)
    labels = np.rint(array)
    low, high = float(array.min()), float(array.max())
    apart = np.abs(array - labels) if array.dtype.kind == "f" else np.zeros(1)
    if apart.max() > _WHOLE:
        example = float(array.ravel()[int(apart.argmax())])
        raise ScanError(
            f"mask values must be whole, 0 to 255; found {example:.3g} among values from {low:.3g} to {high:.3g}: "
            "write the mask with whole numbers, or give its role a threshold, above which a voxel is marked"
        )
    if low < -_WHOLE or high > 255 + _WHOLE:
        raise ScanError(f"mask values run from {low:g} to {high:g}; they must be whole, 0 to 255")
    return labels.astype(np.uint8)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume uncompressed or gzipped by its suffix, whole or not at all."""
    import nibabel as nib

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
