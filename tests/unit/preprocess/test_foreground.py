"""The body out of the air: in the order of the recipes, on real breasts, in noise, and where there is no air."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import yaml
from scipy import ndimage

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.preprocess import STEPS
from scan2gene.preprocess.foreground import foreground
from scan2gene.preprocess.recipe import check_recipe
from scan2gene.recipes import recipe_text

SHAPE = (120, 120, 20)


def in_recipe_order(volume: Volume, last: str) -> Volume:
    """A volume after the steps of breast-brca up to one of them, cropping left out so that voxels keep their place."""
    for step in yaml.safe_load(recipe_text("breast-brca"))["preprocess"]:
        options = {k: v for k, v in step.get("options", {}).items() if k != "crop"}
        volume = STEPS[step["name"]](volume, **options)
        if step["name"] == last:
            return volume
    raise AssertionError(f"no step {last}")


def errors(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Share of the body that is lost, and share of the air that is kept."""
    return float((truth & ~mask).sum() / truth.sum()), float((mask & ~truth).sum() / (~truth).sum())


def body_of(share: float) -> np.ndarray:
    """A cylinder of a share of the field."""
    i, j = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE[:2]), indexing="ij")
    radius = np.hypot(i, j)
    return np.repeat((radius <= np.quantile(radius, share))[:, :, None], SHAPE[2], axis=2)


def scan(body: np.ndarray, snr: float, noise: str, seed: int = 0) -> np.ndarray:
    """Tissue of many levels in air, noise of unit standard deviation in each channel, times 10."""
    rng = np.random.default_rng(seed)
    signal = np.where(body, snr * (0.7 + 0.6 * np.cos(np.linspace(0, 9, SHAPE[0]))[:, None, None] ** 2), 0)
    if noise == "none":
        return (10 * signal).astype(np.float32)
    if noise == "uniform":
        return (10 * (signal + 2.5 * rng.random(SHAPE))).astype(np.float32)
    channels = 4 if noise == "four coils" else 1
    part = signal / np.sqrt(channels)
    parts = [(part + rng.normal(size=SHAPE)) ** 2 + rng.normal(size=SHAPE) ** 2 for _ in range(channels)]
    return (10 * np.sqrt(sum(parts))).astype(np.float32)


@pytest.mark.parametrize("share", [0.25, 0.45, 0.65])
@pytest.mark.parametrize(
    ("snr", "noise"), [(6, "Rayleigh"), (30, "Rayleigh"), (20, "uniform"), (12, "four coils"), (9, "none")]
)
def test_the_recipe_finds_bodies_of_any_size_in_any_noise(share, snr, noise):
    body = body_of(share)
    volume = Volume(scan(body, snr, noise), np.diag([-1.1, 1.1, 3.0, 1.0]), "intensity")
    removed = in_recipe_order(volume, "remove_background")
    lost, kept = errors(removed.array > 0, body)
    assert lost < 0.02 and kept < 0.02
    equal = in_recipe_order(volume, "equalise").array
    assert (equal[removed.array == 0] == 0).all()
    inside = np.bincount(equal[removed.array > 0].ravel(), minlength=256)
    quarters = inside.reshape(4, 64).sum(axis=1) / inside.sum()
    assert np.abs(quarters - 0.25).max() < 0.1  # flat over the body alone


@pytest.fixture(scope="module")
def breasts(shared_data) -> dict[str, Volume]:
    table = scan2gene.index(shared_data / "breast_dce_bilateral_dicom")
    table = table[(table["status"] == "ok") & table["SeriesDescription"].str.contains("dyn")]
    return {r.SeriesDescription: read_volume(r.path) for r in table.itertuples()}


def test_the_recipe_keeps_real_breasts_and_takes_the_air_between_them_out(breasts):
    """In front of the breastbone are breasts and air only, so Otsu's threshold of logarithms parts them there."""
    assert len(breasts) == 4
    masks = []
    for volume in breasts.values():
        before = in_recipe_order(volume, "resample").array[:, 165:].astype(np.float32)
        mask = in_recipe_order(volume, "remove_background").array[:, 165:] > before.min()
        smooth = sitk.DiscreteGaussian(sitk.Log(sitk.GetImageFromArray(before) + 1), 1.0)
        reference = ndimage.binary_fill_holes(sitk.GetArrayFromImage(sitk.OtsuThreshold(smooth, 0, 1)) > 0)
        lost, kept = errors(mask, reference)
        assert lost < 0.02 and kept < 0.02
        masks.append(mask)
    for mask in masks[1:]:  # four phases of one exam show one body
        assert (mask & masks[0]).sum() * 2 / (mask.sum() + masks[0].sum()) > 0.98


def test_a_sagittal_breast_without_bright_fat_is_kept_whole(shared_data):
    table = scan2gene.index(shared_data / "breast_dce_dicom")
    dce = table[(table["status"] == "ok") & (table["SeriesDescription"] == "Sagittal-IR_3DFGRE")]
    for path in dce["path"]:
        mask = in_recipe_order(read_volume(path), "remove_background").array > 0
        middle = mask[:, :, 25:40]
        assert middle[30:75, 60:115].mean() > 0.98  # behind the nipple
        assert middle[:12, 145:].mean() < 0.02 and middle[-12:, 145:].mean() < 0.02  # air above and below it


def test_a_field_without_air_is_body_throughout(shared_data):
    image = sitk.ReadImage(str(shared_data / "pyradiomics_baseline" / "breast1_image.nrrd"))
    assert foreground(sitk.GetArrayFromImage(image).T).all()


def test_padding_with_zeros_does_not_hide_the_noise_around_a_head(shared_data):
    for patient in ("TCGA-DU-5849", "TCGA-DU-5851"):  # a tenth of the voxels of the first are zeros around the field
        array = np.asarray(nib.load(shared_data / "tcga_lgg" / "images" / patient / "flair.nii.gz").dataobj)
        mask = foreground(array.astype(np.float32))
        assert 0.25 < mask.mean() < 0.45
        assert mask[:, :5].mean() < 0.02 and mask[:5].mean() < 0.02


@pytest.mark.parametrize("share", [0.25, 0.65, 0.82])
def test_a_body_that_was_cut_out_before_is_kept_voxel_by_voxel(share):
    body = body_of(share)
    array = np.where(body, np.random.default_rng(3).normal(100, 30, SHAPE).clip(20), 0).astype(np.float32)
    np.testing.assert_array_equal(foreground(array), body)


@pytest.mark.parametrize("step", ["remove_background", "body_crop", "edge_slices"])
def test_no_step_looks_for_air_after_equalisation(step):
    with pytest.raises(StudyError, match=r"before it.*body: true"):
        check_recipe([Plugin(name="equalise"), Plugin(name=step)], {})
    check_recipe([Plugin(name="equalise"), Plugin(name="remove_background", options={"threshold": 0.5})], {})
    check_recipe([Plugin(name=step), Plugin(name="equalise", options={"body": True})], {})
