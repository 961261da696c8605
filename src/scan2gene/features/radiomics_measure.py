"""Intensity and texture of one image in every region, for the image itself and its filtered versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.features import radiomics_first_order, radiomics_glcm, radiomics_ngtdm
from scan2gene.features.radiomics_binning import grey_levels
from scan2gene.features.radiomics_emphasis import GLDM_NAMES, GLRLM_NAMES, GLSZM_NAMES, gldm, glrlm, glszm
from scan2gene.features.radiomics_log import log_filter
from scan2gene.features.radiomics_matrices import Counts, Region, count
from scan2gene.features.radiomics_regions import Regions, bounds, enough
from scan2gene.features.radiomics_wavelet import BANDS, GAIN, wavelets

# Texture classes: names of their features, and the function that gives them; the flag pools directions.
TEXTURES: dict[str, tuple[tuple[str, ...], Callable[[Counts, bool], dict[str, float]]]] = {
    "glcm": (radiomics_glcm.NAMES, radiomics_glcm.glcm),
    "glrlm": (GLRLM_NAMES, glrlm),
    "glszm": (GLSZM_NAMES, lambda counts, _: glszm(counts)),
    "gldm": (GLDM_NAMES, lambda counts, _: gldm(counts)),
    "ngtdm": (radiomics_ngtdm.NAMES, lambda counts, _: radiomics_ngtdm.ngtdm(counts)),
}
NOTHING = {
    f"{kind}_{name}": np.nan
    for kind, names in {"firstorder": radiomics_first_order.NAMES, **{k: n for k, (n, _) in TEXTURES.items()}}.items()
    for name in names
}


@dataclass(frozen=True)
class Settings:
    """How an image is measured; see `radiomics`. `energy_shift` is pyradiomics' `voxelArrayShift`."""

    bin_count: int = 32
    bin_width: float | None = None
    normalise: str = "none"
    normalise_scale: float = 1.0
    outlier_sd: float | None = None
    log_sigma_mm: tuple[float, ...] = ()
    wavelet: bool = False
    min_voxels: int = 10
    in_plane: bool = False
    pool_directions: bool = False
    energy_shift: float = 0.0

    def filters(self) -> list[str]:
        """Names of the images that are measured."""
        log = [f"log-sigma-{str(float(s)).replace('.', '-')}-mm-3D" for s in self.log_sigma_mm]
        return ["original", *log, *(f"wavelet-{band}" for band in BANDS if self.wavelet)]


def measure(
    image: Volume | None, regions: Regions, settings: Settings, body: np.ndarray | None = None
) -> dict[str, float]:
    """Features of one image.

    Args:
        image: (I, J, K); voxels that are not finite are left out, and filled with the mean for the filters.
        regions: On the image's grid.
        settings: Options.
        body: (K, J, I) bool, which limits the ring and may be what the image is normalised over; None for everywhere.

    Returns:
        `<region>_<filter>_<class>_<Name>`, all NaN without an image.

    Raises:
        ScanError: A bin width makes too many grey levels.
    """
    names = [f"{region}_{kind}" for kind in settings.filters() for region in regions.masks]
    features = {f"{name}_{key}": np.nan for name in names for key in NOTHING}
    if image is None or not regions.inside.any():
        return features
    array = image.array.T
    finite = np.isfinite(array)
    if not finite.all():
        if not finite.any():
            return features
        array = np.where(finite, array, array[finite].mean(dtype=np.float64))
    shift, factor = _scale(array, _sample(settings, finite, body, regions), settings)
    original = (array[regions.box].astype(np.float64) - shift) * factor
    places: dict[str, Region] = {}
    boxes = {}
    for name, mask in regions.masks.items():
        mask = mask & finite[regions.box]
        if name == "ring" and body is not None:
            mask &= body[regions.box]
        if settings.outlier_sd is not None and mask.any():
            values = original[mask]
            mask[mask] = np.abs(values - values.mean()) <= settings.outlier_sd * values.std()
        if enough(mask, settings.min_voxels):
            boxes[name] = bounds(mask)
            places[name] = Region(mask[boxes[name]], settings.in_plane)
    voxel_mm3 = float(np.prod(regions.spacing))
    if places:
        for kind, filtered in _filtered(array, original, regions, settings, (shift, factor)):
            for name, region in places.items():
                values = filtered[boxes[name]][region.mask]
                if np.isfinite(values).all():
                    found = _features(values, region, voxel_mm3, settings, f"{name}, {kind}")
                    features |= {f"{name}_{kind}_{key}": value for key, value in found.items()}
    return features


def _features(values: np.ndarray, region: Region, voxel_mm3: float, settings: Settings, place: str) -> dict[str, float]:
    """`<class>_<Name>` of the values (N,) of a region."""
    counts = count(region, grey_levels(values, settings.bin_count, settings.bin_width, place))
    found = {"firstorder": radiomics_first_order.first_order(values, counts.voxels, voxel_mm3, settings.energy_shift)}
    for kind, (_, function) in TEXTURES.items():
        found[kind] = function(counts, settings.pool_directions)
    return {f"{kind}_{name}": value for kind, values_of in found.items() for name, value in values_of.items()}


def _sample(settings: Settings, finite: np.ndarray, body: np.ndarray | None, regions: Regions) -> np.ndarray | None:
    """Voxels (K, J, I) that the mean and the standard deviation are taken from; None for no normalisation."""
    if settings.normalise == "none":
        return None
    if settings.normalise == "mask":
        inside = np.zeros(finite.shape, bool)
        inside[regions.box] = regions.inside
        return inside & finite
    return body & finite if settings.normalise == "body" and body is not None and body.any() else finite


def _scale(array: np.ndarray, sample: np.ndarray | None, settings: Settings) -> tuple[float, float]:
    """What is subtracted from the voxels, and by what they are then multiplied."""
    if sample is None:
        return 0.0, 1.0
    values = array[sample].astype(np.float64)
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0  # as SimpleITK's Normalize
    return (float(values.mean()) if values.size else 0.0), (settings.normalise_scale / spread if spread > 0 else 1.0)


def _filtered(
    array: np.ndarray, original: np.ndarray, regions: Regions, settings: Settings, scale: tuple[float, float]
) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values in the regions' box, float64, of each image that is measured."""
    shift, factor = scale
    names = iter(settings.filters())
    yield next(names), original
    for sigma in settings.log_sigma_mm:
        yield next(names), log_filter(array, regions.box, regions.spacing, sigma) * factor
    if settings.wavelet:
        for band, values in wavelets(array, regions.box):
            yield next(names), (values - shift * GAIN.get(band, 0.0)) * factor
