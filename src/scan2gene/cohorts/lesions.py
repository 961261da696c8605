"""Lesions that are large enough, measured in their masks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scan2gene.cohorts.flow import Flow
from scan2gene.core.console import track
from scan2gene.core.errors import CohortError, GeometryError, ScanError
from scan2gene.core.study_cohort import MinLesion
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume


def lesion_mm3(mask: Volume) -> float:
    """Volume in mm3 of all voxels of a mask that are not 0."""
    return float(np.count_nonzero(mask.array) * abs(np.linalg.det(mask.affine[:3, :3])))


def large_enough(
    exams: pd.DataFrame, paths: Mapping[str, str], rule: MinLesion | None, flow: Flow, threshold: float | None = None
) -> pd.DataFrame:
    """Keep exams whose lesion has at least `rule.volume_mm3`.

    Args:
        exams: With `role:<rule.role>` holding series_id.
        paths: series_id -> path for `read_volume`.
        rule: None keeps all.
        flow: Gets what is left out: small lesions, masks that cannot be read, exams without a mask.
        threshold: Of the role, see `read_volume`.

    Raises:
        CohortError: Nothing is left.
    """
    if rule is None:
        return exams
    masks = list(exams[f"role:{rule.role}"])
    reasons = [_reason(paths.get(m), rule, threshold) for m in track(masks, "lesions", len(masks))]
    kept = flow.narrow(exams, pd.Series(reasons, index=exams.index, dtype=str), "lesions large enough", "exams")
    if kept.empty:
        raise CohortError(f"no lesion has {rule.volume_mm3:g} mm3; see cohort.min_lesion. First: {reasons[0]}.")
    return kept


def _reason(path: str | None, rule: MinLesion, threshold: float | None) -> str:
    if path is None:
        return f"no {rule.role}, so the size of the lesion is not known"
    try:
        size = lesion_mm3(read_volume(path, "label", threshold))
    except (ScanError, GeometryError, OSError) as error:
        return f"the {rule.role} cannot be measured: {error}"
    return "" if size >= rule.volume_mm3 else f"lesion of {size:.0f} mm3, less than {rule.volume_mm3:g}"
