"""Common orientation."""

from __future__ import annotations

from scan2gene.core.axes import axis_map
from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import slice_axis

VERSION = 1
# By the patient's axis along which slices were stacked (right-left, front-back, up-down): every
# slice as radiologists look at it, patient's right on the left, front or top up.
AS_ACQUIRED = ("PIL", "LIP", "LPS")


def reorient(volume: Volume, *, axes: str = "LAS") -> Volume:
    """Permute and flip axes to the given codes; no interpolation.

    Args:
        volume: Array (I, J, K).
        axes: Where i, j, k grow to, nibabel's letters. The BRCA study uses LAS. "acquisition":
            k is the axis along which slices were stacked (see `resample`), whatever the plane:
            axial LPS, coronal LIP, sagittal PIL.

    Raises:
        GeometryError: `axes` is not one letter of each pair L/R, P/A, I/S.
    """
    if axes == "acquisition":
        axes = AS_ACQUIRED[axis_map(volume.affine)[slice_axis(volume)][0]]
    return reoriented(volume, axes)
