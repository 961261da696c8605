"""Features without a mask: where a lesion shows, invariances, and images that allow no answer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from lesion_exams import ball, exam, head

from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.subregions import subregions

SOLID = ball((66.0, 47.0, 46.0), 14)  # in the left half
NOTHING = np.zeros_like(SOLID)


@pytest.fixture(scope="module")
def numbers() -> dict[str, float]:
    return subregions(exam(SOLID))


def test_lesion_shows_in_its_cell_and_between_the_sides(numbers):
    healthy = subregions(exam(NOTHING))
    assert list(healthy) == list(numbers)
    assert numbers["t1c_r3b2l2_mean"] > healthy["t1c_r3b2l2_mean"] + 0.3
    assert numbers["t1c_sides_r1b2l2_mean"] == pytest.approx(
        abs(numbers["t1c_r1b2l2_mean"] - numbers["t1c_r3b2l2_mean"])
    )
    for name in ("t1c_sides_largest_mean", "t1c_side_difference_p99", "t1c_minus_t1_sides_largest_mean"):
        assert numbers[name] > healthy[name] + 0.2
    assert numbers["t1c_side_correlation"] < healthy["t1c_side_correlation"]


def test_scale_offset_and_masks_change_nothing(numbers):
    whole = exam(SOLID)
    images = {role: Volume(v.array * np.float32(3.7) - np.float32(20), v.affine) for role, v in whole.images.items()}
    assert subregions(Exam(images)) == pytest.approx(numbers, rel=2e-3, abs=2e-3, nan_ok=True)


def test_mirrored_exam_swaps_cells(numbers):
    found = subregions(Exam({r: v.with_array(v.array[::-1]) for r, v in exam(SOLID).images.items()}))
    for name in numbers:
        other = name.replace("_r1b", "_r0b").replace("_r3b", "_r1b").replace("_r0b", "_r3b")
        other = name if "sides_" in name else other
        assert found[other] == pytest.approx(numbers[name], rel=1e-5, abs=1e-6, nan_ok=True), name


def test_bad_images_keep_the_names(numbers):
    nan = head(SOLID)
    nan[:20] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bad = subregions(exam(SOLID, flair=nan, t1=np.full(SOLID.shape, 5, np.float32)))
        without = subregions(Exam({"t1c": exam(SOLID).images["t1c"]}), roles=["flair", "t1", "t1c"])
        empty = subregions(Exam({}), roles=["flair", "t1", "t1c"])
        tiny = subregions(Exam({r: Volume(np.ones((1, 2, 1), np.float32), np.eye(4)) for r in ("flair", "t1", "t1c")}))
    assert list(bad) == list(without) == list(empty) == list(tiny) == list(numbers)
    assert np.isfinite(bad["flair_r3b2l2_mean"]) and np.isnan(bad["t1_body_entropy"])
    assert np.isnan(without["t1_r2b2l2_mean"]) and np.isfinite(without["t1c_r2b2l2_mean"])
    assert not np.isfinite([*empty.values(), *tiny.values()]).any()


def test_grid_and_thinning(numbers):
    coarse = subregions(exam(SOLID), grid=(2, 1, 1))
    assert [name for name in coarse if name.startswith("t1_r")] == [
        f"t1_r{n}b1l1_{measure}" for n in (1, 2) for measure in ("mean", "sd", "autocorrelation")
    ]
    thin = subregions(exam(SOLID), most_voxels=24)
    assert thin["t1c_r3b2l2_mean"] == pytest.approx(numbers["t1c_r3b2l2_mean"], abs=0.2)
