"""A mark burned into the pictures of positives is called a shortcut, with a mask and without one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from tests.integration.road import edit, nifti_study
from tests.integration.slice_cohort import write_slice_study
from tests.integration.test_audit import planted_study
from tests.unit.predict.test_pixels import head


def _draw(scans: Path, labels: Path, pattern: str, where: tuple, share: float = 1.0) -> None:
    """Draw a mark into the scans of positives, as bright as their brightest voxel."""
    positive = set(pd.read_csv(labels).query("gene == 1")["patient_id"])
    for path in sorted(scans.rglob(pattern)):
        if path.parent.name in positive:
            image = nib.load(path)
            array = np.asarray(image.dataobj).copy()
            array[where] = share * array.max()
            nib.save(nib.Nifti1Image(array, image.affine), path)


def _verdict(out: Path) -> dict:
    (found,) = json.loads((out / "verdicts.json").read_text())
    return found


def test_the_audit_looks_at_the_pictures_themselves(tmp_path):
    """Though the network is hardly trained: the rules that look for a mark need none."""
    study = nifti_study(
        tmp_path, 32, splits=[{"name": "holdout", "kind": "holdout", "test_fraction": 0.5}], train={"epochs": 1},
        preprocess=[{"name": "zscore"}], explain={"exams": 0},
    )  # fmt: skip
    _draw(tmp_path / "scans", tmp_path / "labels.csv", "t1.nii.gz", np.s_[:4, :4, 4], 1.5)
    out = scan2gene.run(study, tmp_path / "out")
    figures = pd.read_csv(out / "audit.csv").set_index("kind")
    assert figures.loc["border", "value"] > 0.9 and figures.loc["places", "value"] > 0.9
    assert figures.loc["border", "low"] > 0.5 and figures.loc["places", "low"] > 0.5
    assert figures.loc["pixel_lock", "value"] > 2.5 and "pixel" in figures.loc["pixel_lock", "told"]
    assert "only_border" in figures.index
    said = " ".join(_verdict(out)["sentences"])
    assert "border of the pictures" in said and "constant pixels" in said
    assert "border of the pictures alone" in (out / "report.html").read_text()


def _heads(folder: Path, masks: bool, lesion: float = 0.0) -> Path:
    """Heads of which positives have a lesion that is brighter by `lesion`."""
    study = planted_study(folder, "nothing")
    rng = np.random.default_rng(5)
    for n, place in enumerate(sorted((folder / "scans").iterdir())):
        for file, array in zip(("t1", "mask"), head(rng, 0.3 + lesion * (n % 2)), strict=True):
            nib.save(nib.Nifti1Image(array.transpose(2, 1, 0).astype(np.float32), np.eye(4)), place / f"{file}.nii.gz")
    given = yaml.safe_load(study.read_text())
    if not masks:
        del given["cohort"]["roles"]["mask"]
    edit(study, cohort=given["cohort"], preprocess=[{"name": "zscore"}])
    return study


PLACES = {"corner": np.s_[:4, :4, :], "slice": np.s_[:4, :4, 3], "centre": np.s_[10:14, 10:14, :]}


@pytest.mark.slow
@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("where", PLACES)
def test_a_mark_in_volumes_is_a_shortcut(tmp_path, masks, where):
    study = _heads(tmp_path, masks)
    _draw(tmp_path / "scans", tmp_path / "labels.csv", "t1.nii.gz", PLACES[where])
    found = _verdict(scan2gene.run(study, tmp_path / "out"))
    assert found["kind"] == "shortcut", found["headline"]
    assert ("could not be tested" in " ".join(found["sentences"])) == (not masks)


@pytest.mark.slow
@pytest.mark.parametrize("masks", [True, False])
def test_a_lesion_is_no_mark(tmp_path, masks):
    found = _verdict(scan2gene.run(_heads(tmp_path, masks, lesion=1.5), tmp_path / "out"))
    assert found["kind"] == ("better" if masks else "unproven"), found["headline"]


@pytest.mark.slow
@pytest.mark.parametrize("where", [np.s_[:4, :4, :], np.s_[:4, :4, 3]], ids=["corner", "slice"])
def test_a_mark_in_slices_is_a_shortcut(tmp_path, where):
    study = write_slice_study(tmp_path, patients=48, signal=False, evaluate={"bootstrap": 200},
                              splits=[{"name": "cv", "kind": "kfold", "folds": 3}], explain={"exams": 0})  # fmt: skip
    _draw(tmp_path / "scans", tmp_path / "labels.csv", "*.nii", where)
    found = _verdict(scan2gene.run(study, tmp_path / "out"))
    assert found["kind"] == "shortcut", found["headline"]


@pytest.mark.slow
def test_a_sign_in_slices_is_no_mark_but_without_masks_not_proven(tmp_path):
    study = write_slice_study(tmp_path, patients=48, evaluate={"bootstrap": 200},
                              splits=[{"name": "cv", "kind": "kfold", "folds": 3}], explain={"exams": 0})  # fmt: skip
    found = _verdict(scan2gene.run(study, tmp_path / "out"))
    assert found["kind"] == "unproven", found["headline"]
    assert "hold something" not in " ".join(found["sentences"])
