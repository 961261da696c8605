"""The page of a study with a target of several classes, beside one with two: every class is named."""

from __future__ import annotations

import re
from pathlib import Path

import fake_run
import numpy as np
import pandas as pd
import pytest
from tests import several_classes

from scan2gene.core.files import write_json
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.evaluate.audit import Tables, outside, shortcut_figures
from scan2gene.evaluate.evaluate import evaluate
from scan2gene.evaluate.leakage import patients_apart
from scan2gene.evaluate.probabilities import probability_tables
from scan2gene.evaluate.verdicts import verdicts
from scan2gene.report.beside import Report, write_beside
from scan2gene.report.page import make_report
from scan2gene.stages.evaluate import _add_means
from scan2gene.tasks.outputs import by_question, one_vs_rest

CLASSES = ("luminal_a", "her2", "tnbc")
RUNS = ("net", "age")  # of "broken" there is no prediction


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Report]:
    """A run directory as the stages write it, and its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scan2gene.evaluate.audit.PERMUTATIONS", 99)
        return _finished(tmp_path_factory.mktemp("classes"))


def _finished(folder: Path) -> tuple[Path, Report]:
    given = fake_run.study_at(folder).model_dump(mode="json")
    given["targets"] = {"idh": {}, "subtype": {"classes": {c: [c] for c in CLASSES}}}
    given["evaluate"]["bootstrap"] = 100
    given["splits"] = [{"name": "cv", "kind": "kfold", "folds": 3}]
    study, out = Study.model_validate(given), RunDirectory(folder / "run")
    rng = np.random.default_rng(0)
    predictions, split = several_classes.predictions(n=40, signal=2, runs=RUNS, classes=CLASSES)
    truth = predictions[predictions["y_true"] == 1].drop_duplicates("patient_id").set_index("patient_id")["label"]
    names = dict(zip(sorted(truth.index), fake_run.PATIENTS, strict=True))
    gene = {p: float(rng.random() < 0.5) for p in truth.index}
    binary = predictions[predictions["label"] == "her2"].assign(target="idh", label="positive")
    binary["y_true"] = binary["patient_id"].map(gene)
    predictions = pd.concat([predictions, binary], ignore_index=True)
    cohort, series, *_ = (t.replace(fake_run.PLACE, str(folder), regex=True) for t in fake_run._tables())
    exams = dict(zip(cohort["patient_id"], cohort["exam_id"], strict=True))
    for table in (predictions, split):
        table["patient_id"] = table["patient_id"].map(names)
    predictions["exam_id"] = predictions["patient_id"].map(exams)
    rows = [(names[p], "", "subtype", float(CLASSES.index(c)), c, "x:1") for p, c in truth.items()]
    rows += [(names[p], "", "idh", v, "positive" if v else "negative", "x:1") for p, v in gene.items()]
    labels = pd.DataFrame(rows, columns=["patient_id", "side", "target", "value", "label", "source"])
    out.cohort.write(cohort)
    out.series.write(series)
    out.labels.write(labels)
    out.split.write(split)
    out.predictions.write(predictions)
    fake_run._write_exclusions(out.path, folder)
    questions = by_question(predictions)
    found = evaluate(questions, split, 100, 1)
    _add_means(found, list(study.targets))
    out.metrics.write(pd.concat([found.metrics, found.means], ignore_index=True))
    out.thresholds.write(found.thresholds)
    out.results.write(found.results)
    out.comparisons.write(found.comparisons)
    out.confusion.write(found.confusion)
    for name, table in probability_tables(questions, found.thresholds, {}, 100, 1).items():
        getattr(out, name).write(table)
    columns = ["run_id", "split", "target"]
    out.evidence.write(pd.DataFrame(columns=columns))
    tables = Tables(cohort, series, one_vs_rest(labels, study.targets), split, questions, questions[:0], pd.DataFrame())
    figures = shortcut_figures(study, tables, ["net", "broken"])
    beyond = outside(study, tables, figures)
    checks = [patients_apart(split)]
    told = [{"check": c.name, "status": c.status, "told": c.told, "cases": len(c.cases)} for c in checks]
    write_json(out.audit.path, {"leakage": told, "shortcuts": [f.row() for f in figures], "transfer": [], "shift": []})
    write_json(out.verdicts.path, [vars(v) for v in verdicts(study, tables, figures, checks, beyond)])
    store = fake_run._write_store(out.path, list(cohort["exam_id"]))
    report = make_report(study, out.path, {"net": store, "broken": store})
    write_beside(out.path, report)
    return out.path, report


def test_every_class_is_named_as_a_reader_wants_it(finished):
    out, report = finished
    texts = [report.html, *report.figures.values(), *report.paper.texts.values()]
    texts += [p.read_text() for p in (out / "report").rglob("*.tex")]
    assert not [t for t in texts if re.search(r"subtype:\w", t)]
    for label in CLASSES:
        assert f"subtype: {label}" in report.html
    assert ":" not in "".join(p.name for p in (out / "report").rglob("*"))


def test_the_answer_has_the_whole_and_its_classes(finished):
    out, report = finished
    plain = re.sub(r"<[^>]+>", " ", report.html)
    assert "subtype, all classes together" in plain
    whole = RunDirectory(out).metrics.read().query("target == 'subtype' and run_id == 'net'").set_index("metric")
    for metric in ("auroc_macro", "kappa", "brier"):
        assert f"{whole.loc[metric, 'value']:.3f}" in plain
    assert "Macro AUROC: " in plain and "subtype, mean over classes" in plain
    assert plain.count("against the rest, AUROC") == 3
    csv = pd.read_csv(out / "report/tables/metrics.csv")
    assert set(csv["target"]) == {"idh", "subtype", *(f"subtype:{c}" for c in CLASSES)}


def test_curves_and_confusion_matrix_of_every_run(finished):
    out, report = finished
    for run in RUNS:
        assert f"confusion-cv-subtype-{run}" in report.figures
        for label in CLASSES:
            for kind in ("roc", "calibration", "confusion"):
                assert f"{kind}-cv-subtype-{label}-{run}" in report.figures
    drawn = report.figures["confusion-cv-subtype-net"]
    counts = RunDirectory(out).confusion.read().query("run_id == 'net' and true == 'her2'")
    assert counts["n"].sum() == 13
    hits = counts.loc[counts["predicted"] == "her2", "n"].iloc[0]
    assert f"her2: {hits:.0f} of 13 right" in drawn


def test_characteristics_and_methods_count_each_class(finished):
    out, report = finished
    table = pd.read_csv(out / "report/tables/characteristics.csv")
    assert {f"subtype {c}" for c in CLASSES} <= set(table["group"])
    methods = next(t for name, t in report.paper.texts.items() if name.endswith("methods.md"))
    assert "14 luminal\\_a, 13 her2, 13 tnbc and 0 unknown patients" in methods
