"""Synthetic heads on any grid, and where their brains are."""

from __future__ import annotations

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.phantom.exams import points_of
from scan2gene.phantom.heads import brain_weight, head_signal
from scan2gene.phantom.patients import draw_patients

PATIENT = draw_patients(1, 2.0, "brain", 3)[0]


def head(sequence: str, shape, spacing, turn=None, shift=(0, 0, 0)) -> Volume:
    """A head, turned by a rotation matrix about the origin and then shifted by mm; the grid's centre is the origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing)
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    turn = np.eye(3) if turn is None else turn
    at_rest = (points_of(shape, affine) - np.asarray(shift, np.float32)) @ np.asarray(turn, np.float32)
    noise = np.random.default_rng(1).normal(0, 0.02, shape)
    clean = head_signal(PATIENT, at_rest.astype(np.float32), sequence)
    return Volume((1000 * np.abs(clean + noise)).astype(np.float32), affine)


def brain_of(volume: Volume) -> np.ndarray:
    """True where the brain of an unmoved head is."""
    return brain_weight(points_of(volume.shape, volume.affine).astype(np.float32)) >= 0.5
