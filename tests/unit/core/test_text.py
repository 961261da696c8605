"""Numbers, intervals, P values, lists and sizes as text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scan2gene.core import text

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@dataclass(frozen=True)
class Found:
    value: float | None
    low: float | None = None
    high: float | None = None


@given(NUMBERS, NUMBERS, NUMBERS)
def test_no_number_is_nan_infinite_or_minus_zero(value, low, high):
    found = Found(value, low, high)
    shown = [text.number_text(value), text.signed_text(value), text.interval_text(low, high), text.estimate_text(found)]
    shown += [text.difference_text(found), text.p_number(value), text.p_text(value), text.percent(value)]
    for words in shown:
        assert not any(bad in words.lower() for bad in ("nan", "inf", "-0.000 ", "+0.000"))
        assert "-0.000" not in words.split("–")[0].split()


@pytest.mark.parametrize(
    ("value", "plain", "with_sign"),
    [
        (0.7124, "0.712", "+0.712"),
        (-0.7124, "-0.712", "-0.712"),
        (-1e-9, "0.000", "0.000"),
        (np.float32(0.5), "0.500", "+0.500"),
        (None, "not estimated", "not estimated"),
        (math.nan, "not estimated", "not estimated"),
    ],
)
def test_numbers_have_three_decimals(value, plain, with_sign):
    assert (text.number_text(value), text.signed_text(value)) == (plain, with_sign)


@pytest.mark.parametrize(
    ("found", "estimate", "difference"),
    [
        (Found(0.7, 0.6, 0.8), "0.700 (0.600–0.800)", "+0.700 (+0.600 to +0.800)"),
        (Found(-0.7, -0.8, 0.1), "-0.700 (-0.800 to 0.100)", "-0.700 (-0.800 to +0.100)"),
        (Found(0.7, 0.6), "0.700 (no interval)", "+0.700 (no interval)"),
        (Found(None, 0.6, 0.8), "not estimated", "not estimated"),
        (None, "not estimated", "not estimated"),
    ],
)
def test_a_figure_stands_with_its_interval(found, estimate, difference):
    assert (text.estimate_text(found), text.difference_text(found)) == (estimate, difference)


@given(st.floats(0, 1))
def test_a_p_value_is_never_zero_and_shows_on_which_side_of_the_level_it_lies(p):
    shown = text.p_number(p)
    assert shown == "< 0.001" if p < 0.001 else abs(float(shown) - p) <= 0.0005 and (float(shown) < 0.05) == (p < 0.05)
    assert text.p_text(p) == ("P < 0.001" if p < 0.001 else f"P = {shown}")


def test_p_values_in_words():
    assert [text.p_number(p) for p in (0.012, 0.0498, 0.0502, 1.0)] == ["0.012", "0.0498", "0.050", "1.000"]
    assert text.p_text(None) == "P not estimated"


def test_percentages():
    assert [text.percent(s) for s in (0.712, 1.02, -0.1, None)] == ["71 %", "100 %", "0 %", "not estimated"]
    assert text.percent(0.125, exact=True) == "12.5 %"


@pytest.mark.parametrize(("n", "words"), [(0, "0 exams"), (1, "1 exam"), (2, "2 exams"), (1200, "1,200 exams")])
def test_a_count_has_its_plural(n, words):
    assert text.counted(n, "exam") == words
    assert text.counted(n, "study", "studies").endswith("study" if n == 1 else "studies")


@pytest.mark.parametrize(
    ("n", "whole", "short", "apart"),
    [(0, "", "", ""), (1, "a", "a", "a"), (2, "a and b", "a and b", "a; b"), (3, "a, b and c", "a, b and 1 more",
     "a; b; and 1 more set"), (100, None, "a, b and 98 more", "a; b; and 98 more sets")],
)  # fmt: skip
def test_lists(n, whole, short, apart):
    names = [chr(ord("a") + k) for k in range(n)]
    assert whole is None or text.listed(names) == whole
    assert text.listed(names, most=2) == short
    assert text.clauses(names, most=2, noun="set") == apart
    assert text.clauses(iter(names)) == "; ".join(names)
    assert len(text.listed(names).replace(" and ", ", ").split(", ")) == max(n, 1)


def test_other_lists():
    assert text.listed([1, 2, 3], "or") == "1, 2 or 3"
    assert text.sentences(["it is so", "ÄB is not"]) == "It is so. ÄB is not" and text.sentences([]) == ""
    assert text.capitalised("") == "" and text.capitalised("aUROC of x") == "AUROC of x"


def test_ranges_and_quartiles():
    assert [text.count_range(c) for c in ([], [3], [5, 5], (n for n in (1200, 7)))] == ["", "3", "5", "7–1,200"]
    assert text.quartiles([1, 2, 3, 4, 5]) == "3 (2–4)" and text.quartiles([]) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "less than 0.1 s"),
        (9.9, "9.9 s"),
        (9.97, "10 s"),
        (89, "89 s"),
        (90, "2 min"),
        (5300, "88 min"),
        (5400, "1.5 h"),
    ],
)
def test_durations(seconds, words):
    assert text.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (1, "1 byte"), (812, "0.8 kB"), (409_600, "0.4 MB"), (949e6, "949.0 MB"), (1.234e9, "1.2 GB")],
)
def test_sizes_of_files(count, words):
    assert text.file_size(count) == words


def test_sizes_of_arrays_and_networks():
    assert text.dimensions((0.9375, 1, 5.0)) == "0.9375 x 1 x 5" and text.dimensions((12345, 2)) == "12345 x 2"
    assert text.dimensions((2, 2.5), times=" × ") == "2 × 2.5"
    assert [text.magnitude(n) for n in (12, 999, 7_700, 999_960, 46_200_000)] == ["12", "999", "7.7 k", "1 M", "46.2 M"]


@given(st.text())
def test_a_slug_holds_plain_characters_only(name):
    assert set(text.slug(name)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
    assert text.slug("P_01/x ü") == "P-01-x-" and text.slug("a_b", allowed="_") == "a_b"
