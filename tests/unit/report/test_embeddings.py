"""Embedding maps on the page: what a point is, without a script and without an id."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from fake_run import PATIENTS, write_run

from scan2gene.core.tables import read_csv, write_csv
from scan2gene.evaluate.embedding_map import agreement_table, embedding_map
from scan2gene.report.page import make_report


def test_every_colouring_is_a_figure_that_a_choice_shows(tmp_path):
    study, out, stores = write_run(tmp_path)
    rng = np.random.default_rng(0)
    cohort, series, labels = (read_csv(out / f"{n}.csv") for n in ("cohort", "series", "labels"))
    split = read_csv(out / "split.csv").query("split == 'cv' and fold == 0")
    rows = split.merge(cohort[["patient_id", "exam_id"]]).assign(run_id="net")
    rows["embedding"] = list(rng.normal(size=(len(rows), 6)).astype(np.float32))
    write_csv(out / "embedding_map.csv", embedding_map(rows, cohort, series, 0))
    write_csv(out / "embedding_agreement.csv", agreement_table(rows, cohort, labels, series))
    report = make_report(study, out, stores)
    section = report.html.partition('<section id="embeddings"')[2].partition("</section>")[0]
    figures = re.findall(r'class="chosen.*?</figure>', section, re.S)
    assert len(figures) == section.count('type="radio"') >= 3  # labels, site, errors
    tested = int((rows["part"] == "test").sum())
    points = [re.findall(r'<circle [^>]*r="3.6"[^>]*>', figure) for figure in figures]
    assert {len(p) for p in points} == {len(rows)}
    assert sum('fill="#fff"' not in p for p in points[0]) == tested
    for name, figure in zip(re.findall(r'<label for="map1-\d+">(.*?)</label>', section), figures, strict=True):
        assert f"by {name}" in figure
    told = pd.Series(re.findall(r"<title>(positive|negative), ", figures[0])).value_counts()
    known = labels[labels["target"] == "idh"].set_index("patient_id")["value"].reindex(rows["patient_id"])
    assert told.to_dict() == {"positive": int((known == 1).sum()), "negative": int((known == 0).sum())}
    assert not any(p in section for p in PATIENTS)
    assert "<script" not in report.html
    assert report.tables["embedding-neighbours"].csv["what"].tolist() == ["label idh", "site", "scanner"]
