"""Synthetic heads: scalp, bone, CSF, brain with ventricles, and a tumour whose dark core tells the label.

The patient's latent z alone (see `patients`) sets how much of the tumour is core, so no classifier of these images
beats AUROC = Phi(effect / sqrt(2)). Core is seen in every plane and, though not alike, in every sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scan2gene.phantom.patients import Patient, ellipsoid, soft, texture

# radii of nested ellipsoids in mm: what lies inside each, from outside in
SCALP, BONE, CSF, BRAIN = (82.0, 100.0, 84.0), (76.0, 94.0, 78.0), (69.0, 87.0, 71.0), (66.0, 84.0, 68.0)
VENTRICLES = (((-11.0, 2.0, 12.0), (8.0, 28.0, 12.0)), ((11.0, 2.0, 12.0), (8.0, 28.0, 12.0)))
CORE = (0.25, 0.85)  # radius of the core over that of the tumour, at the smallest and the largest z


@dataclass(frozen=True)
class Contrast:
    """Signal of each tissue in one sequence, about 0 to 1."""

    scalp: float
    bone: float
    csf: float
    grey: float
    white: float
    rim: float
    core: float


CONTRASTS = {
    "t1": Contrast(0.90, 0.08, 0.15, 0.45, 0.60, 0.38, 0.22),
    "t1c": Contrast(0.90, 0.08, 0.15, 0.45, 0.60, 0.95, 0.25),
    "t2": Contrast(0.65, 0.08, 0.95, 0.60, 0.45, 0.72, 0.92),
    "flair": Contrast(0.65, 0.08, 0.10, 0.55, 0.45, 0.85, 0.40),
}


def core_share(patient: Patient) -> float:
    """Radius of the core over that of the tumour: rises with z, which the stripes' angle holds too."""
    return CORE[0] + (CORE[1] - CORE[0]) * patient.stripe_degrees / 90


def head_signal(patient: Patient, points_mm: np.ndarray, sequence: str) -> np.ndarray:
    """Noise-free signal of a head, about 0 to 1.

    Args:
        patient: Of organ brain.
        points_mm: (..., 3) float32 RAS mm.
        sequence: Key of `CONTRASTS`.
    """
    tissue = CONTRASTS[sequence]
    white = np.clip(0.5 + 0.7 * texture(patient, points_mm, 12.0, 1), 0, 1)
    brain = tissue.grey + (tissue.white - tissue.grey) * white
    for where, radii in VENTRICLES:
        brain = _inside(brain, tissue.csf, ellipsoid(points_mm, where, radii))
    distance = np.linalg.norm(points_mm - np.asarray(patient.centre_mm, np.float32), axis=-1)
    brain = _inside(brain, tissue.rim, soft(patient.radius_mm - distance))
    brain = _inside(brain, tissue.core, soft(patient.radius_mm * core_share(patient) - distance))
    head: np.ndarray = np.zeros(points_mm.shape[:-1], np.float32)
    for level, radii in ((tissue.scalp, SCALP), (tissue.bone, BONE), (tissue.csf, CSF)):
        head = _inside(head, level, ellipsoid(points_mm, (0, 0, 0), radii))
    return _inside(head, brain, brain_weight(points_mm))


def brain_weight(points_mm: np.ndarray) -> np.ndarray:
    """Share of brain at each point (..., 3) RAS mm; the brain is where it is >= 0.5."""
    return ellipsoid(points_mm, (0, 0, 0), BRAIN)


def _inside(around: np.ndarray, level: float | np.ndarray, weight: np.ndarray) -> np.ndarray:
    return around * (1 - weight) + level * weight
