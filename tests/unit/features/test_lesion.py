"""Features of a lesion: phantoms with known answers, invariances, and masks that allow no answer."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lesion_exams import ball, exam, head

from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.lesion import lesion
from scan2gene.features.lesion_shape import SHAPE
from scan2gene.features.lesion_signal import DIFFERENCE, SIGNAL

CENTRE = (66.0, 47.0, 46.0)  # in the left half
BALL = ball(CENTRE, 14)
DOCS = Path(__file__).parents[3] / "docs" / "features.md"


@pytest.fixture(scope="module")
def numbers() -> dict[str, float]:
    return lesion(exam(BALL))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0), (2.0, 0.7, 0.7)])
def test_ball(spacing):
    mask = ball((20, 20, 20), 15, [round(40 / s) for s in spacing], spacing)
    affine = np.diag([*spacing, 1.0])
    found = lesion(_plain(mask, affine))
    assert found["volume_cm3"] == pytest.approx(4 / 3 * np.pi * 15**3 / 1000, rel=0.01)
    assert found["surface_cm2"] == pytest.approx(4 * np.pi * 15**2 / 100, rel=0.03)
    assert found["sphericity"] == pytest.approx(1, abs=0.03)
    assert found["elongation"] == pytest.approx(1, abs=0.01)
    assert found["flatness"] == pytest.approx(1, abs=0.01)
    assert found["hull_share"] > 0.85  # of cuboids
    assert found["ellipsoid_share"] > 0.8
    assert found["largest_slice_cm2"] == pytest.approx(np.pi * 15**2 / 100, rel=0.02)
    assert found["inner_radius_mm"] == pytest.approx(15, abs=max(spacing))
    assert found["parts"] == found["largest_part_share"] == 1


def _plain(mask, affine):
    return Exam({"t1": Volume(np.ones(mask.shape, np.float32), affine)}, {"m": Volume(mask.astype(np.uint8), affine)})


def test_box_and_star():
    box = np.zeros((40, 30, 20), bool)
    box[5:35, 5:25, 5:15] = True
    found = lesion(_plain(box, np.eye(4)))
    assert found["elongation"] == pytest.approx(20 / 30, abs=0.01)
    assert found["flatness"] == pytest.approx(10 / 30, abs=0.01)
    assert found["hull_share"] == pytest.approx(1)
    box[10:30:4, 0:30] = True  # spikes
    star = lesion(_plain(box, np.eye(4)))
    assert star["hull_share"] < 0.9
    for name in ("fractal_dimension", "margin_fluctuation", "angular_deviation", "surface_to_volume_per_mm"):
        assert star[name] > found[name]
    box[38:, 28:] = True
    assert lesion(_plain(box, np.eye(4)))["parts"] == 2


def test_place(numbers):
    assert numbers["place_left"] == pytest.approx(0.75, abs=0.03)
    assert numbers["place_front"] == pytest.approx(0.5, abs=0.03)
    assert numbers["place_up"] == pytest.approx(0.5, abs=0.03)
    assert numbers["laterality"] == 1
    assert numbers["both_sides"] == 0


def test_mirrored_exam_changes_side_only(numbers):
    whole = exam(BALL)
    mirrored = lesion(_each(whole, lambda v: v.with_array(v.array[::-1])))
    assert mirrored["laterality"] == -numbers["laterality"]
    assert mirrored["place_left"] == pytest.approx(1 - numbers["place_left"])
    for name in set(numbers) - {"laterality", "place_left"}:
        assert mirrored[name] == pytest.approx(numbers[name], rel=1e-6, abs=1e-9), name


def test_other_orientation_is_the_same(numbers):
    turned = lesion(_each(exam(BALL), lambda v: reoriented(v, "PSR")))
    assert turned == pytest.approx(numbers, rel=1e-6, abs=1e-9)


def _each(whole: Exam, change) -> Exam:
    return Exam(
        {role: change(v) for role, v in whole.images.items()},
        {role: change(v) for role, v in whole.masks.items()},
    )


def test_contrast(numbers):
    assert list(numbers) == list(lesion(exam(BALL, flair=head(BALL))))
    for role, sign in (("flair", -1), ("t1c", 1)):  # darker, brighter
        for name in ("minus_surroundings", "minus_contralateral", "edge_step"):
            assert sign * numbers[f"{role}_{name}"] > 0.7, (role, name)
    for name in ("minus_surroundings", "minus_contralateral", "edge_step", "core_minus_rim"):
        assert abs(numbers[f"t1_{name}"]) < 0.2  # noise
    assert numbers["t1c_minus_t1_mean"] == pytest.approx(numbers["t1c_mean"] - numbers["t1_mean"], abs=1e-5)
    enhancing = lesion(exam(BALL, t1c=head(BALL, 0) + 30 * ball(CENTRE, 9)))
    assert enhancing["t1c_core_minus_rim"] > 0.4
    assert enhancing["t1c_depth_correlation"] > 0.6
    assert enhancing["t1c_minus_t1_core_minus_rim"] > 0.4


def test_autocorrelation_tells_smooth_from_noisy_texture():
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(0).normal(0, 20, BALL.shape)
    smooth = gaussian_filter(noise, 1)
    rough, even = (
        lesion(exam(BALL, t1=head(BALL) + (BALL * texture / texture.std() * 20).astype(np.float32)))
        for texture in (noise, smooth)
    )
    assert abs(rough["t1_autocorrelation"]) < 0.15
    assert even["t1_autocorrelation"] > 0.5


@settings(max_examples=8)
@given(scale=st.floats(0.01, 1000), offset=st.floats(-500, 500))
def test_scaled_and_shifted_images_leave_the_numbers(numbers, scale, offset):
    whole = exam(BALL)
    role = "t1c"
    changed = Volume(whole.images[role].array * np.float32(scale) + np.float32(offset), whole.images[role].affine)
    if np.ptp(changed.array) < 1e-3 * abs(offset):
        return  # little is left of the image in float32
    found = lesion(Exam({**whole.images, role: changed}, whole.masks))
    assert found == pytest.approx(numbers, rel=2e-3, abs=2e-3)


def _mask(**cut) -> np.ndarray:
    out = np.zeros(BALL.shape, bool)
    out[tuple(cut.get(axis, slice(None)) for axis in "ijk")] = True
    return out


BAD_MASKS = {
    "empty": np.zeros(BALL.shape, bool),
    "one voxel": _mask(i=30, j=20, k=10),
    "one voxel in a corner": _mask(i=0, j=0, k=0),
    "one line": _mask(i=30, j=20),
    "one slice": BALL & _mask(k=11),
    "at the border": BALL | _mask(i=slice(0, 3)),
    "everything": np.ones(BALL.shape, bool),
    "outside the body": _mask(i=slice(0, 2), j=slice(0, 2)),
}


@pytest.mark.parametrize("name", BAD_MASKS)
def test_bad_masks_keep_the_names(numbers, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lesion(exam(BAD_MASKS[name]))
    assert list(found) == list(numbers)
    assert all(isinstance(value, float) and not np.isinf(value) for value in found.values())
    assert np.isnan(found["volume_cm3"]) == (name == "empty")


def test_bad_images_keep_the_names(numbers):
    nan = head(BALL)
    nan[30:, 20:25] = np.nan
    inside = np.where(BALL, 7, head(BALL)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = lesion(exam(BALL, flair=nan, t1=inside, t1c=np.zeros(BALL.shape, np.float32)))
        nothing = lesion(exam(BALL, **dict.fromkeys(("flair", "t1", "t1c"), np.full(BALL.shape, np.nan, np.float32))))
    assert list(found) == list(nothing) == list(numbers)
    assert np.isfinite(found["flair_mean"])
    assert found["t1_sd"] == 0
    assert np.isnan(found["t1_autocorrelation"])
    assert np.isnan(found["t1c_mean"]) and np.isnan(found["t1c_minus_t1_mean"])
    assert nothing["volume_cm3"] == numbers["volume_cm3"]


def test_missing_roles_and_masks(numbers):
    whole = exam(BALL)
    without = Exam({role: whole.images[role] for role in ("t1c", "flair")}, whole.masks)
    found = lesion(without, roles=["flair", "t1", "t1c"])
    assert list(found) == list(numbers)
    lacking = {name for name, value in found.items() if np.isnan(value)}
    assert lacking == {name for name in numbers if name.startswith("t1_") or "minus_t1_" in name}
    assert np.isnan(list(lesion(Exam(whole.images)).values())).all()
    assert np.isnan(list(lesion(whole, mask="other").values())).all()
    assert lesion(whole, mask="tumour") == numbers


def test_measures_are_described():
    for measure in (*SHAPE.values(), *SIGNAL.values(), *DIFFERENCE.values()):
        assert (measure.__doc__ or "").strip().splitlines()[0].endswith((".", '"', ")"))
    text = DOCS.read_text()
    assert all(f"`{name}`" in text for name in (*SHAPE, *SIGNAL))


def test_real_patient(shared_data):
    from scan2gene.imaging.index import read_volume

    folder = shared_data / "tcga_lgg" / "images" / "TCGA-DU-5849"
    images = {role: read_volume(folder / f"{role}.nii.gz", "intensity") for role in ("flair", "t1", "t1c")}
    found = lesion(Exam(images, {"mask": read_volume(folder / "mask.nii.gz", "label")}))
    assert np.isfinite(list(found.values())).all()
    assert found["volume_cm3"] == pytest.approx(3193 * 1.875**2 / 1000, rel=1e-5)
    assert found["flair_minus_surroundings"] > 0.5
