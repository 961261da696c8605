"""Parts of the radiomics features against other people's code or plain counts."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk

from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.radiomics import radiomics
from scan2gene.features.radiomics_log import log_filter
from scan2gene.features.radiomics_matrices import Region, count
from scan2gene.features.radiomics_regions import regions_of
from scan2gene.features.radiomics_shape import shape_features
from scan2gene.features.radiomics_wavelet import wavelets
from scan2gene.report.references import REFERENCES

WHOLE = (slice(None),) * 3


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).cumsum(axis=0)


@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_log_is_itks(sigma):
    array, spacing = noise((9, 30, 41)), (3.0, 0.8, 1.1)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing[::-1])
    itk = sitk.LaplacianRecursiveGaussianImageFilter()
    itk.SetSigma(sigma)
    itk.SetNormalizeAcrossScale(True)
    expected = sitk.GetArrayFromImage(itk.Execute(image))
    box = (slice(2, 5), slice(11, 17), slice(0, 9))
    got = log_filter(array, box, spacing, sigma)
    assert got.shape == (3, 6, 9)
    np.testing.assert_allclose(got, expected[box], atol=2e-5 * np.abs(expected).max())


def test_log_of_too_small_an_image_is_missing():
    box = (slice(0, 3), slice(0, 4), slice(0, 5))
    assert np.isnan(log_filter(noise((3, 40, 40)), box, (5.0, 1.0, 1.0), 1.0)).all()
    assert np.isnan(log_filter(noise((6, 40, 40)), box, (1.0, 1.0, 1.0), 5.5)).all()


@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9), (1, 4, 3)])
def test_wavelets_keep_energy_and_match_their_parts(shape):
    array = noise(shape)
    whole = dict(wavelets(array, tuple(slice(0, n) for n in shape)))
    if not any(n % 2 for n in shape):
        assert sum((band**2).sum() for band in whole.values()) == pytest.approx(8 * (array**2).sum())
    box = tuple(slice(n // 3, n // 3 + max(1, n // 2)) for n in shape)
    for band, values in wavelets(array, box):
        np.testing.assert_allclose(values, whole[band][box])


def test_wavelet_letters_are_in_the_order_i_j_k():
    edge = np.zeros((8, 8, 8))
    edge[:, :, 4] = 1.0  # changes along i only
    bands = dict(wavelets(edge, tuple(slice(0, 8) for _ in range(3))))
    assert np.abs(bands["HLL"]).max() > 1
    assert np.abs(bands["LLH"]).max() == pytest.approx(0, abs=1e-9)


def test_counts_of_a_row():
    """Levels 1 1 3 with a gap before the last voxel."""
    mask = np.array([1, 1, 0, 1], bool).reshape(1, 1, 4)
    counts = count(Region(mask), np.array([1, 1, 3]))
    assert counts.levels.tolist() == [1, 3]
    assert counts.pairs.sum() == 1
    assert counts.runs.sum(axis=2).tolist() == [[1, 1]]  # one direction meets two voxels
    assert counts.alike[:, :2].tolist() == [[0, 2], [1, 0]]
    assert (counts.zones.tolist(), counts.sizes.tolist()) == ([[0, 1], [1, 0]], [1, 2])
    assert counts.contrast.tolist() == [0, 0]


def test_shape_of_one_voxel_and_of_a_box():
    one = shape_features(np.ones((1, 1, 1), bool), (2.0, 1.0, 1.0))
    assert one["VoxelVolume"] == 2.0
    assert one["Maximum3DDiameter"] == 2.0
    box = shape_features(np.ones((4, 6, 8), bool), (1.0, 1.0, 1.0))
    assert box["VoxelVolume"] == 192
    assert 180 < box["MeshVolume"] < 192
    assert box["Maximum2DDiameterSlice"] == pytest.approx(np.hypot(8, 5))


def test_rim_and_ring_are_shells():
    label = np.zeros((21, 21, 11), np.uint8)
    label[5:16, 5:16, 3:8] = 1
    regions = regions_of(Volume(label, np.diag([1.0, 1.0, 4.0, 1.0]), "label"), "tumour", 2.0, 2.0)
    assert list(regions.masks) == ["tumour", "rim", "ring"]
    assert regions.masks["rim"].sum() == (11 * 11 - 7 * 7) * 5  # two voxels; neighbours along k are 4 mm away
    ring = regions.masks["ring"]
    assert not (ring & regions.inside).any()
    assert ring.sum() == (4 * 11 * 2 + 4) * 5  # two voxels on each side, and one at each corner
    touching = regions_of(Volume(np.ones((6, 6, 6), np.uint8), np.eye(4), "label"), "tumour", 1.0, 3.0)
    assert touching.masks["rim"].sum() == 6**3 - 4**3  # beyond the border all is outside
    assert touching.masks["ring"].sum() == 0


def test_ring_holds_the_body_only(monkeypatch):
    module = import_module("scan2gene.features.radiomics")  # the package's name for it is the function
    monkeypatch.setattr(module, "body_of", lambda arrays: SimpleNamespace(inside=arrays[0] > 0))
    array = np.random.default_rng(0).uniform(50, 60, (24, 24, 6)).astype(np.float32)
    array[14:] = 0.0  # air on one side of the mask
    label = np.zeros(array.shape, np.uint8)
    label[8:14, 8:14] = 1
    exam = Exam({"t1": Volume(array, np.eye(4))}, {"tumour": Volume(label, np.eye(4), "label")})
    features = radiomics(exam, normalise="none", wavelet=False, log_sigma_mm=())
    assert features["t1_ring_original_firstorder_Minimum"] >= 50
    scaled = radiomics(exam, normalise="body", normalise_scale=1.0, wavelet=False, log_sigma_mm=(), ring_mm=0)
    values = array[array > 0]
    expected = (array[label > 0].mean() - values.mean()) / values.std()
    assert scaled["t1_tumour_original_firstorder_Mean"] == pytest.approx(expected, rel=1e-3)


def test_normalisation_goes_through_the_filters():
    array = noise((20, 18, 12)).astype(np.float32)
    label = np.zeros(array.shape, np.uint8)
    label[5:12, 5:12, 4:8] = 1
    mask = {"tumour": Volume(label, np.eye(4), "label")}
    options = {"bin_width": 0.2, "rim_mm": 0, "ring_mm": 0, "log_sigma_mm": (1.0,)}
    scaled = Volume(((array - array.mean()) / array.std(ddof=1)).astype(np.float64), np.eye(4))
    by_hand = radiomics(Exam({"t1": scaled}, mask), normalise="none", **options)
    by_option = radiomics(
        Exam({"t1": Volume(array, np.eye(4))}, mask), normalise="image", normalise_scale=1.0, **options
    )
    for name in by_hand:
        if "firstorder" in name and not name.endswith(("Entropy", "Uniformity")):
            assert by_option[name] == pytest.approx(by_hand[name], rel=1e-3, abs=1e-5), name


def test_what_it_cites_is_in_the_bibliography():
    module = import_module("scan2gene.features.radiomics")
    assert set(module.CITATIONS) <= set(REFERENCES)
    assert module.DESCRIPTION
