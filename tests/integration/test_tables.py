"""Studies that learn from tables of numbers: from the study file to the report."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import skops.io
import yaml
from sklearn.metrics import roc_auc_score

from scan2gene.commands.external import external
from scan2gene.core.errors import CohortError, RunError, WeightsError
from scan2gene.core.rundir import RunDirectory
from scan2gene.learners.tabular import load
from scan2gene.stages.pipeline import run
from tests.integration.road import edit, fit_of, table_study


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study without scans, run to its report."""
    folder = tmp_path_factory.mktemp("tables")
    return RunDirectory(run(table_study(folder), folder / "run"))


def test_a_study_without_scans_runs_to_its_report(finished):
    metrics = pd.read_csv(finished.path / "metrics.csv")
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["split"] == "cv")]
    mean = auroc.groupby("run_id")["value"].mean()
    assert {"clinical", "ridge", "image", "best"} <= set(mean.index)
    assert mean["best"] > 0.85 and mean["image"] > 0.8
    page = finished.report.path.read_text()
    assert "best" in page and "image" in page


def test_the_mean_of_one_run_orders_patients_as_that_run(finished):
    rows = finished.predictions.read()
    rows = rows[(rows["variant"] == "original") & (rows["part"] == "test")]
    wide = rows.pivot(index=["fold", "patient_id"], columns="run_id", values="logit")
    for _, fold in wide.groupby("fold"):
        assert fold["image"].rank().equals(fold["ridge"].rank())
    assert wide.notna().all().all()


def test_a_second_run_does_nothing_again(finished, capsys):
    before = finished.path / "features" / "radiomics.parquet"
    when = before.stat().st_mtime_ns
    run(finished.path.parent / "study.yaml", finished.path)
    said = capsys.readouterr()
    assert before.stat().st_mtime_ns == when
    assert "4 fits, 0 new" in said.out + said.err or "6 fits, 0 new" in said.out + said.err


def tables_of(folder, **columns) -> pd.DataFrame:
    """radiomics.csv with further columns."""
    table = pd.read_csv(folder / "radiomics.csv").assign(**columns)
    table.to_csv(folder / "radiomics.csv", index=False)
    return table


def curated(folder, **changes) -> RunDirectory:
    return RunDirectory(run(folder / "study.yaml", folder / "run", until="features"))


def features(out: RunDirectory) -> list[str]:
    return list(out.features("radiomics").read().columns[4:])


def test_columns_that_tell_the_label_are_left_out_and_named(tmp_path, capsys):
    study = table_study(tmp_path)
    labels = pd.read_csv(tmp_path / "labels.csv")
    volume = np.random.default_rng(1).normal(size=60).round(3)
    labels.assign(volume=volume).to_csv(tmp_path / "labels.csv", index=False)
    edit(study, targets={"gene": {}, "large": {"column": "volume", "above": 0.0}})
    y = labels["gene"]
    tables_of(tmp_path, gene=y, status=3 - y, size=volume, row=np.arange(60), age=labels["age"])
    assert features(curated(tmp_path)) == [f"f{n}" for n in range(10)]
    said = "".join(capsys.readouterr())
    assert "column status is left out: its values stand one to one for the labels of gene" in said
    assert "column size is left out: its values stand one to one for the labels of large" in said
    assert "column row is left out: it counts the rows of the table" in said


@pytest.mark.parametrize("column", ["gene", "status"])
def test_a_label_that_is_named_as_a_feature_is_refused(tmp_path, column):
    study = table_study(tmp_path)
    tables_of(tmp_path, **{column: pd.read_csv(tmp_path / "labels.csv")["gene"]})
    edit(study, features={"radiomics": {"table": "radiomics.csv", "columns": ["f0", column]}})
    with pytest.raises(CohortError, match=f"column {column} cannot be a feature"):
        curated(tmp_path)


def test_patients_of_one_table_alone_are_listed_with_a_reason(tmp_path):
    table_study(tmp_path)
    labels = pd.read_csv(tmp_path / "labels.csv")
    labels.iloc[:-2].to_csv(tmp_path / "labels.csv", index=False)
    table = pd.read_csv(tmp_path / "radiomics.csv", dtype=str)
    table.loc[1, "patient_id"] = ""
    table.iloc[1:].to_csv(tmp_path / "radiomics.csv", index=False)
    out = curated(tmp_path)
    left = out.exclusions.read().fillna("")
    assert dict(zip(left["patient_id"], left["reason"], strict=True)) == {
        "": "row without an id in column patient_id: radiomics.csv:2",
        "P058": "patient is not in the label table",
        "P059": "patient is not in the label table",
        "P000": "labelled patient without features",
        "P001": "labelled patient without features",
    }
    assert len(out.features("radiomics").read()) == 56


def test_no_patient_in_both_tables_is_one_error(tmp_path):
    table_study(tmp_path)
    tables_of(tmp_path, patient_id=[f"Q{n}" for n in range(60)])
    with pytest.raises(
        CohortError, match=r"no patient of the features has a label\. The features have ids such as 'Q0'"
    ):
        curated(tmp_path)


def figures(folder) -> pd.Series:
    """Mean AUROC over the folds of each run."""
    rows = RunDirectory(run(folder / "study.yaml", folder / "run", until="predict")).predictions.read()
    tested = rows[(rows["part"] == "test") & (rows["variant"] == "original")]
    folds = {key: roc_auc_score(fold["y_true"], fold["logit"]) for key, fold in tested.groupby(["run_id", "fold"])}
    return pd.Series(folds).groupby(level=0).mean()


def test_odd_columns_and_more_features_than_patients_change_little(tmp_path):
    table_study(tmp_path)
    rng, whole = np.random.default_rng(3), figures(tmp_path)
    table = pd.read_csv(tmp_path / "radiomics.csv")
    odd = {"inf": np.inf, "constant": 0.1, "large": 1e12 + 0.1, "missing": np.nan, "tiny": 1e-300}
    odd |= {f"copy{n}": table["f1"] * (n + 1) for n in range(80)}
    odd["gaps"] = np.where(rng.random(60) < 0.9, np.nan, rng.normal(size=60))
    odd["spike"] = np.where(np.arange(60) == 7, 1e300, rng.normal(size=60))
    (tmp_path / "run").rename(tmp_path / "before")
    pd.concat([table, pd.DataFrame(odd)], axis=1).to_csv(tmp_path / "radiomics.csv", index=False)
    found = figures(tmp_path)
    assert abs(found["image"] - whole["image"]) < 0.1
    assert found["clinical"] == whole["clinical"]


def test_a_class_of_six_patients_is_learned(tmp_path):
    table_study(tmp_path)
    gene = few(tmp_path, 6)
    tables_of(tmp_path, f0=gene * 5 + np.random.default_rng(0).normal(size=60))
    assert figures(tmp_path)["image"] > 0.8


def test_a_class_of_one_patient_gives_no_figure_and_no_claim(tmp_path, capsys):
    table_study(tmp_path)
    few(tmp_path, 1)
    edit(tmp_path / "study.yaml", evaluate={"bootstrap": 100, "shuffles": 0})
    out = RunDirectory(run(tmp_path / "study.yaml", tmp_path / "run", until="audit"))
    assert "gene has one class only: train in 1, validation in 3, test in 2 of 3" in "".join(capsys.readouterr())
    metrics = pd.read_csv(out.path / "metrics.csv")
    auroc = metrics[metrics["metric"] == "auroc"]
    assert len(auroc) == 4 and auroc["low"].isna().all() and auroc["reason"].notna().all()


def few(folder, rare: int) -> np.ndarray:
    """Labels of which so many are positive."""
    gene = (np.arange(60) < rare).astype(int)
    pd.read_csv(folder / "labels.csv").assign(gene=gene).to_csv(folder / "labels.csv", index=False)
    return gene


def test_a_patient_whom_one_of_two_tables_lacks_has_a_reason(tmp_path):
    study = table_study(tmp_path)
    table = pd.read_csv(tmp_path / "radiomics.csv")
    table.iloc[5:].to_csv(tmp_path / "short.csv", index=False)
    content = yaml.safe_load(study.read_text())
    content["features"]["short"] = {"table": "short.csv"}
    content["runs"][1]["model"]["options"]["features"] = ["radiomics", "short"]
    edit(study, features=content["features"], runs=content["runs"])
    out = RunDirectory(run(study, tmp_path / "run", until="predict"))
    rows = out.predictions.read()
    lost = rows[(rows["patient_id"] == "P003") & (rows["variant"] == "original")].groupby("run_id").first()
    assert lost.loc["clinical", "status"] == "ok"
    assert set(lost.loc[["ridge", "image", "best"], "status"]) == {"failed"}
    assert set(lost.loc[["ridge", "image", "best"], "reason"]) == {"patient is not in the features short"}


class Foreign:
    """What no model of this product holds."""

    def __init__(self) -> None:
        self.numbers = [1.0]


def test_a_file_of_a_model_with_foreign_types_is_not_loaded(finished):
    fit = fit_of(finished.path, "ridge", "cv-r0-f0")
    path = fit.folder.estimators.path
    good = path.read_bytes()
    whole = load(fit)
    try:
        path.write_bytes(skops.io.dumps([{"ridge": Foreign()}]))
        with pytest.raises(WeightsError, match=r"estimators\.skops holds .*Foreign, which no model of scan2gene does"):
            load(fit)
        path.write_bytes(good[:100])
        with pytest.raises(WeightsError, match=r"estimators\.skops cannot be read"):
            load(fit)
    finally:
        path.write_bytes(good)
    x = np.random.default_rng(0).normal(size=(5, 10))
    assert load(fit).logits(x).tobytes() == whole.logits(x).tobytes()


def test_pseudonyms_of_a_study_of_tables(tmp_path):
    study = table_study(tmp_path)
    content = yaml.safe_load(study.read_text())
    edit(study, cohort=content["cohort"] | {"pseudonyms": str(tmp_path / "private" / "key.csv")})
    tables_of(tmp_path, copied=pd.read_csv(tmp_path / "labels.csv")["gene"])
    out = RunDirectory(run(study, tmp_path / "run", until="evaluate"))
    table = out.features("radiomics").read()
    assert (table["status"] == "ok").all() and len(table) == 60 and "copied" not in table
    assert table["patient_id"].str.fullmatch(r"P-\w+").all() and table["exam_id"].str.fullmatch(r"E-\w+").all()
    key = pd.read_csv(tmp_path / "private" / "key.csv").set_index("pseudonym")["patient_id"]
    true = pd.read_csv(tmp_path / "radiomics.csv").set_index("patient_id")["f0"]
    assert np.allclose(table["f0"], true.reindex(table["patient_id"].map(key)))
    shown = "\n".join(p.read_text() for p in out.path.rglob("*") if p.suffix in (".csv", ".json", ".yaml", ".html"))
    assert "P001" not in shown and str(tmp_path) not in shown


def test_another_hospital_brings_its_own_table(finished, tmp_path):
    study = table_study(tmp_path, patients=40, seed=7)
    table = pd.read_csv(tmp_path / "radiomics.csv").iloc[1:]
    table = table[table.columns[::-1]].assign(extra=0.0, patient_id="Q" + table["patient_id"])
    table.to_csv(tmp_path / "radiomics.csv", index=False)
    labels = pd.read_csv(tmp_path / "labels.csv")
    labels.assign(patient_id="Q" + labels["patient_id"]).to_csv(tmp_path / "labels.csv", index=False)
    edit(study, name="elsewhere")
    found = external(finished.path, study, tmp_path / "out")
    scores = pd.read_csv(tmp_path / "out" / "scores.csv")
    assert set(scores["run_id"]) == {"clinical", "ridge", "image", "best"}
    assert scores.groupby("run_id")["patient_id"].nunique().eq(39).all() and scores["prob"].notna().all()
    assert {t.run: t.outside.value for t in found.transfers}["image"] > 0.85
    table[["patient_id", "f0", "f1"]].to_csv(tmp_path / "radiomics.csv", index=False)
    with pytest.raises(RunError, match="the table lacks numbers in f2, f3"):
        external(finished.path, study, tmp_path / "less")
