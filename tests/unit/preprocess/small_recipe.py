"""Roles and a recipe for small volumes, applied alone or to a store."""

from __future__ import annotations

import numpy as np

from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role

ROLES = {
    "t1": Role(match={"path": "t1"}),
    "flair": Role(match={"path": "flair"}, optional=True),
    "mask": Role(match={"path": "mask"}, kind="label"),
}
RECIPE = [
    Plugin(name="min_max_uint8"),
    Plugin(name="crop_to_mask", options={"mask": "mask", "margin_voxels": 1}),
    Plugin(name="resize", options={"shape": [8, 8, 6]}),
]
AFFINE = np.diag([-1.0, 1.0, 2.0, 1.0])
