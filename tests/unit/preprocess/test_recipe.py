"""Recipes: their hash, what they make of an exam's volumes, and mistakes found before any work."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from small_recipe import AFFINE, RECIPE, ROLES

from scan2gene.core.errors import ScanError, StudyError
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.preprocess.recipe import apply_recipe, check_recipe, recipe_hash


def test_the_recipes_hash_changes_with_every_option_and_the_order():
    def crop(n):
        return [Plugin(name="crop_or_pad", options={"shape": [n, 8, 8]}), Plugin(name="equalise")]

    recipes = [
        crop(8),
        crop(9),
        crop(8)[::-1],
        crop(8)[:1],
        [crop(8)[0], Plugin(name="equalise", options={"bins": 64})],
    ]
    assert len({recipe_hash(r) for r in recipes}) == len(recipes)
    assert recipe_hash(crop(8)) == recipe_hash(crop(8))


@pytest.mark.parametrize(
    ("module", "changed"),
    [
        ("preprocess.equalise", [True, False, False]),
        ("preprocess.resample", [False, True, True]),
        ("preprocess.nyul", [False, False, False]),
        ("preprocess.recipe", [True, True, True]),
        ("imaging.index", [True, True, True]),  # reading
    ],
)
def test_the_version_of_what_a_recipe_uses_renames_its_store_and_no_other(monkeypatch, module, changed):
    recipes = [[Plugin(name=name) for name in names] for names in (["equalise"], ["resample"], ["zscore", "resample"])]
    before = [recipe_hash(r) for r in recipes]
    monkeypatch.setattr(sys.modules[f"scan2gene.{module}"], "VERSION", 99)
    assert [a != recipe_hash(r) for a, r in zip(before, recipes, strict=True)] == changed


def test_a_store_keeps_its_name_from_release_to_release():
    """To be changed only where a VERSION was raised: every store of every user is made again then."""
    steps = [Plugin(name="resample", options={"spacing_mm": [1, 1, 3]}), Plugin(name="zscore")]
    assert recipe_hash(steps) == "d5ae0cf3"


def volumes() -> dict[str, Volume]:
    array = np.random.default_rng(0).random((6, 6, 6)).astype(np.float32)
    mask = Volume((array > 0.9).astype(np.uint8), AFFINE, "label")
    return {"t1": Volume(array, AFFINE), "mask": mask}


def test_a_mask_takes_geometric_steps_only():
    steps = [Plugin(name="equalise"), Plugin(name="zscore"), Plugin(name="reorient", options={"axes": "SPL"})]
    given = volumes()
    result = apply_recipe(given, steps)
    assert result["mask"].array.dtype == np.uint8
    assert result["mask"].array.sum() == given["mask"].array.sum()
    assert result["mask"].orientation == result["t1"].orientation == "SPL"
    assert given["t1"].orientation == "LAS"


def test_an_exam_without_the_mask_that_a_step_needs_is_refused():
    with pytest.raises(ScanError, match="needs the role 'mask', which this exam lacks"):
        apply_recipe({"t1": volumes()["t1"]}, RECIPE)


def test_every_role_is_cropped_to_the_mask_as_it_was_before_the_step():
    reversed_order = dict(reversed(volumes().items()))
    step = [Plugin(name="crop_to_mask", options={"mask": "mask", "margin_voxels": 0})]
    a, b = apply_recipe(volumes(), step), apply_recipe(reversed_order, step)
    for role in ("t1", "mask"):
        np.testing.assert_array_equal(a[role].array, b[role].array)
    assert a["t1"].shape == a["mask"].shape


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"name": "resampel"}, "step 'resampel' is not known.*Did you mean 'resample'"),
        ({"name": "resample", "options": {"spacing": [1, 1, 1]}}, "resample: option 'spacing'.*'spacing_mm'"),
        ({"name": "resample", "options": {"volume": 1}}, "option 'volume' is not known"),
        ({"name": "crop_or_pad"}, "crop_or_pad needs the option 'shape'"),
        ({"name": "crop_to_mask"}, "crop_to_mask needs the option 'mask'"),
        ({"name": "crop_to_mask", "options": {"mask": "maks"}}, "crop_to_mask: role 'maks'.*Did you mean 'mask'"),
        ({"name": "zscore", "options": {"nonzeros": True}}, "Did you mean 'nonzero'"),
        ({"name": "resample", "options": {"axes": "LAS"}}, "axes 'LAS' is not known; valid: acquisition, voxel, world"),
        ({"name": "resize", "options": {"shape": [224]}}, "shape takes three whole numbers .*or null .*got .224"),
        ({"name": "crop_or_pad", "options": {"shape": [64, 64, None]}}, "shape takes three whole numbers"),
        ({"name": "resample", "options": {"spacing_mm": 1}}, "spacing_mm takes three lengths in mm above 0; got 1"),
        ({"name": "remove_background", "options": {"keep": "larges"}}, "keep 'larges'.*Did you mean 'large"),
    ],
)
def test_a_recipe_with_a_mistake_is_refused_before_any_work(step, words):
    with pytest.raises(StudyError, match=words):
        check_recipe([Plugin(name="equalise"), Plugin.model_validate(step)], ROLES)


def test_a_good_recipe_passes():
    check_recipe(RECIPE, ROLES)
    check_recipe([Plugin(name="remove_background"), CROPPED], ROLES)
    check_recipe([Plugin(name="remove_background", options={"crop": True})], {"t1": ROLES["t1"]})


CROPPED = Plugin(name="remove_background", options={"crop": True, "reference": "t1"})


@pytest.mark.parametrize("step", [Plugin(name="body_crop"), Plugin(name="remove_background", options={"crop": True})])
def test_with_several_roles_a_step_that_finds_a_box_must_be_told_in_which(step):
    with pytest.raises(StudyError, match="such as reference: t1"):
        check_recipe([step], ROLES)
    with pytest.raises(ScanError, match="needs the option reference"):
        apply_recipe(volumes(), [step])
    with pytest.raises(StudyError, match="role 't2' is not known"):
        check_recipe([step.model_copy(update={"options": {**step.options, "reference": "t2"}})], ROLES)


def test_every_role_takes_the_references_box_and_a_mask_keeps_its_voxels():
    array = np.random.default_rng(0).random((12, 11, 10)).astype(np.float32)
    t1, mask = array.copy(), (array > 0.8).astype(np.uint8)
    t1[3:9, 2:8, 4:7] += 5
    given = {"t1": Volume(t1, AFFINE), "flair": Volume(array, AFFINE), "mask": Volume(mask, AFFINE, "label")}
    for order in (["t1", "flair", "mask"], ["mask", "flair", "t1"]):
        result = apply_recipe({r: given[r] for r in order}, [CROPPED])
        for role, volume in result.items():
            np.testing.assert_array_equal(volume.array, given[role].array[3:9, 2:8, 4:7])
            np.testing.assert_allclose(volume.affine @ [0, 0, 0, 1], AFFINE @ [3, 2, 4, 1])
