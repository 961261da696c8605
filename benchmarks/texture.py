"""`make bench`: radiomics features beside pyradiomics, on one core, with the same settings and values."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from timing import medians

SIGMAS = (1.0, 3.0)
# Shape and spacing in mm of an image, radius of the lesion in mm.
CASES = (
    ((45, 120, 21), (0.7, 0.7, 2.1), 3.3),
    ((256, 256, 25), (0.8, 0.8, 6.5), 16.0),
    ((240, 240, 155), (1.0, 1.0, 1.0), 18.0),
)


def lines() -> list[str]:
    """The table for RESULTS.md, or a line that says that pyradiomics is not installed."""
    if find_spec("radiomics") is None:
        return ["pyradiomics (or pyradiomics-cuda) is not installed here."]
    rows = [_row(*case) for case in CASES]
    return [
        "| image | voxels of the lesion | features | scan2gene, s | pyradiomics, s | ratio | largest difference |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"The image, {len(SIGMAS)} Laplacians of Gaussian and 8 wavelets; bins of 25; one core, kernels compiled.",
    ]


def _row(shape: tuple[int, ...], spacing: tuple[float, ...], radius_mm: float) -> str:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(0).normal(size=shape), 1.0)
    array = np.rint(400 + 600 * noise / noise.std() / 4).astype(np.float32)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in shape), indexing="ij"), axis=-1) * spacing
    label = (np.linalg.norm(grid * (1.0, 1.3, 0.8), axis=-1) < radius_mm).astype(np.uint8)
    ours, theirs = _ours(array, label, spacing), _theirs(array, label, spacing)
    mine, peer = medians(ours, theirs)
    one, other = ours(), theirs()
    apart = max(abs(one[name] - value) / max(abs(value), 1e-9) for name, value in other.items())
    size = " x ".join(map(str, shape))
    cells = [
        size,
        f"{label.sum():,}",
        str(len(other)),
        f"{mine:.3f}",
        f"{peer:.3f}",
        f"{peer / mine:.1f}",
        f"{apart:.0e}",
    ]
    return f"| {' | '.join(cells)} |"


def _ours(array: np.ndarray, label: np.ndarray, spacing: tuple[float, ...]) -> Callable[[], dict[str, float]]:
    from scan2gene.core.volume import Volume
    from scan2gene.features import KINDS
    from scan2gene.features.exam import Exam

    affine = np.diag([*spacing, 1.0])
    exam = Exam({"t1": Volume(array, affine)}, {"lesion": Volume(label, affine, "label")})
    options = {"normalise": "none", "bin_width": 25, "log_sigma_mm": SIGMAS, "rim_mm": 0, "ring_mm": 0}

    def work() -> dict[str, float]:
        features = KINDS["radiomics"](exam, **options)
        return {name.removeprefix("t1_").removeprefix("lesion_"): value for name, value in features.items()}

    return work


def _theirs(array: np.ndarray, label: np.ndarray, spacing: tuple[float, ...]) -> Callable[[], dict[str, float]]:
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    extractor = import_module("radiomics.featureextractor").RadiomicsFeatureExtractor(binWidth=25, additionalInfo=False)
    logging.getLogger("radiomics").setLevel(logging.CRITICAL)  # it sets its own level when imported
    extractor.enableImageTypes(Original={}, LoG={"sigma": list(SIGMAS)}, Wavelet={})
    image, mask = sitk.GetImageFromArray(array.T.astype(np.int16)), sitk.GetImageFromArray(label.T.copy())
    image.SetSpacing(spacing)
    mask.SetSpacing(spacing)
    return lambda: {name: float(value) for name, value in extractor.execute(image, mask).items()}


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    print("\n".join(lines()))
