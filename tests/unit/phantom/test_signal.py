"""The planted signal is known in closed form, structural, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.phantom.exams import write_exam
from scan2gene.phantom.patients import Patient, best_auroc, draw_patients, lesion_weight, signal, stripes
from scan2gene.phantom.scanners import SCANNERS, acquisition_grid
from scan2gene.stats.metrics import auroc

ANGLES = np.arange(0.0, 90.1, 1.0)


def _lesion(patient: Patient) -> tuple[np.ndarray, np.ndarray]:
    """Points inside the lesion on the patient's own scanner grid, and their noisy signal."""
    shape, lps = acquisition_grid(SCANNERS[patient.scanner], patient.organ)
    ras = LPS_TO_RAS @ lps
    centre = np.rint(np.linalg.solve(ras, [*patient.centre_mm, 1])[:3]).astype(int)
    offsets = np.stack(np.meshgrid(*[np.arange(-10, 11)] * 3, indexing="ij"), -1).reshape(-1, 3)
    index = centre + offsets
    index = index[((index >= 0) & (index < shape)).all(axis=1)]
    points = (index @ ras[:3, :3].T + ras[:3, 3]).astype(np.float32)
    points = points[lesion_weight(patient, points) >= 0.5]
    rng = np.random.default_rng(patient.seed)
    return points, signal(patient, points, "t1c") + rng.normal(0, 0.03, len(points))


def _field(patient: Patient) -> np.ndarray:
    """Noisy signal of the whole field of view, every third voxel along each axis."""
    shape, lps = acquisition_grid(SCANNERS[patient.scanner], patient.organ)
    ras = LPS_TO_RAS @ lps
    index = np.stack(np.meshgrid(*[np.arange(0, n, 3) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    points = (index @ ras[:3, :3].T + ras[:3, 3]).astype(np.float32)
    return signal(patient, points, "t1c") + np.random.default_rng(patient.seed).normal(0, 0.03, len(points))


def _angle(patient: Patient) -> float:
    """Template reader: the stripe angle that fits best."""
    points, values = _lesion(patient)
    patterns = stripes(patient, points, degrees=ANGLES[:, None])  # (angles, points)
    patterns -= patterns.mean(axis=1, keepdims=True)
    fits = patterns @ (values - values.mean()) / np.linalg.norm(patterns, axis=1)  # correlation but for a factor
    return float(ANGLES[int(np.argmax(fits))])


@pytest.mark.parametrize("effect", [0.0, 1.0, 2.0])
def test_a_template_reader_reaches_the_closed_form_auroc(effect):
    patients = draw_patients(400, effect, "breast", seed=11)
    y = np.array([p.label for p in patients], float)
    read = float(auroc(y, np.array([_angle(p) for p in patients])))
    wanted = norm.cdf(effect / np.sqrt(2))
    assert best_auroc(effect) == pytest.approx(wanted)
    error = np.sqrt(wanted * (1 - wanted) / 200)  # generous bound of the standard error, 200 a class
    assert abs(read - wanted) < 3 * error


@pytest.mark.parametrize("organ", ["breast", "brain"])
@pytest.mark.parametrize("where", ["lesion", "field"])
def test_brightness_and_histogram_know_nothing(where, organ):
    patients = draw_patients(240, 3.0, organ, seed=12)
    y = np.array([p.label for p in patients], float)
    values = [_lesion(p)[1] if where == "lesion" else _field(p) for p in patients]
    histogram = np.stack([np.histogram(v, bins=12, range=(0, 1.1), density=True)[0] for v in values])
    moments = np.array([[v.mean(), v.std(), v.min(), v.max()] for v in values])
    for features in (histogram, moments):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        score = cross_val_predict(model, features, y, cv=5, method="decision_function")
        assert auroc(y, score) <= 0.60


def test_scanner_site_age_and_place_do_not_depend_on_the_label():
    patients = draw_patients(2000, 3.0, "breast", seed=13)
    y = np.array([p.label for p in patients])
    for value in ("age", "radius_mm"):
        x = np.array([getattr(p, value) for p in patients])
        assert abs(float(auroc(y, x)) - 0.5) < 0.04  # 3 standard errors
    for name in sorted({p.scanner for p in patients}):
        share = np.mean([p.label for p in patients if p.scanner == name])
        assert abs(share - 0.5) < 0.1


@pytest.mark.parametrize("scanner", sorted(SCANNERS))
def test_written_exam_has_the_lesion_where_the_patient_has_it(scanner, tmp_path):
    import io
    from dataclasses import replace

    import pydicom

    from scan2gene import index, read_volume

    patient = replace(draw_patients(4, 2.0, "breast", seed=14)[1], scanner=scanner, centre_mm=(-75.0, 30.0, 5.0))
    files = write_exam(tmp_path, patient, ("t1c",))["t1c"]
    for path in (files[0], files[-1]):  # UIDs of odd and even length
        by_pydicom = io.BytesIO()
        pydicom.dcmread(path).save_as(by_pydicom, enforce_file_format=True)
        assert path.read_bytes() == by_pydicom.getvalue()
    rows = index(tmp_path)
    assert list(rows["status"]) == ["ok", "ok"]
    image = read_volume(rows[rows["format"] == "dicom"]["path"].iloc[0])
    mask = read_volume(tmp_path / "mask.nii.gz", "label")
    assert image.shape == mask.shape
    np.testing.assert_allclose(image.affine, mask.affine, atol=1e-3)
    centre = mask.affine[:3, :3] @ np.argwhere(mask.array > 0).mean(axis=0) + mask.affine[:3, 3]
    assert np.abs(centre - patient.centre_mm).max() < 1.6  # half a voxel: left stays left
    inside = image.array[mask.array > 0] / SCANNERS[scanner].gain
    index_ijk = np.argwhere(mask.array > 0)
    points = (index_ijk @ mask.affine[:3, :3].T + mask.affine[:3, 3]).astype(np.float32)
    assert np.corrcoef(inside, stripes(patient, points))[0, 1] > 0.9
