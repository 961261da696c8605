"""A split by slice: refused, or permitted for teaching and stamped on everything."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from scan2gene.cohorts.split import parts_of
from scan2gene.commands.apply import apply
from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.leakage import LEAKY
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study_file import load_study
from scan2gene.stages import pipeline
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import resolve
from tests.integration.slice_cohort import write_slice_study

HONEST = {"name": "honest", "kind": "holdout", "test_fraction": 0.4}
BY_SLICE = {"name": "by-slice", "kind": "kfold", "folds": 2, "unit": "slice"}


def test_a_split_by_slice_is_refused(tmp_path):
    study = write_slice_study(tmp_path, patients=4, splits=[HONEST, BY_SLICE])
    with pytest.raises(StudyError, match=r"'by-slice' divides slices.*unit: patient.*allow_leakage"):
        pipeline.run(study, tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"slices": None}}, "divides slices, and run 'flat' has no data.slices"),
        ({"splits": [BY_SLICE | {"kind": "leave_one_site_out"}]}, "leaves sites out"),
    ],
)
def test_even_with_leave_it_must_make_sense(tmp_path, changes, message):
    study = write_slice_study(tmp_path, patients=4, **({"splits": [BY_SLICE], "allow_leakage": True} | changes))
    with pytest.raises(StudyError, match=message):
        load_study(study)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Patients without any sign but their own look, an honest and a leaky split of them."""
    folder = tmp_path_factory.mktemp("leaky")
    study = write_slice_study(
        folder, patients=24, signal=False, splits=[HONEST, BY_SLICE], allow_leakage=True,
        train={"epochs": 2}, evaluate={"bootstrap": 100, "ledger": str(folder / "ledger.csv")},
    )  # fmt: skip
    return pipeline.run(study, folder / "out"), folder


def test_every_slice_is_tested_once_and_every_patient_is_everywhere(finished):
    out, folder = finished
    study = load_study(folder / "study.yaml")
    table = pd.read_parquet(out / "predictions.parquet")
    leaky = table[table["split"] == "by-slice"]
    tested = leaky[(leaky["unit"] == "slice") & (leaky["part"] == "test")]
    assert tested["unit_id"].is_unique
    assert set(tested["unit_id"]) == set(table.loc[table["unit"] == "slice", "unit_id"])
    assert (leaky[leaky["unit"] == "exam"].groupby(["fold", "patient_id"])["part"].nunique() == 3).all()
    honest = table[table["split"] == "honest"]
    assert (honest.groupby("patient_id")["part"].nunique() == 1).all()
    exams = pd.DataFrame({"patient_id": ["b"] * 10 + ["a"] * 5})
    config = resolve(study, study.runs[0])
    fits = [Fit(config, "by-slice", 0, fold, FitDirectory(out / "none")) for fold in (0, 1)]
    parts = parts_of(fits[0], exams)
    np.testing.assert_array_equal(parts, parts_of(fits[0], exams))
    other = parts_of(fits[1], exams)
    assert not ((parts == "test") & (other == "test")).any()
    assert ((parts == "test") | (other == "test")).all()


def test_everything_that_tells_a_figure_says_leaky(finished):
    out, _ = finished
    assert (out / "LEAKY.txt").read_text().startswith("LEAKY")
    html = (out / "report.html").read_text()
    assert "<title>LEAKY " in html
    assert LEAKY in html
    for name in ("split.csv", "split_table.csv", "power.csv", "metrics.csv", "experiments/flat/history.csv",
                 "embedding_map.csv", "explain/maps.csv", "explain/scores.csv"):  # fmt: skip
        assert (pd.read_csv(out / name)["leaky"] == LEAKY).all(), name
    assert (pd.read_parquet(out / "predictions.parquet")["leaky"] == LEAKY).all()
    altered = pd.read_parquet(out / "variants.parquet")
    assert (altered["leaky"] == LEAKY).all() and set(altered["part"]) == {"test"}
    assert set(altered["split"]) == {"honest", "by-slice"}
    assert set(altered["variant"]) - {"only_outside"} == {"shifted", "noise", "mirrored", "every_second", "only_border"}
    for path in (out / "results.json", out / "experiments" / "flat" / "results.json"):
        told = json.loads(path.read_text())
        assert json.dumps(told).count(LEAKY) == 2  # a target in two splits
    assert all(row["leaky"] == LEAKY for row in json.loads((out / "thresholds.json").read_text()))
    tables = [p for p in (out / "report").glob("*/*") if p.suffix in (".csv", ".tex", ".md")]
    figures = [*(out / "report" / "figures").glob("*.svg"), *(out / "experiments").glob("*/plots/*.svg")]
    assert tables
    assert figures
    assert all("LEAKY" in path.read_text() for path in [*tables, *figures])


def test_its_networks_are_not_applied(finished):
    out, folder = finished
    with pytest.raises(RunError, match="splits slices to show leakage"):
        apply(out, folder / "scans")


def test_the_ledger_never_sees_it(finished):
    _, folder = finished
    assert not (folder / "ledger.csv").exists()


def test_an_honest_run_says_nothing_of_leaks(tmp_path):
    study = write_slice_study(tmp_path, patients=20, train={"epochs": 1}, allow_leakage=True)
    written = yaml.safe_load(study.read_text())
    study.write_text(yaml.safe_dump(written | {"evaluate": {"bootstrap": 100, "ledger": str(tmp_path / "l.csv")}}))
    out = pipeline.run(study, tmp_path / "out", until="evaluate")
    assert not (out / "LEAKY.txt").exists()
    assert "leaky" not in pd.read_csv(out / "metrics.csv").columns
    assert (tmp_path / "l.csv").exists()
