"""The rules that turn figures into sentences."""

from __future__ import annotations

import pytest

from scan2gene.report.verdict import (
    Baseline,
    Scored,
    against_baseline,
    against_chance,
    best_baseline,
    interval,
    multiplicity,
    sentence,
    summary,
)
from scan2gene.stats.intervals import Estimate

AGE = Baseline("age", ("age",), 0.60)


@pytest.mark.parametrize(
    ("low", "high", "kind", "words"),
    [
        (0.51, 0.70, "better", "better than chance"),
        (0.30, 0.49, "worse", "lies below chance"),
        (0.40, 0.60, "chance", "not distinguishable from chance"),
        (0.50, 0.70, "chance", "not distinguishable from chance"),  # touching 0.5 is not above it
        (0.30, 0.50, "chance", "not distinguishable from chance"),
        (0.5000001, 0.70, "better", "better than chance"),
    ],
)
def test_the_interval_decides(low, high, kind, words):
    found, text = against_chance(Estimate((low + high) / 2, low, high))
    assert found == kind
    assert words in text
    assert sum(w in text for w in ("better", "below", "distinguishable")) == 1


def test_without_interval_the_reason_is_given_and_no_verdict():
    kind, text = against_chance(Estimate(0.99, reason="every draw gives the same value"))
    assert kind == "unknown"
    assert text == "cannot be estimated, because every draw gives the same value"


def test_half_an_interval_is_none():
    assert against_chance(Estimate(0.9, low=0.8))[0] == "unknown"


@pytest.mark.parametrize("low", [0.40, 0.55, 0.60])
def test_an_interval_that_reaches_the_baseline_shows_no_more_than_it(low):
    text = against_baseline(Estimate(0.7, low, 0.8), AGE)
    assert "does not show more than age alone" in text
    assert "0.600, the AUROC of run age" in text
    assert "by overlap, not a test" in text


def test_an_interval_above_the_baseline_is_said_to_be_above():
    text = against_baseline(Estimate(0.7, 0.601, 0.8), AGE)
    assert "lies above" in text
    assert "does not show more" not in text
    assert "not a test" in text


def test_beating_a_baseline_below_chance_is_no_merit_for_a_network_at_chance():
    text = against_baseline(Estimate(0.5, 0.4, 0.6), Baseline("age", ("age",), 0.3))
    assert "Nothing follows" in text
    assert "lies above" not in text


def test_no_comparison_without_baseline_or_interval():
    assert against_baseline(Estimate(0.7, 0.6, 0.8), None) == ""
    assert against_baseline(Estimate(0.7, reason="few"), AGE) == ""


def test_several_columns_are_listed():
    text = against_baseline(Estimate(0.5, 0.4, 0.6), Baseline("clin", ("age", "sex", "dose"), 0.55))
    assert "more than age, sex and dose alone" in text


def test_the_best_baseline_is_the_highest_with_a_value():
    def scored(value):
        return Scored(Estimate(value), 10, 5)

    found = best_baseline(
        [("a", ["age"], scored(0.4)), ("b", ["sex"], scored(0.7)), ("c", ["x"], scored(None)), ("d", ["y"], None)]
    )
    assert found == Baseline("b", ("sex",), 0.7, 10)
    assert best_baseline([("c", ["x"], scored(None))]) is None


def test_a_sentence_carries_figures_and_numbers_of_patients():
    said = sentence("net", Scored(Estimate(0.7, 0.55, 0.8), 80, 30), AGE)
    assert (said.kind, said.verdict) == ("better", "is better than chance")
    assert said.figures == "AUROC 0.700 (95 % interval 0.550–0.800), 80 test patients, 30 positive"
    assert "does not show more than age alone" in said.comparison
    assert said.caution == ""


@pytest.mark.parametrize(("n", "positive", "warned"), [(80, 9, True), (80, 71, True), (80, 10, False), (80, 70, False)])
def test_few_patients_in_the_rarer_class_are_pointed_out(n, positive, warned):
    assert bool(sentence("net", Scored(Estimate(0.7, 0.6, 0.8), n, positive)).caution) == warned


def test_a_sentence_without_a_value_has_no_number():
    said = sentence("net", Scored(Estimate(None, reason="0 positive among 12 labelled test patients"), 12, 0), AGE)
    assert said.verdict == "cannot be estimated, because 0 positive among 12 labelled test patients"
    assert said.figures == said.comparison == said.caution == ""


def test_patients_that_no_pair_holds_are_pointed_out():
    said = sentence("net", Scored(Estimate(0.7, 0.6, 0.8), 40, 20), unpaired=10)
    assert said.caution == "10 of these were tested in folds with one class only and do not count in the AUROC."


def test_a_value_without_interval_is_shown_as_such():
    said = sentence("net", Scored(Estimate(1.0, reason="too few cases for an interval"), 12, 6))
    assert said.kind == "unknown"
    assert said.figures.startswith("AUROC 1.000 (no interval)")


def test_a_run_without_test_patients():
    assert sentence("net", None).verdict == "cannot be estimated, because it has no test patients"


def test_comparisons_are_counted_and_called_unadjusted():
    assert multiplicity(["unknown"], 0) == "No comparison with chance could be made."
    assert multiplicity(["better", "unknown"], 0) == "1 comparison with chance was made, unadjusted."
    many = multiplicity(["chance"] * 40 + ["unknown"] * 5, 20)
    assert "40 comparisons with chance and 20 with a clinical baseline were made, unadjusted" in many
    assert "about 2.0 of 40" in many


@pytest.mark.parametrize("crossed", [True, False])
def test_an_interval_below_chance_is_explained(crossed):
    said = sentence("net", Scored(Estimate(0.4, 0.3, 0.49), 80, 30), crossed=crossed)
    assert said.kind == "worse"
    assert ("cross-validated" in said.caution) == crossed
    assert "by luck" in said.caution and "positive and negative are swapped" in said.caution
    assert sentence("net", Scored(Estimate(0.5, 0.4, 0.6), 80, 30), crossed=crossed).caution == ""


def test_a_summary_counts_networks_and_names_the_exceptions():
    figures = {"a": (0.62, 0.45, 0.78), "b": (0.75, 0.61, 0.85), "c": (0.3, 0.2, 0.4), "d": (0.9, 0.85, 0.95)}
    baseline = Baseline("age", ("age",), 0.70)
    networks = [
        sentence(run, Scored(Estimate(v, low, high), 76, 30), baseline) for run, (v, low, high) in figures.items()
    ]
    text = summary(networks, baseline)
    assert text == (
        "Networks whose own interval, uncorrected, lies above 0.5: 2 of 4 (b and d). "
        "Above age alone (0.700): 1 of 4 (d). Below chance: c."
    )
    assert summary(networks[:1], None) == "Networks whose own interval, uncorrected, lies above 0.5: none of 1."


def test_beating_a_baseline_below_chance_is_no_merit():
    weak = Baseline("age", ("age",), 0.3)
    said = sentence("net", Scored(Estimate(0.55, 0.4, 0.7), 76, 30), weak)
    assert not said.beats_baseline


def test_a_minus_sign_is_never_beside_a_dash():
    assert (interval(0.1, 0.25), interval(-0.5, 0.1)) == ("0.100–0.250", "-0.500 to 0.100")
    assert interval(-0.892, -0.125) == "-0.892 to -0.125"
