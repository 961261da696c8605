"""Cells as numbers and as texts: decided from a whole column, compared to the last digit, never guessed."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy import whole

from scan2gene.cohorts.cells import canonical, decimal_mark, parse_number
from scan2gene.cohorts.labels import clinical_numbers, target_labels
from scan2gene.core.errors import CohortError
from scan2gene.core.study_cohort import Target

NBSP, NARROW = "\u00a0", "\u202f"


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["950", "1,200.5", "12,500"], [950, 1200.5, 12500]),
        (["1,234,567", "1,200"], [1234567, 1200]),
        (["1.5", "1,200"], [1.5, 1200]),
        (["0.123", "1.200", "2.5"], [0.123, 1.2, 2.5]),
        (["0.123", "1.200"], [0.123, 1.2]),  # no thousand begins with 0
        (["1.200,5", "12.500", "7"], [1200.5, 12500, 7]),
        (["3,5", "1.200"], [3.5, 1200]),
        (["3,5", "1,234"], [3.5, 1.234]),
        (["1'200", "12\u2019500.5", "7"], [1200, 12500.5, 7]),  # Swiss
        ([f"1{NBSP}200", f"12{NARROW}500,5", "1 200"], [1200, 12500.5, 1200]),  # SI and French
        (["1.2E+03", "-4e-2", "1,000"], [1200, -0.04, 1000]),
        (["1,2E+03", "1,000"], [1200, 1]),
        (["\u22123", "3"], [-3, 3]),
        (["3.5", "3,5", ""], [3.5, 3.5, np.nan]),  # each is clear by itself
    ],
)
def test_thousands_and_decimals_are_told_apart_by_the_whole_column(cells, numbers):
    np.testing.assert_array_equal(clinical_numbers(pd.Series(cells, name="psa")), numbers)


@pytest.mark.parametrize(
    "cells",
    [["950", "1,200", "88"], ["950", "1.200", "2.150"], ["1,200", "3.5", "3,5"], ["1,200", "1.200"]],
)
def test_a_column_that_can_be_read_in_two_ways_is_refused_until_the_study_says_how(cells):
    with pytest.raises(CohortError, match=r"psa.*(1,200|1\.200).*cohort\.decimal"):
        clinical_numbers(pd.Series(cells, name="psa"))


def test_the_study_settles_which_mark_stands_before_decimals(go):
    labels = 'patient_id,IDH,psa\nP1,1,"1,200"\nP2,0,950\n'
    with pytest.raises(CohortError, match=r"psa.*'1,200'"):
        go(whole("P1", "P2"), labels, clinical=["psa"])
    for mark, number in ((".", 1200), (",", 1.2)):
        found = go(whole("P1", "P2"), labels, clinical=["psa"], decimal=mark)
        assert found.cohort["clinical:psa"].tolist() == [number, 950]


def test_cells_of_rows_that_do_not_count_settle_it_too(go):
    labels = 'patient_id,IDH,psa\nP1,1,"1,200"\nP2,0,950\nP7,0,3.5\n'
    assert go(whole("P1", "P2"), labels, clinical=["psa"]).cohort["clinical:psa"].tolist() == [1200, 950]


@pytest.mark.parametrize(
    "cell", ["1_0", "1,20,0", "1.2.3", "12,34.5.6", "1e999", "0x10", "1''200", "1 20", "\u0663", "1,"]
)
def test_what_is_not_plainly_a_number_is_none(cell):
    assert parse_number(cell) is None
    assert decimal_mark([cell], "column x") is None


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1149756007", "1149757003"),
        ("1_0", "10"),
        ("007", "7"),
        ("12E5", "1200000"),
        ("9007199254740993", "9007199254740992"),
        ("0.1234567", "0.1234568"),
        ("infinity", "inf"),
        ("\u0661", "1"),  # an Arabic digit is no 1 of a code list
    ],
)
def test_different_codes_are_different(one, two):
    assert canonical(one) != canonical(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("1", "1.0"),
        (1, "1.00"),
        (1149756007, "1149756007.0"),
        (1e-7, "0.0000001"),
        ("1.2E+03", 1200),
        (-0.0, 0),
        ("Wild\u2013type", "wild-type"),
        (f"wild{NBSP}type ", "Wild type"),
        ("mutated\u200b", "MUTATED"),
        ("Ma\u0308nnlich", "m\u00e4nnlich"),
    ],
)
def test_spellings_of_one_value_are_equal(one, two):
    assert canonical(one) == canonical(two)


@given(st.integers(-(10**15), 10**15), st.integers(0, 6))
def test_canonical_numbers_agree_with_decimal(number, places):
    value = Decimal(number).scaleb(-places)
    assert Decimal(canonical(f"{value:f}")) == value
    assert canonical(f"{value:f}") == canonical(f"{value:f}" + ("000" if places else ".0"))


def test_a_long_code_that_is_not_listed_is_an_error_and_not_its_neighbour():
    codes = ["1149756007", "1149757003", "248152002"]
    table = pd.DataFrame({"id": ["P1", "P2", "P3"], "sex": codes}, index=[2, 3, 4])
    target = Target(column="sex", positive=[codes[0]], negative=[codes[2]])
    with pytest.raises(CohortError, match="'1149757003' in 1 row"):
        target_labels(table, "id", {"sex": target}, "labels.csv")


def test_zeros_in_front_make_another_class():
    table = pd.DataFrame({"id": ["P1", "P2"], "code": ["007", "7"]}, index=[2, 3])
    long = target_labels(table, "id", {"y": Target(column="code", positive=["007"], negative=["7"])}, "labels.csv")
    assert long["value"].tolist() == [1, 0]
