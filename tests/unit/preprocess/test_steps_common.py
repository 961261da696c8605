"""What holds for every step; a new one is tested by being listed in STEPS."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.preprocess import GEOMETRIC, STEPS
from scan2gene.preprocess.recipe import moves_voxels

AFFINE = np.array([[-1.5, 0.1, 0, 80], [0.1, 1.2, 0.3, -90], [0, -0.2, 3.2, 11], [0, 0, 0, 1]])
OPTIONS = {
    "reorient": {"axes": "SPR"},
    "crop_to_mask": {"margin_voxels": 1},
    "body_crop": {"margin_voxels": 1},
    "resample": {"spacing_mm": (2.0, 1.0, 2.5)},
    "resize": {"shape": (10, 20, 7)},
    "nominal_spacing": {"extent_mm": 40.0},
    "crop_or_pad": {"shape": (10, 20, 7)},
    "skull_strip": {"method": "simple", "depth_mm": 2, "volume_ml": (0.1, 3000)},
    "nyul": {"standard": [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]},
}
VARIANTS = [
    ("resample", {"spacing_mm": (2.0, 1.0, 2.5), "axes": "world"}),
    ("resample", {"spacing_mm": (1.3, 1.3, 2.5), "axes": "acquisition"}),
    ("resample", {"spacing_mm": (1.5, 1.2, 2.5), "straighten": True}),
    ("remove_background", {"crop": True}),
    ("remove_background", {"crop": True, "keep": "large", "threshold": 0.5, "min_voxels": 20}),
    ("zscore", {"nonzero": True}),
    ("reorient", {"axes": "acquisition"}),
    ("resize", {"shape": (10, 20, None)}),
]
CASES = [Plugin(name=n, options=OPTIONS.get(n, {})) for n in sorted(STEPS)] + [
    Plugin(name=n, options=o) for n, o in VARIANTS
]
MOVING = [c for c in CASES if moves_voxels(c)]


def ball(shape=(17, 16, 9)) -> np.ndarray:
    """A bright textured ball in noise: something for every step to hold on to."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    noise = np.random.default_rng(0).random(shape)
    return np.where((grid**2).sum(axis=0) < 0.4, 600 + 300 * noise, 20 * noise).astype(np.float32)


def mask() -> Volume:
    return Volume((ball() > 300).astype(np.uint8), AFFINE, "label")


def other_grid() -> Volume:
    """The same ball in other voxels: turned about the ball's centre, and finer."""
    middle = AFFINE @ [8, 7.5, 4, 1]
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -15, 30], degrees=True).as_matrix() * (1.4, 1.1, 2.9)
    affine[:3, 3] = middle[:3] - affine[:3, :3] @ [10, 11, 6]
    place = np.linalg.inv(AFFINE) @ affine @ np.vstack([np.indices((21, 23, 13)).reshape(3, -1), np.ones(21 * 23 * 13)])
    where = tuple(np.clip(np.rint(p), 0, n - 1).astype(int) for p, n in zip(place, ball().shape, strict=False))
    return Volume(ball()[where].reshape(21, 23, 13), affine)


def apply(case: Plugin, volume: Volume) -> Volume:
    options = dict(case.options)
    parameters = inspect.signature(STEPS[case.name]).parameters
    if "mask" in parameters and parameters["mask"].default is inspect.Parameter.empty:
        options["mask"] = mask()
    if case.name == "match_grid":
        options["reference"] = other_grid()
    elif "reference" in parameters:
        options["reference"] = Volume(ball(), AFFINE)
    return STEPS[case.name](volume, **options)


def named(case: Plugin) -> str:
    return "-".join([case.name, *(f"{k}={v}" for k, v in case.options.items() if not isinstance(v, tuple | list))])


@pytest.fixture(params=CASES, ids=named)
def case(request):
    return request.param


@pytest.fixture(params=MOVING, ids=named)
def moving(request):
    return request.param


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16])
def test_the_input_is_untouched_and_the_output_is_a_volume(case, dtype):
    volume = Volume((ball() / 4).astype(dtype), AFFINE)
    before = volume.array.copy()
    volume.array.setflags(write=False)
    result = apply(case, volume)
    np.testing.assert_array_equal(volume.array, before)
    assert result.array.ndim == 3
    assert np.isfinite(result.array).all()
    assert np.isfinite(result.affine).all()
    assert abs(np.linalg.det(result.affine[:3, :3])) > 1e-3
    assert result.kind == "intensity"
    assert result.array.max() > result.array.min()  # the ball is still there


def test_the_result_does_not_depend_on_memory_order(case):
    c_order = apply(case, Volume(np.ascontiguousarray(ball()), AFFINE))
    f_order = apply(case, Volume(np.asfortranarray(ball()), AFFINE))
    np.testing.assert_array_equal(c_order.array, f_order.array)


def test_only_geometric_steps_move_voxels(case):
    result = apply(case, Volume(ball(), AFFINE))
    moved = result.shape != ball().shape or not np.array_equal(result.affine, AFFINE)
    assert moved == (moves_voxels(case) or case.name == "edge_slices")  # slices go, no voxel moves; masks keep theirs


def test_the_ball_stays_where_it_is_in_the_patient(case):
    result = apply(case, Volume(ball(), AFFINE))

    def centre(volume):
        level = (float(volume.array.max()) + float(volume.array.min())) / 2
        return volume.affine @ [*np.argwhere(volume.array > level).mean(axis=0), 1]

    np.testing.assert_allclose(centre(result), centre(Volume(ball(), AFFINE)), atol=0.6)  # mm; a third of a voxel


def test_a_mask_keeps_its_classes_under_geometric_steps(moving):
    inside = mask()
    classes = np.where(inside.array > 0, 2, 0) + np.where(ball() > 800, 5, 0)
    labels = Volume(classes.astype(np.uint8), AFFINE, "label")
    result = apply(moving, labels)
    assert result.kind == "label"
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) == {0, 2, 7}


def test_image_and_mask_end_on_one_grid(moving):
    image, label = apply(moving, Volume(ball(), AFFINE)), apply(moving, mask())
    assert image.shape == label.shape
    np.testing.assert_allclose(image.affine, label.affine, atol=1e-9)
    inside = label.array > 0
    assert image.array[inside].mean() > 5 * image.array[~inside].mean()


TURN = Rotation.from_euler("xyz", [40, 35, -50], degrees=True).as_matrix()
OBLIQUE = np.block([[TURN * (0.5, 0.5, 6), np.ones((3, 1))], [0, 0, 0, 1]])
STRANGE = {
    "one voxel": np.full((1, 1, 1), 7, np.float32),
    "two voxels": np.array([[[-1, 5]]], np.int16),
    "a flat slice": ball((12, 11, 1)),
    "constant": np.full((9, 8, 7), 3, np.uint8),
    "all zero": np.zeros((9, 8, 7), np.float32),
    "full int16": np.where(ball() > 300, 32767, -32768).astype(np.int16),
    "full uint16": np.where(ball() > 300, 65535, 0).astype(np.uint16),
    "bytes": (ball() / 4).astype(np.uint8),
    "huge": (ball() * 1e30).astype(np.float32),
    "tiny numbers": (ball() * 1e-41).astype(np.float32),
    "doubles": ball().astype(np.float64) - 1e6,
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_volume_is_done_or_refused_in_one_line(case, what):
    volume = Volume(STRANGE[what], OBLIQUE)
    options = dict(case.options)
    parameters = inspect.signature(STEPS[case.name]).parameters
    for option in ("mask", "reference"):
        if option in parameters and parameters[option].default is inspect.Parameter.empty:
            options[option] = Volume(np.ones(volume.shape, np.uint8), OBLIQUE, "label")
    try:
        result = STEPS[case.name](volume, **options)
    except (ScanError, GeometryError) as error:
        assert "\n" not in str(error)
        assert str(error)
        return
    assert np.isfinite(result.array).all()
    assert result.array.size
    whole = np.issubdtype(result.array.dtype, np.integer)
    assert whole or result.array.dtype in (np.float32, np.float64)


def test_every_geometric_step_is_a_step():
    assert set(STEPS) >= GEOMETRIC
