"""The stage explain: maps on the scans' own grids, scored, resumed, switched off."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nibabel.processing import resample_from_to

import scan2gene
from scan2gene.core.study_file import load_study
from scan2gene.core.volume import Volume
from scan2gene.explain.fit import on_grid, read_maps
from scan2gene.stages.pipeline import dry_run
from tests.integration.road import edit, nifti_study, shell


def _affine(n: int) -> np.ndarray:
    """Turned, flipped, anisotropic, another place for each scan."""
    turn = np.radians(8 + n % 3)
    affine = np.diag([-0.9, 1.1, 2.0, 1.0])
    affine[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ affine[:2, :2]
    affine[:3, 3] = [n, -5, 3]
    return affine


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    path = nifti_study(folder, 18)
    for n, scan in enumerate(sorted((folder / "scans").glob("*/t1.nii.gz"))):
        array = nib.load(scan).get_fdata().astype(np.float32)
        array[3:6, 6:9, 4:6] += 50.0 if n % 2 else -50.0
        lesion = np.zeros(array.shape, np.uint8)
        lesion[3:6, 6:9, 4:6] = 1
        nib.save(nib.Nifti1Image(array, _affine(n)), scan)
        nib.save(nib.Nifti1Image(lesion, _affine(n)), scan.with_name("lesion.nii.gz"))
    cohort = load_study(path).cohort.model_dump(include={"labels", "patient_pattern", "clinical"})
    roles = {"t1": {"match": {"path": "t1"}}, "mask": {"match": {"path": "lesion"}, "kind": "label"}}
    steps = [
        {"name": "reorient", "options": {"axes": "LAS"}},
        {"name": "resample", "options": {"spacing_mm": [1, 1, 2]}},
    ]
    steps += [{"name": "crop_or_pad", "options": {"shape": [10, 10, 8]}}, {"name": "zscore"}]
    edit(path, cohort=cohort | {"scans": ["scans"], "labels": "labels.csv", "roles": roles}, preprocess=steps)
    edit(path, explain={"methods": [{"name": "grad_cam_pp"}, {"name": "gradient_shap", "options": {"samples": 2}}]})
    scan2gene.run(path, folder / "out")
    return path


def test_maps_lie_on_the_prepared_grid_and_on_that_of_the_scan(study):
    out = study.parent / "out"
    maps = read_maps(out / "explain" / "maps.csv")
    picked = maps[maps["picked"]]
    assert set(picked["method"]) == {"grad_cam_pp", "gradient_shap"} and picked["map_on_scan"].notna().all()
    for row in picked.itertuples():
        scan = nib.load(study.parent / "scans" / row.patient_id / "t1.nii.gz")
        prepared, moved = nib.load(out / row.map), nib.load(out / row.map_on_scan)
        image = nib.load(out / row.image)
        assert prepared.shape == image.shape and np.allclose(prepared.affine, image.affine, atol=1e-4)
        assert moved.shape == scan.shape and np.allclose(moved.affine, scan.affine, atol=1e-4)
        theirs = resample_from_to(prepared, scan, order=1, cval=0.0).get_fdata()
        ours, top = moved.get_fdata(), theirs.max()
        inner = (slice(2, -2),) * 3  # SimpleITK reaches half a voxel further at the border
        assert np.abs(ours - theirs)[inner].max() <= 0.01 * top + 1e-12
    assert len(picked.groupby(["exam_id", "target", "method"])) == len(set(picked["map"])) == len(picked)


def test_maps_are_scored_against_the_mask_of_the_store(study):
    out = study.parent / "out"
    maps = read_maps(out / "explain" / "maps.csv")
    for row in maps[maps["picked"]].dropna(subset=["energy"]).itertuples():
        array, lesion = nib.load(out / row.map).get_fdata(), nib.load(out / row.mask).get_fdata() > 0
        assert row.energy == pytest.approx(array[lesion].sum() / array.sum(), rel=1e-5)
        assert row.lesion_fraction == pytest.approx(lesion.mean())
    assert maps["energy"].notna().any()
    tested = pd.read_csv(out / "split.csv").query("part == 'test'")["patient_id"]
    assert set(maps["patient_id"]) <= set(tested)
    scores = pd.read_csv(out / "explain" / "scores.csv")
    measures = {"energy", "lesion_fraction", "energy_ratio", "energy_ratio_random", "pointing", "rank_correlation"}
    assert set(scores["measure"]) == measures
    steps = scores.loc[scores["measure"] == "rank_correlation", "step"].tolist()
    assert steps[0] == "1 of 12" and steps[-1] == "12 of 12"


def test_a_second_run_makes_nothing_and_a_lost_map_is_made_again(study):
    out = study.parent / "out"
    maps = sorted((out / "explain").rglob("*.nii.gz"))
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in maps}
    scan2gene.run(study, out)
    assert {p: p.stat().st_mtime_ns for p in maps} == {p: t for p, (t, _) in before.items()}
    maps[0].unlink()
    assert dry_run(study, out)["explain"] == "to do"
    scan2gene.run(study, out)
    assert {p: p.read_bytes() for p in maps} == {p: data for p, (_, data) in before.items()}


def test_settings_change_only_what_they_decide(study, monkeypatch):
    out = study.parent / "out"
    metrics = (out / "metrics.csv").stat().st_mtime_ns
    assert shell(monkeypatch, "explain", study, "-o", out, "--set", "explain.layer={light: blocks.1}") == ""
    assert (out / "metrics.csv").stat().st_mtime_ns == metrics
    assert "no maps: explain.exams is 0" not in (out / "report.html").read_text()
    wrong = {
        "explain.layer={light: block}": "run light: explain: layer 'block' is not known",
        "explain.layer={heavy: blocks}": "explain.layer: 'heavy' is not known; valid: light",
        "explain.methods=[{name: gradcam}]": "explain.methods: 'gradcam' is not known",
        "explain.mask=t1": "explain.mask: 't1' is not known; valid: mask",
        "explain.targets=[gen]": "explain.targets: 'gen' is not known; valid: gene",
    }
    for change, message in wrong.items():
        assert message in shell(monkeypatch, "explain", study, "-o", out, "--set", change)


def test_a_map_moves_as_nibabel_moves_it():
    volume = Volume(
        np.random.default_rng(0).uniform(0, 1, (9, 8, 7)).astype(np.float32), np.diag([-2.0, 2.0, 3.0, 1.0])
    )
    affine = _affine(1)
    affine[:3, 3] = [-3, 4, 4]
    ours = on_grid(volume, Volume(np.zeros((8, 9, 6), np.uint8), affine))
    theirs = resample_from_to(nib.Nifti1Image(volume.array, volume.affine), (ours.shape, affine), order=1).get_fdata()
    inside = theirs > 0  # at the border SimpleITK reaches half a voxel further
    assert inside.sum() > 200 and np.abs(ours.array - theirs)[inside].max() < 1 / 255
    assert np.array_equal(ours.affine, affine)
