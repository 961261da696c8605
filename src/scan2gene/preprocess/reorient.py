"""Common orientation."""

from __future__ import annotations

from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume


def reorient(volume: Volume, *, axes: str = "LAS") -> Volume:
    """Permute and flip axes to the given codes; no interpolation.

    Args:
        volume: Array (I, J, K).
        axes: Where i, j, k grow to, nibabel's letters. The BRCA study uses LAS.

    Raises:
        GeometryError: `axes` is not one letter of each pair L/R, P/A, I/S.
    """
    return reoriented(volume, axes)
