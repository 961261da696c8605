"""The page and results.json of a comparison: what the figures say, and nothing that names a patient."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from scan2gene.cli import app
from scan2gene.core.errors import RunError
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.evaluate.compare import FURTHER, Judged, Pair
from scan2gene.report.compare import against_chance, page, results, told, write_comparison
from scan2gene.stats.intervals import Estimate

EVIL = "<script>alert(1)</script>"


def _judged(file: str, value: float | None, p: float | None, low=None, high=None, **more) -> Judged:
    base = {"target": "IDH", "n": 60, "n_units": 60, "n_positive": 30, "delong": None, "notes": (), "p_holm": p,
            "further": {name: Estimate(None, reason="why not") for name in FURTHER}}  # fmt: skip
    return Judged(file=file, auroc=Estimate(value, low, high, "why not"), p_chance=p, **base | more)


def _pair(a: str, b: str, value: float | None, p: float | None, target: str = "IDH") -> Pair:
    return Pair(a, b, target, 40, Estimate(value, reason="no patient in common"), p, p, None, ("40 of 60.",))


def _csv(path, signal: float, seed: int, target: str = "IDH") -> str:
    rng = np.random.default_rng(seed)
    y = np.arange(100) % 2
    prob = stats.norm.cdf(rng.normal(signal * y))
    ids = [f"SECRET{i:03d}" for i in range(100)]
    pd.DataFrame({"patient_id": ids, "target": target, "y_true": y, "prob": prob}).to_csv(path, index=False)
    return str(path)


def _run_table(path) -> str:
    """A prediction table of ours: two runs, training rows, an ensemble, and one exam that failed."""
    rng, rows = np.random.default_rng(0), []
    for run, part, variant, n in (("one", "test", "original", 40), ("two", "test", "original", 40),
                                  ("one", "train", "original", 40), ("one", "test", "ensemble", 40)):  # fmt: skip
        for i in range(n):
            failed = run == "two" and i == 3
            values = dict.fromkeys(PREDICTION_COLUMNS, "") | {
                "run_id": run, "split": "cv", "repeat": 0, "fold": i % 2, "part": part, "variant": variant,
                "patient_id": f"P{i}", "exam_id": f"E{i}", "target": "IDH", "y_true": float(i // 2 % 2),
                "prob": np.nan if failed else rng.random(), "status": "failed" if failed else "ok",
            }  # fmt: skip
            rows.append(values)
    pd.DataFrame(rows).to_parquet(path)
    return str(path)


def _invoked(*words: str):
    done = CliRunner().invoke(app, ["compare", *words], catch_exceptions=True)
    if isinstance(done.exception, Exception):
        raise done.exception
    return done


class _Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.open, self.tags = [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in ("meta", "line", "circle", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle", "rect"):
            assert self.open.pop() == tag


@pytest.mark.parametrize(
    ("estimate", "p", "kind"),
    [
        (Estimate(0.8, 0.6, 0.9), 0.01, "better"),
        (Estimate(0.2, 0.1, 0.4), 0.01, "worse"),
        (Estimate(0.8, 0.6, 0.9), 0.05, "chance"),  # the interval alone would say better
        (Estimate(0.8, low=0.6), 0.01, "unknown"),  # half an interval is none
        (Estimate(0.8, reason="few"), 0.01, "unknown"),
        (Estimate(None, reason="few"), None, "unknown"),
    ],
)
def test_the_corrected_p_value_decides_the_words(estimate, p, kind):
    found, words = against_chance(estimate, p)
    assert found == kind
    assert ("cannot be estimated, because" in words) == (kind == "unknown")
    assert ("because few" in words) == bool(estimate.reason)
    assert sum(w in words for w in ("better", "below", "distinguishable")) == (kind != "unknown")


@pytest.mark.parametrize(("n", "positive", "warned"), [(80, 9, True), (80, 71, True), (80, 10, False), (80, 70, False)])
def test_few_patients_in_the_rarer_class_are_pointed_out(n, positive, warned):
    (line,) = told([_judged("net", 0.7, 0.01, 0.6, 0.8, n=n, n_units=n, n_positive=positive)], [])
    assert line.startswith(f"IDH: net is better than chance; AUROC 0.700 (0.600–0.800), {n} test patients, {positive} ")
    assert ("9 patients in the rarer class: a rough guide" in page([_judged(
        "net", 0.7, 0.01, 0.6, 0.8, n=n, n_units=n, n_positive=positive)], [])) == warned  # fmt: skip


def test_an_interval_below_chance_is_explained():
    def notes(value: float, low: float, high: float) -> str:
        return page([_judged("net", value, 0.01, low, high)], [])

    assert "by luck" in notes(0.4, 0.3, 0.49) and "positive and negative are swapped" in notes(0.4, 0.3, 0.49)
    assert "by luck" not in notes(0.5, 0.4, 0.6)


def test_a_value_without_interval_is_shown_as_such():
    (line,) = told([_judged("net", 1.0, 0.01)], [])
    assert (
        line
        == "IDH: net cannot be estimated, because why not; AUROC 1.000 (no interval), 60 test patients, 30 positive"
    )
    (line,) = told([_judged("net", None, None)], [])
    assert line == "IDH: net cannot be estimated, because why not"


def test_from_csv_to_results_and_page(tmp_path):
    files = [
        _csv(tmp_path / "good.csv", 1.5, 1),
        _csv(tmp_path / "none.csv", 0, 2),
        _csv(tmp_path / "tp.csv", 0, 3, "TP"),
    ]
    done = _invoked(*files, "-o", str(tmp_path / "out"))
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [(r["file"], r["target"], r["n"]) for r in found["runs"]] == [
        ("good.csv", "IDH", 100), ("none.csv", "IDH", 100), ("tp.csv", "TP", 100)]  # fmt: skip
    first, second, _ = found["runs"]
    assert first["auroc_low"] > 0.7
    assert first["p_chance"] == 1e-4
    assert [first["verdict"], second["verdict"]] == ["is better than chance", "is not distinguishable from chance"]
    assert first["delong_low"] == pytest.approx(first["auroc_low"], abs=0.03)
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"], pair["target"], pair["verdict"]) == (
        "good.csv",
        "none.csv",
        "IDH",
        "good.csv is better",
    )
    assert 0 < pair["low"] < pair["difference"] < pair["high"]
    html = (tmp_path / "out" / "report.html").read_text()
    for text in (html, done.stdout, json.dumps(found)):
        assert "SECRET" not in text
    assert f"{first['auroc']:.3f} (" in html
    assert "Better than chance: 1 of 3." in html
    assert "good.csv is better than chance" in done.stdout


def test_a_run_is_read_as_it_is(tmp_path):
    (tmp_path / "run").mkdir()
    _run_table(tmp_path / "run" / "predictions.parquet")
    _invoked(str(tmp_path / "run"), "-o", str(tmp_path / "out"))
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["runs"]
    assert [(r["file"], r["n"]) for r in runs] == [("predictions.parquet#one", 40), ("predictions.parquet#two", 39)]
    assert "1 without a score" in runs[1]["notes"][0]


def test_the_page_is_whole_loads_nothing_and_shows_names_as_text():
    runs = [
        _judged(EVIL, 0.9, 0.001, 0.8, 0.95, n_positive=5),
        _judged("b", None, None),
        _judged("c", 0.6, 0.3, 0.51, 0.7),
    ]
    html = page(runs, [_pair(EVIL, "b", None, None), _pair(EVIL, "c", 0.3, 0.01)])
    tags = _Page(html).tags
    assert not {"script", "img", "link", "iframe"} & set(tags)
    assert not re.findall(r"(?:src|href)=|url\(|@import|https?:", html)
    assert EVIL not in html
    assert "&lt;script&gt;" in html
    assert "None" not in html
    assert "nan" not in html
    assert "cannot be estimated, because why not" in html
    assert "cannot be estimated, because no patient in common" in html
    assert "Only 5 patients in the rarer class" in html
    assert "Its own interval misses 0.5; that is not enough, with 3 tested." in html


def test_of_five_in_a_class_nothing_is_said_as_in_a_study():
    (found,) = results([_judged("a", 0.99, 0.0001, 0.95, 1.0, n_positive=5)], [])["runs"]
    assert found["verdict"].startswith("cannot be estimated, because 5 of 60 are positive, and below 6 a single one")
    assert found["auroc"] == 0.99


def test_the_page_of_one_run_speaks_of_no_correction_and_no_pairs():
    html = page([_judged("only.csv", 0.9, 0.001, 0.8, 0.95)], [])
    assert "P = 0.001" in html and "corrected P" not in html
    assert 'id="pairs"' not in html
    assert "Better than chance: 1 of 1." in html


def test_pairs_are_told_by_who_is_better():
    runs = [_judged(n, 0.6, 0.3, 0.4, 0.7) for n in "ab"]
    for value, p, words in (
        (0.2, 0.01, "a is better"),
        (-0.2, 0.01, "b is better"),
        (0.2, 0.06, "no difference is shown"),
    ):
        assert results(runs, [_pair("a", "b", value, p)])["pairs"][0]["verdict"] == words


def test_the_report_of_a_study_is_not_overwritten(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RunError, match="Name another folder"):
        write_comparison(tmp_path, [_judged("a", 0.6, 0.3, 0.4, 0.7)], [])
    assert not (tmp_path / "report.html").exists()
