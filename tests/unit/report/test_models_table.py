"""The table of models: what they started from, and bold only where the best is really better."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from fake_run import write_run

from scan2gene.core.files import write_json
from scan2gene.core.started import started
from scan2gene.core.tables import write_csv
from scan2gene.report.models_table import count
from scan2gene.report.page import make_report

FITS = [f"{split}-r0-f{fold}" for split in ("cv", "sites") for fold in (0, 1)]


def _finished(folder, begun: dict[str, dict], alike: bool = False):
    study, out, stores = write_run(folder)
    for run, record in begun.items():
        for fit in FITS:
            write_json(out / "experiments" / run / fit / "weights.json", record)
            write_json(out / "experiments" / run / fit / "network.json", {"parameters": 14_356_929, "trained": 513})
    table = pd.read_csv(out / "comparisons.csv")
    if alike:
        table["p_holm"] = table["p_holm"].where(table["run_id"] != "age", 0.2)
    write_csv(out / "comparisons.csv", table)
    return make_report(study, out, stores), out, table


WEIGHTS = {"weights": "medicalnet-resnet10", "synthetic": False, "freeze": "all"}


def test_the_best_is_bold_where_it_differs_from_every_other(tmp_path):
    report, _, table = _finished(tmp_path, {"net": WEIGHTS})
    cv = table[(table["split"] == "cv") & (table["metric"] == "auroc") & (table["target"] == "idh")]
    assert (cv["best"] == "net").all() and (cv["p_holm"] < 0.05).all()  # a planted difference
    rows = report.tables["models-cv-idh"].csv.set_index("run")
    assert rows["auroc_best"].to_dict() == {"net": True, "broken": False, "age": False}
    assert rows.loc["net", ["weights", "frozen", "parameters", "trained"]].tolist() == [
        "medicalnet-resnet10", "all", 14_356_929, 513,
    ]  # fmt: skip
    assert rows.loc["net", "training_seconds"] == 180  # both fits
    assert f"<strong>{rows.loc['net', 'auroc']:.3f}" in report.html
    assert "AUROC: net is highest, and better than every other run." in report.html
    assert "14.4 M" in report.html and "513 trained" in report.html and "encoder frozen" in report.html


def test_what_is_not_told_apart_is_not_bold(tmp_path):
    report, _, _ = _finished(tmp_path, {"net": WEIGHTS}, alike=True)
    assert not report.tables["models-cv-idh"].csv["auroc_best"].any()
    assert "<strong>" not in report.html
    assert "AUROC: net is highest, better than 1 of 2 other runs" in report.html


def test_a_stand_in_is_never_bold_and_called_synthetic(tmp_path):
    report, _, _ = _finished(tmp_path, {"net": WEIGHTS | {"synthetic": True}})
    table = report.tables["models-cv-idh"]
    assert not table.csv["auroc_best"].any()
    assert table.csv.set_index("run")["synthetic"].to_dict() == {"net": True, "broken": False, "age": False}
    assert "medicalnet-resnet10 (synthetic)" in table.printed["Weights"].tolist()
    assert "<strong>" not in report.html
    assert "synthetic stand-in" in report.html and "says nothing about the weights" in report.html
    assert "so it is not set in bold" in report.html


def test_latex_sets_the_same_cells_in_bold(tmp_path):
    from scan2gene.report.latex import booktabs

    report, _, _ = _finished(tmp_path, {})
    table = report.tables["models-cv-idh"]
    text = booktabs(table.printed, table.caption, "models-cv-idh")
    marked = int(table.csv[[c for c in table.csv if c.endswith("_best")]].to_numpy().sum())
    assert text.count(r"\textbf{") == marked > 0
    value = table.csv.set_index("run").loc["net", "auroc"]
    assert rf"\textbf{{{value:.3f} (" in text


def test_figures_are_those_of_the_metrics_and_of_the_comparisons(tmp_path):
    report, out, table = _finished(tmp_path, {})
    metrics = pd.read_csv(out / "metrics.csv").set_index(["split", "target", "run_id", "metric"])
    rows = report.tables["models-cv-idh"].csv.set_index("run")
    for run in rows.index:
        for metric in ("precision", "recall", "f1", "accuracy", "auroc"):
            row = metrics.loc[("cv", "idh", run, metric)]
            ends = rows.loc[run, [metric, f"{metric}_low", f"{metric}_high"]]
            assert ends.tolist() == pytest.approx(row[["value", "low", "high"]].tolist(), nan_ok=True)
    pd.testing.assert_frame_equal(
        report.tables["comparisons"].csv.reset_index(drop=True), table, check_dtype=False, check_like=True
    )
    cut = [t["threshold"] for t in json.loads((out / "thresholds.json").read_text()) if
           (t["run_id"], t["split"], t["target"]) == ("net", "cv", "idh")]  # fmt: skip
    assert rows.loc["net", "threshold"] == pytest.approx(sum(cut) / 2)


def test_what_fits_started_from_is_read_per_split(tmp_path):
    for name, weights in (("cv-r0-f0", "a"), ("cv-r0-f1", "b"), ("cv-r-r0-f0", "c")):
        write_json(tmp_path / "experiments" / "net" / name / "weights.json", {"weights": weights, "freeze": ["conv1"]})
    found = started(tmp_path, "net", "cv")
    assert (found.weights, found.frozen, found.parameters) == (("a", "b"), "conv1", None)
    assert found.told() == "a or b"
    (tmp_path / "experiments" / "plain" / "cv-r0-f0").mkdir(parents=True)
    (tmp_path / "experiments" / "plain" / "cv-r0-f0" / "best.pt").write_bytes(b"")
    assert started(tmp_path, "plain", "cv").weights == ("random",)
    assert started(tmp_path, "nobody", "cv").weights == ()


@pytest.mark.parametrize(
    ("value", "told"),
    [(46_159_168, "46.2 M"), (7_681, "7.68 k"), (12, "12"), (999_999, "1 M"), (None, "not recorded")],
)
def test_counts_are_said_briefly(value, told):
    assert count(value) == told
