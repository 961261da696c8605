"""Bias field correction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import to_sitk
from scan2gene.core.volume import Volume
from scan2gene.preprocess.foreground import above_noise
from scan2gene.preprocess.resample import like

VERSION = 1
SMALLEST = 8  # voxels along an axis that shrinking leaves
CONTROL_POINTS = 4  # of the cubic field at the coarsest level, along each axis


def n4(
    volume: Volume, *, mask: Volume | None = None, shrink: int = 4, iterations: Sequence[int] = (50, 50, 50, 50)
) -> Volume:
    """Divide by the smooth field with which a coil brightens what lies near it.

    The field is fitted on a shrunk grid and applied on the full one.

    Args:
        volume: Array (I, J, K), values of 0 and above; lower ones are shifted up.
        mask: Tissue that the field is fitted to; default: voxels above the noise of the air. In a
            study file: the name of the role.
        shrink: Voxels per fitted voxel, along each axis; fewer where an axis is short.
        iterations: At most so many per level; each level doubles the field's resolution.

    Returns:
        Volume (I, J, K) float32.

    Raises:
        ScanError: Nothing lies above the threshold or in the mask, or the volume is too small.

    Source: Tustison 2010, "N4ITK: improved N3 bias correction".
    """
    import SimpleITK as sitk

    array = volume.array.astype(np.float32)
    array -= min(float(array.min()), 0.0)
    inside = (above_noise(array) if mask is None else like(mask, volume).array > 0) & (array > 0)
    factors = [max(1, min(shrink, n // SMALLEST)) for n in volume.shape]
    image = to_sitk(volume.with_array(array))
    small = sitk.Shrink(image, factors)
    tissue = sitk.Shrink(to_sitk(volume.with_array(inside.astype(np.uint8))), factors)
    if not sitk.GetArrayViewFromImage(tissue).any():
        raise ScanError("no tissue to fit a bias field to: the mask is empty, or nothing is above the threshold")
    fit = sitk.N4BiasFieldCorrectionImageFilter()
    fit.SetMaximumNumberOfIterations([int(n) for n in iterations])
    fit.SetNumberOfControlPoints([CONTROL_POINTS] * 3)
    try:
        fit.Execute(small, tissue)
        field = sitk.GetArrayFromImage(fit.GetLogBiasFieldAsImage(image)).T
    except RuntimeError:  # ITK's own text names files of its build
        raise ScanError(
            f"no bias field can be fitted to a volume of {'x'.join(map(str, volume.shape))} voxels"
        ) from None
    return volume.with_array((array / np.exp(field)).astype(np.float32))
