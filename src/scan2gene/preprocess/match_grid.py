"""One grid for all sequences of an exam."""

from __future__ import annotations

from scan2gene.core.volume import Volume
from scan2gene.preprocess.resample import like

VERSION = 1


def match_grid(volume: Volume, *, reference: Volume) -> Volume:
    """Resample onto the grid of another volume, by their places in the patient.

    Sequences of one exam often differ in field, slices and tilt; as channels of one input
    they must show the same place in the same voxel. Movement between them is not undone.

    Args:
        volume: Array (I, J, K).
        reference: The volume whose grid is taken; in a study file the name of a role.

    Returns:
        Cubic B-spline for "intensity", nearest for "label"; where this volume does not
        reach, its minimum, in a mask 0.
    """
    return like(volume, reference)
