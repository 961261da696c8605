"""The estimator and the run object from Python."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score

from scan2gene import Run, ScanClassifier, Volume
from scan2gene.core.errors import CohortError, RunError

QUICK = {
    "explain.exams": 0, "evaluate.bootstrap": 100, "evaluate.shuffles": 0, "data.augment": [],
    "splits": [{"name": "cv", "kind": "kfold", "folds": 2}],
}  # fmt: skip
GRADES = np.array(["benign", "malignant", "not sure"])


def _volume(rng: np.random.Generator, bright: float) -> Volume:
    array = rng.normal(100, 10, (18, 18, 9)).astype(np.float32)
    array[:2], array[-2:] = 0, 0
    array[7:12, 7:12, 3:7] += 90 * bright
    return Volume(array, np.diag([2, 2, 4, 1.0]))


def _table(classes: np.ndarray, folder=None) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    volumes = [_volume(rng, c) for c in classes]
    if folder is None:
        return pd.DataFrame({"t1": volumes})
    paths = [folder / f"scan {n}.nii.gz" for n in range(len(volumes))]
    for path, volume in zip(paths, volumes, strict=True):
        nib.save(nib.Nifti1Image(volume.array, volume.affine), path)
    return pd.DataFrame({"t1": paths})


@pytest.mark.parametrize("count", [2, 3])
def test_it_learns_and_answers_in_the_order_of_rows(count, tmp_path):
    y = np.arange(30) % count
    table = _table(y, tmp_path)
    train = {"train.epochs": 14, "train.learning_rate": 0.003}
    settings = {**QUICK, **train, "predict.flips": []}
    estimator = clone(ScanClassifier(model="light_cnn", settings=settings)).fit(table, GRADES[y])
    assert estimator.classes_.tolist() == GRADES[:count].tolist()
    probs = estimator.predict_proba(table.iloc[::-1])
    assert probs.shape == (30, count)
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert min(roc_auc_score(y[::-1] == k, probs[:, k]) for k in (0, count - 1)) > 0.8
    run = Run(estimator.run_dir_)
    assert len(run.fits) == 2
    assert list(run.study.targets) == ["label"]


def test_an_outer_cross_validation_by_patient(tmp_path):
    y = np.arange(24) // 2 % 2
    table = _table(y).assign(patient_id=[f"P{n // 2}" for n in range(24)])
    estimator = ScanClassifier(model="light_cnn", settings={**QUICK, "train.epochs": 1})
    groups = StratifiedGroupKFold(2)
    scores = cross_val_score(estimator, table, GRADES[y], groups=table["patient_id"], cv=groups, scoring="roc_auc")
    assert np.isfinite(scores).all()


def test_what_cannot_be_learned_is_said(tmp_path):
    table = _table(np.zeros(4))
    with pytest.raises(CohortError, match="two classes"):
        ScanClassifier().fit(table, ["a"] * 4)
    with pytest.raises(CohortError, match="4 rows and y 3"):
        ScanClassifier().fit(table, ["a", "b", "a"])
    with pytest.raises(RunError, match="fit the estimator first"):
        ScanClassifier().predict_proba(table)
    with pytest.raises(RunError, match="no run directory"):
        Run(tmp_path)
