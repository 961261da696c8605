"""The main job on a cohort with a planted signal: found, reported, repeatable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import scan2gene
from scan2gene.phantom.patients import best_auroc
from tests.integration.road import phantom_study

EFFECT = 2.5
EPOCHS = 20


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    return scan2gene.run(phantom_study(folder, 60, EFFECT, epochs=EPOCHS), folder / "run")


def _auroc(out: Path, run: str) -> pd.Series:
    metrics = pd.read_csv(out / "metrics.csv")
    return metrics[(metrics["metric"] == "auroc") & (metrics["run_id"] == run)].iloc[0]


def test_the_network_finds_the_signal(out):
    row = _auroc(out, "light-lesion")
    assert row["low"] > 0.5
    assert row["value"] <= best_auroc(EFFECT) + 0.03  # sampling error; more would be a leak
    assert row["n"] == 60


def test_age_knows_nothing_of_it(out):
    row = _auroc(out, "age")
    assert row["low"] < 0.5 < row["high"] or row["high"] < 0.55


def test_everything_left_out_has_its_reason(out):
    left = pd.read_csv(out / "exclusions.csv", keep_default_na=False)
    assert (left["reason"] != "").all()
    reasons = " | ".join(left["reason"])
    for part in ("not a readable DICOM", "a slice is missing", "StudyDescription lacks", "not in the label table",
                 "without a usable scan"):  # fmt: skip
        assert part in reasons
    assert len(left) == 5  # nothing else went missing
    series = pd.read_csv(out / "series.csv", keep_default_na=False)
    assert set(series["status"]) == {"ok", "rejected"}


def test_no_patient_is_in_two_parts_and_each_is_tested_once(out):
    table = pd.read_parquet(out / "predictions.parquet")
    table = table[table["run_id"] == "light-lesion"]
    assert (table.groupby(["fold", "patient_id"])["part"].nunique() == 1).all()
    assert (table[table["part"] == "test"].groupby("patient_id").size() == 1).all()
    assert table["patient_id"].nunique() == 60


def test_a_second_run_does_nothing(out):
    before = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name != "study.json"}
    scan2gene.run(out.parent / "study.yaml", out)
    after = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.name != "study.json"}
    assert before == after


def test_the_report_answers_and_names_nobody(out):
    page = (out / "report.html").read_text()
    assert "better than chance" in page
    assert "not for clinical use" in page
    for secret in ("Phantom^Synthetic", "SYN-0", str(out.parent)):
        assert secret not in page
    assert ">nan<" not in page.lower()
    assert len(page) < 15_000_000


def test_no_file_of_the_run_holds_a_patient_name(out):
    texts = [p for p in out.rglob("*") if p.suffix in (".csv", ".json", ".html")]
    assert len(texts) > 10
    for path in texts:
        assert "Phantom^Synthetic" not in path.read_text()
