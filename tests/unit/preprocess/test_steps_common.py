"""What holds for every step; a new one is tested by being listed in STEPS."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from scan2gene.core.volume import Volume
from scan2gene.preprocess import GEOMETRIC, STEPS

AFFINE = np.array([[-1.5, 0.1, 0, 80], [0.1, 1.2, 0.3, -90], [0, -0.2, 3.2, 11], [0, 0, 0, 1]])
OPTIONS = {
    "reorient": {"axes": "SPR"},
    "crop_to_mask": {"margin_voxels": 1},
    "resample": {"spacing_mm": (2.0, 1.0, 2.5)},
    "resize": {"shape": (10, 20, 7)},
    "crop_or_pad": {"shape": (10, 20, 7)},
}


def ball(shape=(17, 16, 9)) -> np.ndarray:
    """A bright textured ball in noise: something for every step to hold on to."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    noise = np.random.default_rng(0).random(shape)
    return np.where((grid**2).sum(axis=0) < 0.4, 600 + 300 * noise, 20 * noise).astype(np.float32)


def mask() -> Volume:
    return Volume((ball() > 300).astype(np.uint8), AFFINE, "label")


def apply(name: str, volume: Volume) -> Volume:
    options = dict(OPTIONS.get(name, {}))
    if "mask" in inspect.signature(STEPS[name]).parameters:
        options["mask"] = mask()
    return STEPS[name](volume, **options)


@pytest.fixture(params=sorted(STEPS))
def name(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_the_input_is_untouched_and_the_output_is_a_volume(name, dtype):
    volume = Volume((ball() / 4).astype(dtype), AFFINE)
    before = volume.array.copy()
    volume.array.setflags(write=False)
    result = apply(name, volume)
    np.testing.assert_array_equal(volume.array, before)
    assert result.array.ndim == 3
    assert np.isfinite(result.array).all()
    assert np.isfinite(result.affine).all()
    assert abs(np.linalg.det(result.affine[:3, :3])) > 1e-3
    assert result.kind == "intensity"
    assert result.array.max() > result.array.min()  # the ball is still there


def test_the_result_does_not_depend_on_memory_order(name):
    c_order = apply(name, Volume(np.ascontiguousarray(ball()), AFFINE))
    f_order = apply(name, Volume(np.asfortranarray(ball()), AFFINE))
    np.testing.assert_array_equal(c_order.array, f_order.array)


def test_only_geometric_steps_move_voxels(name):
    result = apply(name, Volume(ball(), AFFINE))
    moved = result.shape != ball().shape or not np.array_equal(result.affine, AFFINE)
    assert moved == (name in GEOMETRIC)


def test_the_ball_stays_where_it_is_in_the_patient(name):
    result = apply(name, Volume(ball(), AFFINE))

    def centre(volume):
        level = (float(volume.array.max()) + float(volume.array.min())) / 2
        return volume.affine @ [*np.argwhere(volume.array > level).mean(axis=0), 1]

    np.testing.assert_allclose(centre(result), centre(Volume(ball(), AFFINE)), atol=0.6)  # mm; a third of a voxel


@pytest.mark.parametrize("step", sorted(GEOMETRIC))
def test_a_mask_keeps_its_classes_under_geometric_steps(step):
    inside = mask()
    classes = np.where(inside.array > 0, 2, 0) + np.where(ball() > 800, 5, 0)
    labels = Volume(classes.astype(np.uint8), AFFINE, "label")
    result = apply(step, labels)
    assert result.kind == "label"
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) == {0, 2, 7}


@pytest.mark.parametrize("step", sorted(GEOMETRIC))
def test_image_and_mask_end_on_one_grid(step):
    image, label = apply(step, Volume(ball(), AFFINE)), apply(step, mask())
    assert image.shape == label.shape
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-9)
    inside = label.array > 0
    assert image.array[inside].mean() > 5 * image.array[~inside].mean()


def test_every_geometric_step_is_a_step():
    assert set(STEPS) >= GEOMETRIC
