"""Colour to grey, as the BRCA study does."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume

VERSION = 1


def first_channel(volume: Volume) -> Volume:
    """Keep the first channel of an 8-bit RGB(A) volume; a grey volume passes unchanged.

    Args:
        volume: Array (I, J, K, C) or (I, J, K).

    Returns:
        Volume (I, J, K).
    """
    if volume.array.ndim == 3:
        return volume
    return volume.with_array(np.ascontiguousarray(volume.array[..., 0]))
