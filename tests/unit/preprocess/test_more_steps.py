"""Percentiles, landmarks, masks, bias field, noise: against scipy, brute force and planted truth."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage, stats

from scan2gene.core.errors import CohortError, RunError, ScanError
from scan2gene.core.tables import write_csv
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import write_nifti
from scan2gene.preprocess.apply_mask import apply_mask
from scan2gene.preprocess.body_crop import body_crop
from scan2gene.preprocess.denoise import denoise, estimated_noise
from scan2gene.preprocess.landmarks import landmarks_of_training, standard_landmarks
from scan2gene.preprocess.match_grid import match_grid
from scan2gene.preprocess.n4 import n4
from scan2gene.preprocess.nyul import PERCENTILES, landmarks, nyul
from scan2gene.preprocess.percentiles import clip_percentile, normalise_percentile
from scan2gene.preprocess.remove_background import remove_background
from scan2gene.preprocess.zscore import zscore

AFFINE = np.diag([1.0, 1, 2, 1])


def volume(array, kind="intensity") -> Volume:
    return Volume(np.asarray(array), AFFINE, kind)


def rng(seed=0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def flair(shared_data) -> Volume:
    return read_volume(shared_data / "tcia_brain_tumor_progression_dicom" / "Study3" / "36468-FLAIRreg-58706")


def some_mask(shape) -> Volume:
    inside = np.zeros(shape, np.uint8)
    inside[2:7, 3:9, 1:6] = 2
    return volume(inside, "label")


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_clipping_is_scipys_scoreatpercentile(dtype):
    array = rng().normal(100, 40, (12, 11, 10)).astype(dtype)
    ends = [stats.scoreatpercentile(array, p) for p in (5, 90)]
    np.testing.assert_array_equal(
        clip_percentile(volume(array), low=5, high=90).array, array.clip(*np.array(ends, dtype))
    )


def test_percentiles_are_mapped_to_0_and_1_and_held_there():
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    result = normalise_percentile(volume(array), low=10, high=60).array
    np.testing.assert_allclose(result, ((array - 99.9) / (599.4 - 99.9)).clip(0, 1), atol=1e-6)


def test_a_mask_decides_where_percentiles_mean_and_deviation_are_taken():
    array = rng().normal(50, 9, (10, 10, 8)).astype(np.float32)
    mask = some_mask(array.shape)
    sample = array[mask.array > 0].astype(float)
    loud = np.where(mask.array > 0, array, 1e5).astype(np.float32)  # what is outside must not count
    np.testing.assert_allclose(zscore(volume(loud), mask=mask).array[mask.array > 0], stats.zscore(sample), atol=1e-4)
    low, high = np.quantile(sample, [0.02, 0.9])
    clipped = clip_percentile(volume(loud), low=2, high=90, mask=mask).array
    np.testing.assert_allclose([clipped.min(), clipped.max()], [low, high], rtol=1e-6)
    unit = normalise_percentile(volume(loud), low=2, high=90, mask=mask).array
    np.testing.assert_allclose(unit[mask.array > 0], ((sample - low) / (high - low)).clip(0, 1), atol=1e-5)


@pytest.mark.parametrize("step", [clip_percentile, normalise_percentile, zscore])
def test_an_empty_mask_is_refused(step):
    with pytest.raises(ScanError, match="mask is empty"):
        step(volume(rng().random((5, 5, 5))), mask=volume(np.zeros((5, 5, 5), np.uint8), "label"))


@pytest.mark.parametrize("ends", [(5, 5), (60, 40), (-1, 50), (0, 101)])
def test_percentiles_that_are_no_range_are_refused(ends):
    with pytest.raises(ScanError, match="must ascend"):
        clip_percentile(volume(rng().random((5, 5, 5))), low=ends[0], high=ends[1])


def test_apply_mask_blanks_what_no_class_covers():
    array, mask = rng().integers(5, 90, (10, 10, 8)).astype(np.int16), some_mask((10, 10, 8))
    result = apply_mask(volume(array), mask=mask, outside="zero").array
    np.testing.assert_array_equal(result, array * (mask.array > 0))
    assert (apply_mask(volume(array), mask=mask).array[mask.array == 0] == array.min()).all()
    with pytest.raises(ScanError, match="'minimum' or 'zero'"):
        apply_mask(volume(array), mask=mask, outside="black")
    with pytest.raises(ScanError, match="mask is empty"):
        apply_mask(volume(array), mask=volume(np.zeros(array.shape, np.uint8), "label"))


def body_in_air() -> np.ndarray:
    array = rng().normal(10, 3, (40, 36, 20)).astype(np.float32)
    array[8:30, 5:28, 4:15] += 300
    array[2, 2, 18] = 1e5  # an artefact
    return array


def test_the_body_crop_is_the_bodys_box_and_its_margin_whatever_one_bright_voxel_says():
    array = body_in_air()
    result = body_crop(volume(array), margin_voxels=3)
    np.testing.assert_array_equal(result.array, array[5:33, 2:31, 1:18])
    np.testing.assert_allclose(result.affine[:3, 3], [5, 2, 2])
    np.testing.assert_array_equal(body_crop(volume(array), margin_voxels=99).array, array)


def test_the_body_crop_holds_the_head_of_a_real_scan(flair):
    result = body_crop(flair)
    assert result.array.size < flair.array.size
    level = 0.1 * np.percentile(flair.array, 99)
    inside = ndimage.binary_opening(flair.array > level, iterations=2)
    assert (result.array > level).sum() > 0.97 * inside.sum()


def test_removing_the_background_crops_to_what_is_left():
    array = body_in_air()
    result = remove_background(volume(array), threshold=100 / array.max(), crop=True)
    np.testing.assert_array_equal(result.array, array[8:30, 5:28, 4:15])
    np.testing.assert_allclose(result.affine[:3, 3], [8, 5, 8])


def test_a_reference_decides_about_body_and_box_and_a_mask_keeps_its_voxels():
    reference = volume(np.where(body_in_air() > 1e4, 0, body_in_air()))
    other = volume(rng(3).random((40, 36, 20)).astype(np.float32) + 5)
    result = remove_background(other, reference=reference, crop=True)
    np.testing.assert_array_equal(result.array, other.array[8:30, 5:28, 4:15])
    label = volume((rng(4).random((40, 36, 20)) > 0.9).astype(np.uint8), "label")
    np.testing.assert_array_equal(
        remove_background(label, reference=reference, crop=True).array, label.array[8:30, 5:28, 4:15]
    )
    far = Volume(reference.array, AFFINE + np.array([[0, 0, 0, 900]] * 3 + [[0] * 4]))
    with pytest.raises(ScanError, match="outside this volume's field"):
        remove_background(other, reference=far)


def test_match_grid_moves_a_picture_to_the_same_place():
    x, y, z = np.meshgrid(np.arange(24), np.arange(22), np.arange(14), indexing="ij")
    wave = volume((np.sin(x / 4) + np.cos(y / 5) + z / 9).astype(np.float32))
    affine = AFFINE @ np.array([[0, 0.7, 0, 3], [-0.8, 0, 0, 17], [0, 0, 0.6, 3], [0, 0, 0, 1.0]])
    grid = Volume(np.zeros((12, 18, 9), np.float32), affine)
    result = match_grid(wave, reference=grid)
    i, j, k = (
        np.linalg.inv(AFFINE) @ affine @ np.vstack([np.indices(grid.shape).reshape(3, -1), np.ones(12 * 18 * 9)])
    )[:3]
    expected = ndimage.map_coordinates(wave.array.astype(float), [i, j, k], order=3, mode="mirror").reshape(grid.shape)
    np.testing.assert_allclose(result.array, expected, atol=1e-4)
    np.testing.assert_array_equal(result.affine, affine)


def planted_bias(shape=(48, 44, 24)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two tissues in air, the field that brightens them, and where tissue is."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    tissue = x**2 + y**2 + z**2 < 0.8
    clean = np.where(tissue, np.where(np.sin(9 * x) * np.cos(8 * y) > 0, 100.0, 160.0), 0) + rng().random(shape)
    return clean, np.exp(0.5 * x - 0.3 * y + 0.25 * x * y), tissue


def spread(array, clean, tissue) -> float:
    """Coefficient of variation within the two tissues, averaged."""
    return float(
        np.mean([array[tissue & part].std() / array[tissue & part].mean() for part in (clean < 130, clean > 130)])
    )


@pytest.mark.parametrize("with_mask", [False, True])
def test_n4_takes_a_planted_field_away(with_mask):
    clean, field, tissue = planted_bias()
    biased = volume((clean * field).astype(np.float32))
    mask = volume(tissue.astype(np.uint8), "label") if with_mask else None
    result = n4(biased, mask=mask, shrink=2).array
    assert result.dtype == np.float32
    assert spread(biased.array, clean, tissue) > 0.2
    assert spread(result, clean, tissue) < 0.06
    found = np.log(biased.array[tissue] / result[tissue])
    assert np.corrcoef(found, np.log(field[tissue]))[0, 1] > 0.97


def test_n4_leaves_an_even_volume_nearly_as_it_is():
    clean, _, tissue = planted_bias()
    assert spread(n4(volume(clean.astype(np.float32)), shrink=2).array, clean, tissue) < 0.04


def brute_bilateral(array, sigma, alike, radius):
    """The definition, voxel by voxel, edges left out."""
    out = np.zeros_like(array, dtype=float)
    reach = range(-radius, radius + 1)
    for i in range(radius, array.shape[0] - radius):
        for j in range(radius, array.shape[1] - radius):
            for k in range(radius, array.shape[2] - radius):
                total = weights = 0.0
                for a in reach:
                    for b in reach:
                        for c in reach:
                            v = array[i + a, j + b, k + c]
                            w = np.exp(
                                -(a * a + b * b + c * c) / (2 * sigma**2) - (v - array[i, j, k]) ** 2 / (2 * alike**2)
                            )
                            total, weights = total + w * v, weights + w
                out[i, j, k] = total / weights
    return out


def test_denoise_is_the_bilateral_filter_of_the_definition():
    array = rng().normal(100, 10, (9, 9, 9))
    array[5:] += 60
    result = denoise(Volume(array, np.eye(4)), radius_voxels=0.8, strength=2, noise_std=10).array
    inner = (slice(3, 6),) * 3
    np.testing.assert_allclose(result[inner], brute_bilateral(array, 0.8, 20, 3)[inner], atol=0.5)


@pytest.mark.parametrize("noise", [2.0, 15.0])
def test_the_noise_is_estimated_and_goes_while_the_edge_stays(noise):
    clean = np.full((40, 40, 12), 100.0)
    clean[20:] = 100 + 12 * noise
    noisy = clean + rng().normal(0, noise, clean.shape)
    assert estimated_noise(noisy) == pytest.approx(noise, rel=0.05)
    result = denoise(volume(noisy.astype(np.float32))).array
    assert (result - clean)[:19].std() < 0.5 * noise
    assert abs((result[20] - result[19]).mean() - 12 * noise) < 0.6 * noise


def test_blanked_air_does_not_hide_the_noise():
    array = np.where(np.arange(60)[:, None, None] < 45, 0, rng().normal(200, 8, (60, 40, 10)))
    assert estimated_noise(array) == pytest.approx(8, rel=0.1)
    np.testing.assert_array_equal(denoise(volume(np.full((6, 6, 6), 4.0))).array, 4)


def scanners(n=4) -> list[Volume]:
    """One patient seen by scanners of different gain and offset."""
    base = rng().gamma(4, 30, (16, 15, 14))
    return [volume((base * (1 + 0.4 * k) + 50 * k).astype(np.float32)) for k in range(n)]


def test_nyul_brings_scanners_of_different_gain_to_one_scale():
    shown = scanners()
    standard = standard_landmarks(shown)
    assert standard[0] == 0
    assert standard[-1] == 100
    results = [nyul(v, standard=standard).array for v in shown]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=0.05)
    np.testing.assert_allclose(landmarks(volume(results[0]), mask=volume(
        (shown[0].array > shown[0].array.mean()).astype(np.uint8), "label")), standard, atol=0.05)  # fmt: skip


def test_nyul_is_numpys_interpolation_between_landmarks_and_goes_on_beyond():
    shown = scanners(1)[0]
    standard = np.linspace(0, 100, len(PERCENTILES)) ** 1.2
    place = landmarks(shown)
    result = nyul(shown, standard=standard.tolist()).array
    between = (shown.array >= place[0]) & (shown.array <= place[-1])
    np.testing.assert_allclose(result[between], np.interp(shown.array[between], place, standard), atol=0.01)
    slope = (standard[-1] - standard[-2]) / (place[-1] - place[-2])
    above = shown.array > place[-1]
    assert above.any()
    np.testing.assert_allclose(result[above], standard[-1] + (shown.array[above] - place[-1]) * slope, atol=0.01)


@pytest.mark.parametrize("standard", [[0, 100], [*range(10), 5]])
def test_a_standard_that_does_not_fit_or_ascend_is_refused(standard):
    with pytest.raises(ScanError, match="11 ascending values"):
        nyul(scanners(1)[0], standard=standard)


def prepared_run(folder, parts: dict[str, list[str]]):
    """A run directory with a split and one stored volume per patient."""
    rows = []
    for (patient, has), shown in zip(parts.items(), scanners(len(parts)), strict=True):
        for fold, part in enumerate(has):
            rows.append({"split": "s", "patient_id": patient, "repeat": 0, "fold": fold, "part": part})
        write_nifti(shown, folder / "store" / "abc" / f"{patient}.nii")
    write_csv(folder / "split.csv", pd.DataFrame(rows))
    manifest = [{"patient_id": p, "role": "t1", "file": f"{p}.nii", "status": "ok"} for p in parts]
    write_csv(folder / "store" / "abc" / "manifest.csv", pd.DataFrame(manifest))
    return folder


def test_landmarks_are_learned_from_patients_who_are_never_tested(tmp_path):
    run = prepared_run(tmp_path, {"A": ["train"], "B": ["test"], "C": ["train"], "D": ["validation"]})
    shown = scanners(4)
    assert landmarks_of_training(run, "t1") == standard_landmarks([shown[0], shown[2]])
    with pytest.raises(RunError, match="no volume of role 'flair'"):
        landmarks_of_training(run, "flair")


def test_cross_validation_has_nobody_to_learn_landmarks_from(tmp_path):
    run = prepared_run(tmp_path, {"A": ["train", "test"], "B": ["test", "train"]})
    with pytest.raises(CohortError, match="would leak"):
        landmarks_of_training(run, "t1")
