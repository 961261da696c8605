"""Exams with a lesion whose form and contrast are set."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam

LAS = np.array([[-1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
SHAPE = (48, 48, 24)
SPACING = (2.0, 2.0, 4.0)


def places(shape=SHAPE, spacing=SPACING) -> np.ndarray:
    """(3, I, J, K) in mm."""
    return np.stack(np.meshgrid(*[n * s for n, s in zip(map(np.arange, shape), spacing, strict=True)], indexing="ij"))


def ball(centre_mm, radius_mm, shape=SHAPE, spacing=SPACING) -> np.ndarray:
    """(I, J, K) bool."""
    off = places(shape, spacing) - np.reshape(centre_mm, (3, 1, 1, 1))
    return (off**2).sum(axis=0) <= radius_mm**2


def head(lesion: np.ndarray, contrast: float = 80.0, seed: int = 0) -> np.ndarray:
    """A noisy head with a brighter lesion, float32."""
    rng = np.random.default_rng(seed)
    off = (places() - np.reshape((47.0, 47.0, 46.0), (3, 1, 1, 1))) / np.reshape((38.0, 42.0, 40.0), (3, 1, 1, 1))
    body = (off**2).sum(axis=0) <= 1
    return (rng.rayleigh(4, SHAPE) + body * (100 + rng.normal(0, 5, SHAPE)) + lesion * contrast).astype(np.float32)


def exam(lesion: np.ndarray, roles=("flair", "t1", "t1c"), **images: np.ndarray) -> Exam:
    """An exam of several roles, each with its own contrast, and the lesion's mask `tumour`."""
    affine = LAS @ np.diag([*SPACING, 1.0])
    arrays = {role: head(lesion, 40.0 * (n - 1), n) for n, role in enumerate(roles)} | images
    return Exam(
        {role: Volume(array, affine) for role, array in arrays.items()},
        {"tumour": Volume(lesion.astype(np.uint8), affine, "label")},
    )
