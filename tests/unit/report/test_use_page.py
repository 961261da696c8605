"""The section about probabilities: words that follow the figures, and nothing without a value or a reason."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.unit.report.fake_run import EVIL, write_run

from scan2gene.core.tables import write_csv
from scan2gene.evaluate.probabilities import probability_tables
from scan2gene.evaluate.stability import stability
from scan2gene.evaluate.verdict_words import slope_in_words
from scan2gene.report.page import make_report
from scan2gene.report.use import error_in_words, large_in_words, sets_in_words
from scan2gene.report.use_figures import abstention, decision_curve
from scan2gene.stats.decision import net_benefit
from scan2gene.stats.intervals import Estimate


def _written(folder) -> str:
    study, out, stores = write_run(folder)
    predictions, split = pd.read_parquet(out / "predictions.parquet"), pd.read_csv(out / "split.csv")
    cuts, results = (json.loads((out / f"{n}.json").read_text()) for n in ("thresholds", "results"))
    tables = probability_tables(predictions, cuts, {"idh": 0.02}, 200, 1)
    tables["evidence"] = stability(results, split, predictions, {}, {"net": True, "broken": False, "age": False},
                                  frozenset({"sites"}), 99, 1)  # fmt: skip
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    report = make_report(study, out, stores)
    start = report.html.index('<section id="use"')
    return report, report.html[start : report.html.index("</section>", start)]


def test_every_run_is_told_of_with_a_value_or_a_reason(tmp_path):
    report, section = _written(tmp_path)
    words = re.sub(r"<svg.*?</svg>", "", section, flags=re.S)
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", words, flags=re.I)
    assert EVIL not in section
    assert "PAT-" not in words
    assert words.count("<dt>Calibration</dt>") == 6  # three runs, two splits, one target that can be estimated
    assert words.count("0 positive among 3 labelled test patients; both classes are needed") == 4
    assert words.count("0 positive among 0 labelled test patients; both classes are needed") == 2
    assert "Where 2 % are positive" in words
    assert "this is nested cross-validation" in words
    assert "folds are sites" in words
    assert "every fold has fewer than 9 other patients" in words
    assert {"decision-cv-idh-net", "abstention-sites-idh-age"} <= set(report.figures)
    assert {"calibration", "calibration-figures", "decision", "conformal", "evidence"} <= set(report.tables)


def test_a_run_of_an_older_version_says_that_it_has_no_such_tables(tmp_path):
    report = make_report(*write_run(tmp_path))
    assert "wrote no tables about probabilities" in report.html


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.3, 0.2, 0.6), "too extreme (calibration slope 0.300"),
        ((1.8, 1.2, 2.4), "too timid"),
        ((0.9, 0.7, 1.1), "neither too"),
        ((-1.0, -2.0, -0.2), "the wrong way (calibration slope -1.000 (-2.000 to -0.200)"),
        ((0.1, -0.3, 0.5), "tell nothing at all"),
    ],
)
def test_a_slope_is_called_what_its_interval_shows(ends, words):
    assert words in slope_in_words(Estimate(*ends))


def test_other_figures_are_called_what_they_show():
    assert "cannot be estimated, because all probabilities" in slope_in_words(
        Estimate(None, reason="all probabilities are equal")
    )
    assert "more frequent" in large_in_words(Estimate(0.5, 0.1, 0.9))
    assert "less frequent" in large_in_words(Estimate(-0.5, -0.9, -0.1))
    assert "about as high" in large_in_words(Estimate(0.0, -0.2, 0.2))
    assert "more than luck" in error_in_words(Estimate(0.2), Estimate(0.05, 0.01, 0.1))
    assert "no more than luck" in error_in_words(Estimate(0.08), Estimate(0.05, 0.01, 0.1))
    names = ("coverage", "coverage_positive", "coverage_negative", "both_classes", "no_class")
    table = pd.DataFrame([{"figure": f, "value": 0.7, "low": 0.6, "high": 0.8, "reason": np.nan} for f in names])
    table = table.assign(confidence=0.9, n_fits_too_small=0)
    assert "hold it in 0.700 (0.600–0.800), less often than they should" in sets_in_words(table)
    assert "which agrees" in sets_in_words(table.assign(high=0.92))
    assert "more often than they need" in sets_in_words(table.assign(value=0.97, low=0.95, high=0.99))


def test_figures_lie_inside_their_frame_and_say_what_they_show():
    rng = np.random.default_rng(0)
    prob = rng.random(100)
    y = (rng.random(100) < prob).astype(float)
    curve = net_benefit(y, prob, np.ones((5, 100)))
    coverage, error = np.linspace(1, 0.1, 10), np.linspace(0.3, 0, 10)
    drawn = [
        decision_curve(curve, "Decision curve of x", "worth it"),
        abstention(coverage, error, error * np.nan, error * np.nan, "Wrong decisions of x", "told"),
    ]
    for svg in drawn:
        assert "nan" not in svg
        for points in re.findall(r'points="([^"]+)"', svg):
            x, y_ = np.array([p.split(",") for p in points.split()], float).T
            assert x.min() >= 52
            assert x.max() <= 302
            assert y_.min() >= 11.9
            assert y_.max() <= 182.1
    assert 'aria-label="Decision curve of x. worth it"' in drawn[0]
