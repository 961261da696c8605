"""Pictures stand upright, keep millimetres, and fit the room they are given."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from scan2gene.core.volume import Volume
from scan2gene.imaging.picture import look


def volume_in(axes: str, array: np.ndarray, spacing=(1.0, 1.0, 1.0), kind="intensity") -> Volume:
    """A volume whose i, j, k point to `axes`; `array` is given in RAS order and turned to fit."""
    affine = np.eye(4)
    order = [next(world for world, pair in enumerate(("LR", "PA", "IS")) if c in pair) for c in axes]
    turned = array.transpose(order)
    for axis, letter in enumerate(axes):
        sign = 1 if letter in "RAS" else -1
        affine[:3, axis] = 0
        affine[order[axis], axis] = sign * spacing[order[axis]]
        if sign < 0:
            turned = np.flip(turned, axis)
    return Volume(np.ascontiguousarray(turned), affine, kind)


def picture(volume: Volume, limit: int = 50_000) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(look(volume, limit).jpeg))).astype(float)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "PIR", "SAL"])
def test_right_is_on_the_left_and_anterior_and_superior_are_up(axes):
    ras = np.zeros((30, 30, 30), np.float32)
    side = 168
    quarter = side // 4
    ras[20:, 20:, :] = 1000  # right and anterior, from top to bottom: the axial slice shows it
    axial = picture(volume_in(axes, ras))[:, :side]
    assert axial[:quarter, :quarter].mean() > 200 > 50 > axial[-quarter:, -quarter:].mean()
    assert axial[:quarter, -quarter:].mean() < 50 and axial[-quarter:, :quarter].mean() < 50
    ras[:] = 0
    ras[20:, :, 20:] = 1000  # right and superior: coronal
    coronal = picture(volume_in(axes, ras))[:, side + 2 : 2 * side + 2]
    assert coronal[:quarter, :quarter].mean() > 200 > 50 > coronal[-quarter:, -quarter:].mean()
    assert coronal[:quarter, -quarter:].mean() < 50
    ras[:] = 0
    ras[:, 20:, 20:] = 1000  # anterior and superior: sagittal, seen from the patient's left: anterior on the left
    sagittal = picture(volume_in(axes, ras))[:, 2 * side + 4 :]
    assert sagittal[:quarter, :quarter].mean() > 200 > 50 > sagittal[-quarter:, -quarter:].mean()
    assert sagittal[:quarter, -quarter:].mean() < 50


def test_millimetres_are_kept():
    array = np.random.default_rng(0).random((40, 40, 20)).astype(np.float32)
    found = look(volume_in("LPS", array, (1.0, 2.0, 3.0)), 50_000)  # 40 x 80 x 60 mm
    assert found.planes.startswith("middle axial")
    assert found.height == 168 and found.width == round(168 * (40 + 40 + 80) / 80) + 4
    assert found.shape == (40, 40, 20) and found.spacing_mm == (1.0, 2.0, 3.0) and found.orientation == "LPS"


def test_a_flat_stack_is_shown_slice_by_slice():
    array = np.zeros((64, 64, 10), np.float32)
    array[..., 3], array[..., 5], array[..., 7] = 100, 200, 300
    found = look(volume_in("LPS", array, (1, 1, 1)), 50_000)
    assert found.planes == "axial slices at 30, 50 and 70 %"
    whole = np.asarray(Image.open(io.BytesIO(found.jpeg))).astype(float)
    thirds = [part.mean() for part in np.array_split(whole, 3, axis=1)]
    assert thirds[0] < thirds[1] < thirds[2]


def test_a_mask_is_cut_through_what_is_marked():
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[2:6, 3:7, 4:8] = 1
    assert picture(volume_in("RAS", mask, kind="label")).max() > 200
    empty = look(volume_in("RAS", np.zeros((40, 40, 40), np.uint8), kind="label"), 50_000)
    assert empty.constant


def test_the_picture_fits_and_says_nothing_but_itself():
    noise = np.random.default_rng(0).random((96, 96, 96)).astype(np.float32)
    large, small = (look(volume_in("RAS", noise), limit) for limit in (100_000, 4_000))
    assert len(small.jpeg) <= 4_000 < len(large.jpeg)
    assert small.width < large.width
    image = Image.open(io.BytesIO(large.jpeg))
    assert image.mode == "L" and set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_figures_are_those_of_the_voxels():
    array = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    found = look(volume_in("RAS", np.minimum(array, 900)), 50_000)
    assert found.low == pytest.approx(np.percentile(array, 1), rel=0.01)
    assert found.at_max == pytest.approx(0.1)
    assert not found.constant
    colour = Volume(np.stack([array, array * 0], axis=-1), np.eye(4))
    assert look(colour, 50_000).high == pytest.approx(np.percentile(array, 99), rel=0.01)
