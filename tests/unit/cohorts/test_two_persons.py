"""One patient id, two persons: their scans are never one patient's in silence."""

from __future__ import annotations

import pytest
from toy import reasons, scan, whole

from scan2gene.core.errors import CohortError


def person(patient, **columns):
    return [scan(patient, d, **columns) | {"series_id": f"{patient}.{d}.{columns}", "exam_id": f"{patient}{columns}"}
            for d in ("T1 SE", "FLAIR")]  # fmt: skip


DIFFERENT = {
    "sex": ({"PatientSex": "M"}, {"PatientSex": "F"}),
    "birth date": ({"birth_date_number": "4"}, {"birth_date_number": "9"}),
}
ALIKE = {
    "one says nothing": ({"PatientSex": "M"}, {"PatientSex": ""}),
    "other spelling": ({"PatientSex": "M"}, {"PatientSex": "male"}),
    "other": ({"PatientSex": "F"}, {"PatientSex": "O"}),
    "one birth date": ({"birth_date_number": "4"}, {"birth_date_number": ""}),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_exams_of_two_persons_are_left_out_with_that_reason(go, what):
    first, second = DIFFERENT[what]
    found = go([*person("P1", **first), *person("P1", **second), *whole("P2", "P3", "P4")])
    assert "P1" not in set(found.cohort["patient_id"])
    told = [why for why in reasons(found).values() if "two persons" in why]
    assert len(told) == 4
    assert all(what in why.lower() for why in told)
    confirmed = go([*person("P1", **first), *person("P1", **second), *whole("P2", "P3", "P4")], same_person=["P1"])
    assert (confirmed.cohort["patient_id"] == "P1").sum() == 2


@pytest.mark.parametrize("what", ALIKE)
def test_what_is_not_known_is_no_difference(go, what):
    first, second = ALIKE[what]
    found = go([*person("P1", **first), *person("P1", **second), *whole("P2", "P3", "P4")])
    assert (found.cohort["patient_id"] == "P1").sum() == 2


def test_a_series_that_the_study_leaves_out_is_not_compared(go):
    rows = [*person("P1", PatientSex="M"), *person("P1", PatientSex="F"), *whole("P2", "P3", "P4")]
    found = go(rows, exclude={"PatientSex": "F"})
    assert (found.cohort["patient_id"] == "P1").sum() == 1


def test_two_hospitals_that_number_alike_are_stopped(go):
    rows = [r for p in ("P1", "P2", "P3") for sex in "MF" for r in person(p, PatientSex=sex)]
    with pytest.raises(CohortError, match="two persons") as error:
        go(rows)
    assert "P1, P2, P3" in str(error.value)
