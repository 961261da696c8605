"""NIfTI in and out."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.files import atomic_path
from scan2gene.core.volume import Kind, Volume
from scan2gene.imaging.sources import MAX_DEFLATE_RATIO, MAX_UNPACKED_BYTES, Source
from scan2gene.imaging.stacks import MIN_SLICES

NIFTI_SUFFIXES = (".nii", ".nii.gz")
_CHECKED_BYTES = 64 << 20  # of a 4D file, checked at once
_DAMAGED = "not a readable NIfTI file: damaged or cut short ({})"


def is_nifti(path: str | Path) -> bool:
    """True for names that end in .nii or .nii.gz."""
    return str(path).lower().endswith(NIFTI_SUFFIXES)


def read_nifti(path: str | Path | Source, kind: Kind = "intensity", number: int | None = None) -> Volume:
    """Read one 3D volume: array (I, J, K) float32 (labels keep integers), slope and intercept applied.

    Args:
        path: The file, or a `Source`, which may lie in a zip archive.
        kind: "intensity" or "label".
        number: Volume of a 4D file.

    Raises:
        ScanError: Not a NIfTI, cut short, not 3D, with values that are not finite, or a
            label outside 0 to 255.
    """
    image = _loaded(path)
    shape = _volume_shape(image, path)
    if number is None and len(shape) == 4:
        raise ScanError(f"a 4D file of {shape[3]} volumes; name one as FILE#0 to FILE#{shape[3] - 1}")
    if number is not None and not 0 <= number < (shape[3] if len(shape) == 4 else 1):
        raise ScanError(f"there is no volume {number} in a file of shape {shape}")
    try:
        array = np.asanyarray(image.dataobj if len(shape) == 3 else image.dataobj[..., number])
    except Exception as error:  # zlib and OS raise their own
        raise ScanError(_DAMAGED.format(type(error).__name__)) from error
    array = array.reshape(shape[:3])
    if array.dtype.names:  # RGB(A) is stored as a structure; channels become the last axis
        colours = np.stack([array[n] for n in array.dtype.names], axis=-1).astype(np.float32)
        return Volume(colours, image.affine)
    if not np.isfinite(array).all():
        raise ScanError("voxels that are not finite numbers")
    array = label_array(array) if kind == "label" else array.astype(np.float32)
    return Volume(array, image.affine, kind)


def check_nifti(source: Source) -> tuple[tuple[int, int, int], np.ndarray, int]:
    """Read a file to its end, volume by volume, and keep nothing.

    Returns:
        Shape (I, J, K), affine (4, 4) RAS+, number of volumes.

    Raises:
        ScanError: As `read_nifti`, and for an affine that places nothing.
    """
    image = _loaded(source)
    shape = _volume_shape(image, source)
    count = shape[3] if len(shape) == 4 else 1
    step = max(1, _CHECKED_BYTES // max(1, int(np.prod(shape[:3])) * 8))
    for begin in range(0, count, step):
        try:
            part = np.asanyarray(image.dataobj if len(shape) == 3 else image.dataobj[..., begin : begin + step])
        except Exception as error:
            raise ScanError(_DAMAGED.format(type(error).__name__)) from error
        if not part.dtype.names and not np.isfinite(part).all():
            raise ScanError("voxels that are not finite numbers")
    i, j, k = shape[:3]
    if min(i, j, k) < MIN_SLICES:
        raise ScanError(f"shape {i}x{j}x{k}; a volume needs at least {MIN_SLICES} voxels along each axis")
    Volume(np.empty((1, 1, 1), np.uint8), image.affine)  # checks the affine
    return (i, j, k), image.affine, count


def _loaded(path: str | Path | Source) -> Any:
    import nibabel as nib

    try:
        if isinstance(path, Source) and path.archive:
            data = path.read()
            if path.name.endswith(".gz"):
                with gzip.open(io.BytesIO(data)) as stream:
                    data = stream.read(MAX_UNPACKED_BYTES)
            kind = nib.Nifti2Image if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
            return kind.from_bytes(data)
        return nib.load(path.path if isinstance(path, Source) else path)
    except ScanError:
        raise
    except Exception as error:  # nibabel, zlib and OS each raise their own
        raise ScanError(_DAMAGED.format(type(error).__name__)) from error


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
    size = path.size if isinstance(path, Source) else Path(path).stat().st_size
    packed = str(path.path if isinstance(path, Source) else path).lower().endswith(".gz")
    if math.prod(shape) * image.get_data_dtype().itemsize > size * (MAX_DEFLATE_RATIO if packed else 1):
        raise ScanError(_DAMAGED.format("more voxels than the file holds"))
    return shape


def label_array(array: np.ndarray) -> np.ndarray:
    """Whole numbers as uint8.

    Raises:
        ScanError: A value outside 0 to 255, which would turn into another label.
    """
    labels = np.rint(array)
    if labels.min() < 0 or labels.max() > 255:
        raise ScanError(f"mask values run from {labels.min():g} to {labels.max():g}; they must be whole, 0 to 255")
    return labels.astype(np.uint8)


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume uncompressed or gzipped by its suffix, whole or not at all."""
    import nibabel as nib

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
