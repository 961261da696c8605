"""NIfTI in and out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.files import atomic_path
from scan2gene.core.volume import Kind, Volume

NIFTI_SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: Path) -> bool:
    """True for names that end in .nii or .nii.gz."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def read_nifti(path: Path, kind: Kind = "intensity") -> Volume:
    """Read a 3D NIfTI: array (I, J, K) float32 (labels keep integers), slope and intercept applied.

    Raises:
        ScanError: Not a NIfTI, cut short, not 3D, with values that are not finite, or a
            label outside 0 to 255.
    """
    import nibabel as nib

    try:
        image = nib.load(path)
        array = np.asanyarray(image.dataobj)
    except Exception as error:  # nibabel, zlib and OS each raise their own
        raise ScanError(f"not a readable NIfTI file: damaged or cut short ({type(error).__name__})") from error
    if array.dtype.names:  # RGB(A) is stored as a structure; channels become the last axis
        colours = np.stack([array[n] for n in array.dtype.names], axis=-1).astype(np.float32)
        return Volume(colours, image.affine)
    array = _squeezed(array)
    if not np.isfinite(array).all():
        raise ScanError("voxels that are not finite numbers")
    array = label_array(array) if kind == "label" else array.astype(np.float32)
    return Volume(array, image.affine, kind)


def label_array(array: np.ndarray) -> np.ndarray:
    """Whole numbers as uint8.

    Raises:
        ScanError: A value outside 0 to 255, which would turn into another label.
    """
    labels = np.rint(array)
    if labels.min() < 0 or labels.max() > 255:
        raise ScanError(f"mask values run from {labels.min():g} to {labels.max():g}; they must be whole, 0 to 255")
    return labels.astype(np.uint8)


def _squeezed(array: np.ndarray) -> np.ndarray:
    """Drop trailing axes of length one.

    Raises:
        ScanError: What remains is not 3D.
    """
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise ScanError(f"expected one 3D volume, found shape {array.shape}; 4D series are not split yet")
    return array


def write_nifti(volume: Volume, path: Path) -> None:
    """Write a volume uncompressed or gzipped by its suffix, whole or not at all."""
    import nibabel as nib

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = nib.Nifti1Image(array, volume.affine)
    image.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
