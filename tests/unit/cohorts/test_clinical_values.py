"""Ages and sexes of new patients, from headers and from tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.cohorts.clinical_values import of_headers, of_table
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Cohort


def headers(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["patient_id", "PatientAge", "PatientSex"])


def test_headers_give_years_and_sexes_under_the_names_of_the_study_s_columns():
    series = headers(("A", "054Y", "F"), ("B", "018M", "M"), ("C", "026W", "f "), ("D", "0100D", "O"), ("E", "", ""))
    found = of_headers(series, ["Age at MRI", "gender", "volume"])
    assert list(found) == ["Age at MRI", "gender"]
    assert found["Age at MRI"].round(2).tolist()[:4] == [54, 1.5, 0.5, 0.27] and np.isnan(found.loc["E", "Age at MRI"])
    assert found["gender"].tolist()[:3] == [0, 1, 0] and found["gender"].isna().tolist()[3:] == [True, True]


def test_the_first_series_with_an_age_counts_and_nonsense_is_not_known():
    series = headers(("A", None, None), ("A", "061Y", "M"), ("B", "old", "male?"), ("B", "Y", ""))
    found = of_headers(series, ["age", "sex"])
    assert found.loc["A"].tolist() == [61, 1] and found.loc["B"].isna().all()
    assert of_headers(series.drop(columns=["PatientAge", "PatientSex"]), ["age", "sex"]).shape == (2, 0)


def rules(**keys) -> Cohort:
    return Cohort(labels="nowhere.csv", **keys)


def test_a_table_gives_the_columns_that_it_has(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("patient_id,age,sex\nP1,54,F\nP2,61Y,male\nP3,,M\nP2,61Y,male\n")
    found = of_table(rules(), ["age", "sex", "volume"], path)
    assert found["age"].tolist()[:2] == [54, 61] and np.isnan(found.loc["P3", "age"])
    assert found["sex"].tolist() == [0, 1, 1] and list(found) == ["age", "sex"]


def test_ids_and_decimals_are_read_as_the_study_reads_them(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("case;age\nP1_1;54,5\nP2_1;61,25\n")
    found = of_table(rules(patient_column="case", label_id_pattern=r"(.+)_\d+"), ["age"], path)
    assert found["age"].to_dict() == {"P1": 54.5, "P2": 61.25}


def test_a_table_that_cannot_serve_is_refused_in_one_line(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id,age\nP1,54\n")
    with pytest.raises(CohortError, match="patient_column 'patient_id'"):
        of_table(rules(), ["age"], path)
    path.write_text("patient_id,age\nP1,young\nP2,60\n")
    with pytest.raises(CohortError, match="'young'") as stop:
        of_table(rules(), ["age"], path)
    assert "\n" not in str(stop.value)
    with pytest.raises(CohortError, match="there is no label table"):
        of_table(rules(), ["age"], tmp_path / "gone.csv")
