"""What a new user types first: a recipe that does not exist, a look at what the package offers."""

from __future__ import annotations

import pytest

import scan2gene
from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.recipes import recipe_text


@pytest.mark.parametrize("task", ["segmentation", "detection", "survival"])
def test_a_task_that_is_no_recipe_is_answered_as_such(task):
    with pytest.raises(StudyError) as caught:
        recipe_text(task)
    assert "Did you mean" not in str(caught.value)
    assert "segmentation" in str(caught.value).partition("All of them")[2]
    assert "--scans" in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "meant"), [("gbm", "gbm-mutations"), ("brca", "breast-brca"), ("clasify3d", "classify-3d")]
)
def test_a_part_or_a_misspelling_of_a_recipe_is_recognised(typed, meant):
    with pytest.raises(StudyError, match=f"Did you mean '{meant}'"):
        recipe_text(typed)
    assert "Did you mean" not in unknown_name("", ["a", "b"])


def test_the_package_lists_what_it_offers():
    assert set(scan2gene.__all__) <= set(dir(scan2gene))
