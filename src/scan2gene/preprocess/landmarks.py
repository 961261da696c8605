"""Learning a standard scale for the step `nyul`, from patients who are never tested.

    from scan2gene.preprocess.landmarks import landmarks_of_training
    print(landmarks_of_training("runs/first", role="flair"))

The run is one whose recipe ends where `nyul` is to stand; the list goes into the study file as
the option `standard`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from scan2gene.core.errors import CohortError, RunError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.volume import Volume
from scan2gene.imaging.nifti import read_nifti
from scan2gene.preprocess.nyul import PERCENTILES, landmarks


def landmarks_of_training(
    run_dir: str | Path, role: str, percentiles: Sequence[float] = PERCENTILES, store: str | None = None
) -> list[float]:
    """Standard landmarks of a run's stored volumes, training patients only.

    Args:
        run_dir: A run that has been split and preprocessed.
        role: The role whose volumes are taken.
        percentiles: As the step `nyul` will be given.
        store: Folder in `store/`; needed where a run has several.

    Raises:
        CohortError: No patient is in the training part of every split, repeat and fold, as in
            k-fold cross-validation: whatever is learned would have seen a test patient.
        RunError: The run is not that far, has several stores, or lacks the role.
    """
    run_dir = Path(run_dir)
    split = RunDirectory(run_dir).split.read()
    parts = split.groupby("patient_id")["part"].agg(set)
    training = set(parts.index[parts == {"train"}])
    if not training:
        raise CohortError(
            "every patient is tested or validated in some fold, so landmarks learned from this run would leak. "
            "Learn them from a run with one holdout split, or from other patients."
        )
    stores = [s for s in RunDirectory(run_dir).stores() if s.manifest.exists() and store in (None, s.name)]
    if len(stores) != 1:
        raise RunError(f"{run_dir} has {len(stores)} stores; name one of {[s.name for s in stores]}")
    manifest = stores[0].manifest.read()
    rows = manifest[(manifest["role"] == role) & (manifest["status"] == "ok") & manifest["patient_id"].isin(training)]
    if rows.empty:
        raise RunError(f"{stores[0].path} holds no volume of role {role!r} of a training patient")
    return standard_landmarks((read_nifti(stores[0].path / f) for f in rows["file"]), percentiles)


def standard_landmarks(volumes: Iterable[Volume], percentiles: Sequence[float] = PERCENTILES) -> list[float]:
    """Mean landmarks of volumes whose first and last are brought to 0 and 100.

    Args:
        volumes: At least one; of training patients.
        percentiles: Ascending, 0 to 100.

    Source: Nyul, Udupa, Zhang 2000, "New variants of a method of MRI scale standardization".
    """
    found = np.array([landmarks(v, percentiles) for v in volumes])  # (N, P)
    found = 100 * (found - found[:, :1]) / np.maximum(found[:, -1:] - found[:, :1], 1e-12)
    return [round(float(v), 4) for v in found.mean(axis=0)]
