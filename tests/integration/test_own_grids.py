"""Exams that keep their own grids: one exam a batch, from preprocessing to the report and to new exams."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd

from tests.integration.road import nifti_study, shell

PATIENTS = 16


def test_a_study_of_exams_with_grids_of_their_own_comes_to_its_report(tmp_path, monkeypatch):
    study = nifti_study(
        tmp_path, PATIENTS, preprocess=[{"name": "zscore"}], data={"batch_size": 1, "augment": [{"name": "flip"}]},
        train={"epochs": 1}, explain={"exams": 1, "methods": [{"name": "grad_cam"}]}, predict={"flips": ["i"]},
    )  # fmt: skip
    for n in range(PATIENTS):
        array = np.random.default_rng(n).normal(100, 10, (12 + n % 3, 12, 10 + n % 2)).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / f"scans/P{n:03d}/t1.nii.gz")
    out, new = tmp_path / "run", tmp_path / "new"
    assert shell(monkeypatch, "run", study, "-o", out) == ""
    table = pd.read_parquet(out / "predictions.parquet")
    assert (table["status"] == "ok").all() and set(table["variant"]) >= {"original", "tta"}
    altered = pd.read_parquet(out / "variants.parquet")
    assert set(altered["variant"]) == {"shifted", "noise", "resliced", "mirrored"}
    maps = pd.read_csv(out / "explain" / "maps.csv")
    assert len(maps) and maps["map_on_scan"].notna().all()
    assert (out / "report.html").stat().st_size > 10_000

    assert shell(monkeypatch, "apply", out, tmp_path / "scans", "-o", new, "--force") == ""
    again = pd.read_parquet(new / "predictions.parquet")
    assert again["prob"].notna().all() and again["exam_id"].nunique() == PATIENTS
