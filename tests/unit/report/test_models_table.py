"""The table of models: what they started from, and bold only where the best is really better."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fake_run import write_run

from scan2gene.core.files import write_json
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.started import started
from scan2gene.core.study import Study
from scan2gene.core.tables import write_csv
from scan2gene.report.inputs import read_inputs
from scan2gene.report.latex import booktabs
from scan2gene.report.models_table import models, parameter_count, tables
from scan2gene.report.page import make_report
from scan2gene.report.results import scores
from scan2gene.report.tables import Table

FITS = [f"{split}-r0-f{fold}" for split in ("cv", "sites") for fold in (0, 1)]
WEIGHTS = {"weights": "medicalnet-resnet10", "freeze": "all"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("base"))


@pytest.fixture
def finished(base, tmp_path):
    """Gives the run directory with what its fits started from, and perhaps with two runs that are not told apart."""
    study, out, stores = base
    copy = tmp_path / "run"
    shutil.copytree(out, copy)

    def make(begun: dict[str, dict], alike: bool = False) -> tuple[Study, Path, dict[str, Path]]:
        for run, record in begun.items():
            for fit in FITS:
                write_json(copy / "experiments" / run / fit / "weights.json", record)
                sizes = {"parameters": 14_356_034, "trained": 513}
                write_json(copy / "experiments" / run / fit / "network.json", sizes)
        table = pd.read_csv(copy / "comparisons.csv")
        if alike:
            table["p_holm"] = table["p_holm"].where(table["run_id"] != "age", 0.2)
        write_csv(copy / "comparisons.csv", table)
        return study, copy, stores

    return make


def _table(study: Study, out: Path, stores: dict[str, Path]) -> tuple[Table, list[str]]:
    """The table of split cv and target idh, and what is said about it."""
    inputs = read_inputs(study, out, stores)
    found = models(inputs, scores(inputs))
    said = next(t["said"] for t in found if (t["split"], t["target"]) == ("cv", "idh"))
    return next(t for t in tables(found, inputs.comparisons) if t.name == "models-cv-idh"), said


def test_the_best_is_bold_where_it_differs_from_every_other(finished):
    run = finished({"net": WEIGHTS})
    compared = pd.read_csv(run[1] / "comparisons.csv")
    cv = compared[(compared["split"] == "cv") & (compared["metric"] == "auroc") & (compared["target"] == "idh")]
    assert (cv["best"] == "net").all() and (cv["p_holm"] < 0.05).all()  # a planted difference
    table, said = _table(*run)
    rows = table.csv.set_index("run")
    assert rows["auroc_best"].to_dict() == {"net": True, "broken": False, "age": False}
    assert rows.loc["net", ["weights", "frozen", "parameters", "trained"]].tolist() == [
        "medicalnet-resnet10", "all", 14_356_034, 513,
    ]  # fmt: skip
    assert rows.loc["net", "training_seconds"] == 180  # both fits
    assert "AUROC: net is highest, and better than every other run." in said


def test_what_is_not_told_apart_is_not_bold(finished):
    table, said = _table(*finished({"net": WEIGHTS}, alike=True))
    assert not table.csv["auroc_best"].any()
    assert any(s.startswith("AUROC: net is highest, better than 1 of 2 other runs") for s in said)


def test_the_page_and_latex_set_the_same_cells_in_bold(finished):
    begun = {"net": WEIGHTS, "broken": WEIGHTS | {"freeze": "none"}}
    run = finished(begun)
    report = make_report(*run)
    marked = 0
    for name, table in report.tables.items():
        if name.startswith("models-"):
            bold = int(table.csv[[c for c in table.csv if c.endswith("_best")]].to_numpy().sum())
            assert booktabs(table.printed, table.caption, name).count(r"\textbf{") == bold
            marked += bold
    assert report.html.count("<strong>") == marked > 0
    value = report.tables["models-cv-idh"].csv.set_index("run").loc["net", "auroc"]
    assert f"<strong>{value:.3f}" in report.html
    for words in ("14.4 M", "513 trained", "encoder frozen"):
        assert words in report.html
    whole = pd.read_csv(run[1] / "comparisons.csv")
    pd.testing.assert_frame_equal(report.tables["comparisons"].csv.reset_index(drop=True), whole, check_dtype=False)


def test_figures_are_those_of_the_metrics(finished):
    run = finished({})
    metrics = pd.read_csv(run[1] / "metrics.csv").set_index(["split", "target", "run_id", "metric"])
    rows = _table(*run)[0].csv.set_index("run")
    for name in rows.index:
        for metric in ("precision", "recall", "f1", "accuracy", "auroc"):
            row = metrics.loc[("cv", "idh", name, metric)]
            ends = rows.loc[name, [metric, f"{metric}_low", f"{metric}_high"]]
            assert ends.tolist() == pytest.approx(row[["value", "low", "high"]].tolist(), nan_ok=True)
    cut = [t["threshold"] for t in json.loads((run[1] / "thresholds.json").read_text()) if
           (t["run_id"], t["split"], t["target"]) == ("net", "cv", "idh")]  # fmt: skip
    assert rows.loc["net", "threshold"] == pytest.approx(sum(cut) / 2)


def test_what_fits_started_from_is_read_per_split(tmp_path):
    for name, weights in (("cv-r0-f0", "a"), ("cv-r0-f1", "b"), ("cv-r-r0-f0", "c")):
        write_json(tmp_path / "experiments" / "net" / name / "weights.json", {"weights": weights, "freeze": ["conv1"]})
    found = started(RunDirectory(tmp_path), "net", "cv")
    assert (found.weights, found.frozen, found.parameters) == (("a", "b"), "conv1", None)
    (tmp_path / "experiments" / "plain" / "cv-r0-f0").mkdir(parents=True)
    (tmp_path / "experiments" / "plain" / "cv-r0-f0" / "best.pt").write_bytes(b"")
    assert started(RunDirectory(tmp_path), "plain", "cv").weights == ("random",)
    assert started(RunDirectory(tmp_path), "nobody", "cv").weights == ()


@pytest.mark.parametrize(
    ("value", "told"),
    [(46_159_168, "46.2 M"), (7_681, "7.68 k"), (12, "12"), (999_999, "1 M"), (None, "not recorded")],
)
def test_counts_are_said_briefly(value, told):
    assert parameter_count(value) == told
