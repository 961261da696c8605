"""The best possible reader of synthetic patients: a matched filter that knows what was planted."""

from __future__ import annotations

import numpy as np

from scan2gene.phantom.patients import STRIPE_PERIOD_MM

ANGLES = np.arange(0.0, 91.0)


def read_degrees(values: np.ndarray, points_mm: np.ndarray) -> float:
    """The stripe angle that fits a lesion best, whatever the phase of its stripes.

    Args:
        values: (P,) signal of the lesion's voxels, in any unit.
        points_mm: (P, 3) where they lie, RAS mm.

    Returns:
        Degrees, 0 to 90: the angle at which a wave of the stripes' period explains most
        of the variance.
    """
    around = points_mm - points_mm.mean(axis=0)
    angle = np.radians(ANGLES)[:, None]
    phase = (around[:, 0] * np.cos(angle) + around[:, 1] * np.sin(angle)) * (2 * np.pi / STRIPE_PERIOD_MM)  # (A, P)
    waves = np.stack([np.cos(phase), np.sin(phase)], axis=1)  # (A, 2, P)
    waves -= waves.mean(axis=2, keepdims=True)
    pull = waves @ (values - values.mean())  # (A, 2)
    fit = np.linalg.solve(waves @ waves.swapaxes(1, 2), pull[..., None])[..., 0]
    return float(ANGLES[int(np.argmax((fit * pull).sum(axis=1)))])
