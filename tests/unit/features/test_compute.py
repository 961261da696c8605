"""Features of a cohort: names of an exam that lacks a role."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from lesion_exams import ball, exam

from scan2gene.core.study_cohort import Role
from scan2gene.core.study_features import Features
from scan2gene.features.compute import Wanted, numbers_of


@pytest.mark.parametrize("kind", ["lesion", "subregions"])
def test_an_exam_without_a_role_has_the_same_names(kind):
    roles = {name: Role(match={"sequence": name}) for name in ("flair", "t1", "t1c")}
    roles["tumour"] = Role(match={"sequence": "mask"}, kind="label")
    want = Wanted("a", Features(name=kind), roles)
    whole = exam(ball((66.0, 47.0, 46.0), 14))
    less = replace(whole, images={role: v for role, v in whole.images.items() if role != "flair"})
    found, complete = numbers_of(want, less), numbers_of(want, whole)
    assert list(found) == list(complete)
    assert all(np.isnan(found[name]) for name in found if "flair" in name)
