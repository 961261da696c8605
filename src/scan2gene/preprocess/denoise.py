"""Noise out, edges kept."""

from __future__ import annotations

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import to_sitk
from scan2gene.core.volume import Volume

VERSION = 1


def denoise(
    volume: Volume, *, radius_voxels: float = 1.0, strength: float = 2.0, noise_std: float | None = None
) -> Volume:
    """Bilateral filter: a mean over neighbours, weighted by how near they are and how alike.

    Args:
        volume: Array (I, J, K).
        radius_voxels: Standard deviation of the nearness, in voxels of the finest axis.
        strength: Standard deviation of the alikeness, in standard deviations of the noise;
            edges several times as high stay.
        noise_std: Of the noise, in grey values; None estimates it from this volume.

    Returns:
        Volume (I, J, K), dtype and range kept; unchanged where there is no noise.

    Raises:
        ScanError: An option is not positive.

    Source: Tomasi & Manduchi 1998, "Bilateral filtering for gray and color images".
    """
    import SimpleITK as sitk

    if min(radius_voxels, strength) <= 0 or (noise_std is not None and noise_std <= 0):
        raise ScanError("radius_voxels, strength and noise_std must be positive")
    noise = estimated_noise(volume.array) if noise_std is None else noise_std
    if noise == 0:
        return volume
    image = to_sitk(volume.with_array(volume.array.astype(np.float32)))
    smooth = sitk.Bilateral(image, radius_voxels * min(volume.spacing_mm), strength * noise)
    array = sitk.GetArrayFromImage(smooth).T.clip(volume.array.min(), volume.array.max())
    whole = np.issubdtype(volume.array.dtype, np.integer)
    return volume.with_array((np.rint(array) if whole else array).astype(volume.array.dtype))


def estimated_noise(array: np.ndarray) -> float:
    """Standard deviation of white noise, from the finest diagonal detail within slices.

    Detail that is exactly 0, as in blanked air, is left out. 0 where there is no detail.

    Args:
        array: (I, J, K).

    Source: Donoho & Johnstone 1994, "Ideal spatial adaptation by wavelet shrinkage".
    """
    i, j = (n - n % 2 for n in array.shape[:2])
    even = array[:i, :j].astype(np.float32)
    detail = (even[::2, ::2] - even[1::2, ::2] - even[::2, 1::2] + even[1::2, 1::2]) / 2
    detail = np.abs(detail[detail != 0])
    return float(np.median(detail) / 0.6745) if detail.size else 0.0
