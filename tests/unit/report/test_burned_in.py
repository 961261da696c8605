"""Exams whose pixels may show a name are counted once, by the worst of their series."""

from __future__ import annotations

import pandas as pd
from fake_run import write_run

from scan2gene.core.tables import read_csv, write_csv
from scan2gene.report.burned_in import burned_in
from scan2gene.report.page import write_report

SERIES = pd.DataFrame({"series_id": list("abcdef"), "burned_in": ["yes", "possible", "possible", None, None, "yes"]})


def test_an_exam_counts_once_by_its_worst_series():
    exams = {"exam_id": list("1234"), "role:t1": ["a", "b", "d", None], "role:t2": ["b", "c", None, "e"]}
    assert burned_in(pd.DataFrame(exams), SERIES) == {"yes": 1, "possible": 1}  # f plays no role


def test_no_flag_is_no_count():
    exams = pd.DataFrame({"role:t1": ["d", "e"]})
    assert burned_in(exams, SERIES) == {}
    assert burned_in(exams, SERIES[["series_id"]]) == {}


def test_the_report_says_how_many_and_what_to_do(tmp_path):
    study, out, stores = write_run(tmp_path)
    assert "may show a name" not in write_report(study, out, stores)
    series = read_csv(out / "series.csv")
    series["burned_in"] = ["yes"] * 2 + ["possible"] + [None] * (len(series) - 3)
    write_csv(out / "series.csv", series)
    html = write_report(study, out, stores)
    assert "3 exams may show a name in their pixels (2 yes, 1 possible)" in html
    assert "scan2gene qc" in html
