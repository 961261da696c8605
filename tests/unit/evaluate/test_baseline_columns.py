"""Clinical columns: what regressions take and what readers see."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.evaluate.baselines import clinical_table, in_units


def test_a_lesions_volume_is_a_logarithm_to_regressions_and_millilitres_to_readers():
    cohort = pd.DataFrame({
        "patient_id": ["a", "b", "c"], "exam_id": ["a", "b", "c"], "role:t1": ["s1", "s2", "s3"],
        "clinical:age": [40.0, 50.0, 60.0],
    })  # fmt: skip
    series = pd.DataFrame({"series_id": ["s1", "s2", "s3"], "PatientSex": ["F", "M", "F"]})
    volume = pd.Series({"a": 1500.0, "b": 40_000.0})
    table = clinical_table(cohort, series, volume)
    assert list(table) == ["age", "sex", "lesion volume"]
    np.testing.assert_allclose(table["lesion volume"], np.log1p([1500, 40_000, np.nan]))
    shown = in_units(table)
    assert list(shown) == ["age", "sex", "lesion volume (ml)"]
    assert shown["lesion volume (ml)"].tolist() == pytest.approx([1.5, 40.0, np.nan], nan_ok=True)
    assert in_units(table[["age"]]).equals(table[["age"]])
