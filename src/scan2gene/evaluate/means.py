"""Means over the targets of a run: one figure by which networks of several targets are compared.

A target of several classes counts once: by its macro AUROC, accuracy and log loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scan2gene.evaluate.multiclass import ClassSample
from scan2gene.stats.intervals import Estimate, Resampled, bca_interval, bootstrap_counts
from scan2gene.stats.resampling import Sample

MEAN_METRICS = ("auroc", "accuracy", "log_loss")
_BOUNDS = {"log_loss": (0.0, np.inf)}


def mean_over_targets(samples: Mapping[str, Sample | ClassSample], draws: int, seed: int) -> dict[str, Estimate]:
    """Mean of each of `MEAN_METRICS` over targets, every target weighing the same.

    Args:
        samples: Target -> its scored test patients, or sides of them.
        draws: Bootstrap draws.
        seed: Of the draws.

    Returns:
        Metric -> value with a bias-corrected 95 % bootstrap interval. Patients are drawn with all their targets, so
        that what targets share is kept; not within class, since a patient has a class of each target.
    """
    lacking = [f"{target}: {sample.lacking}" for target, sample in samples.items() if sample.lacking]
    if lacking:
        return {m: Estimate(None, reason=f"a mean needs every target; {lacking[0]}") for m in MEAN_METRICS}
    ids = {target: np.unique(sample.table["patient_id"]) for target, sample in samples.items()}
    everyone = np.unique(np.concatenate(list(ids.values())))
    places = {target: np.searchsorted(everyone, own) for target, own in ids.items()}
    counts = bootstrap_counts(np.zeros(len(everyone)), draws, seed)
    values, draws_of = (_means(samples, places, weights) for weights in (np.ones((1, len(everyone))), counts))
    # without values that leave out each patient there is no acceleration: bias-corrected, and linear in patients
    return {
        m: bca_interval(Resampled(float(values[m][0]), draws_of[m], np.zeros(1), bounds=_BOUNDS.get(m, (0.0, 1.0))))
        for m in MEAN_METRICS
    }


def _means(
    samples: Mapping[str, Sample | ClassSample], places: Mapping[str, np.ndarray], weights: np.ndarray
) -> dict[str, np.ndarray]:
    found = [s.at_weights(MEAN_METRICS, weights[:, places[t]]) for t, s in samples.items()]
    return {m: np.mean([f[m] for f in found], axis=0) for m in MEAN_METRICS}


def counted(samples: Mapping[str, Sample | ClassSample], counts: Sequence[Mapping[str, int]]) -> dict[str, Any]:
    """Patients, those positive for a target with two classes, most failures of a target, fewest of a rarer class."""
    everyone = {p for sample in samples.values() for p in sample.table["patient_id"]}
    units = [sample.units for sample in samples.values() if isinstance(sample, Sample)]
    positive = {p for table in units for p in table.loc[table["y_true"] == 1, "patient_id"]}
    failed = max(c["n_failed"] for c in counts)
    fewest = min(sample.fewest for sample in samples.values())
    return {"n": len(everyone), "n_units": len(everyone), "n_positive": len(positive), "n_failed": failed,
            "n_rarer_patients": fewest}  # fmt: skip
