"""What lies beside the page: whole, readable by other programs, and silent about who the patients are."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from fake_run import PATIENTS, write_run
from PIL import Image

from scan2gene.core.files import write_json
from scan2gene.report.beside import named, write_beside
from scan2gene.report.cases import cases
from scan2gene.report.inputs import read_inputs
from scan2gene.report.page import make_report
from scan2gene.report.tables import tables

SVG = "{http://www.w3.org/2000/svg}"


def write_volumes(stores, shape=(16, 16, 8)) -> None:
    """A volume for each row of the fake store: grey levels that differ from patient to patient."""
    rng = np.random.default_rng(0)
    manifest = pd.read_csv(stores["net"] / "manifest.csv")
    for file in manifest["file"].dropna():
        array = rng.normal(100, 20, shape).astype(np.float32)
        nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), stores["net"] / file)


@pytest.fixture
def finished(tmp_path):
    study, out, stores = write_run(tmp_path)
    write_volumes(stores)
    return study, out, stores


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Report, its files and its run directory; only read by tests."""
    folder = tmp_path_factory.mktemp("written")
    study, out, stores = write_run(folder)
    write_volumes(stores)
    report = make_report(study, out, stores)
    return report, write_beside(out, report), out


def test_every_figure_is_an_svg_of_its_own(written):
    drawn = [p for p in written[1] if p.suffix == ".svg"]
    kinds = {p.stem.split("-cv-")[0] for p in drawn if "-cv-" in p.stem}
    assert kinds == {"roc", "precision-recall", "calibration", "confusion", "convergence", "accuracy", "cases"}
    for path in drawn:
        root = ElementTree.parse(path).getroot()
        assert root.tag == f"{SVG}svg" and float(root.get("width")) > 0 and float(root.get("height")) > 0
        assert "Arial" in root.get("font-family")
        assert root.find(f"{SVG}title").text
        for element in root.iter():
            assert element.tag.startswith(SVG)
            for name, value in element.attrib.items():
                assert name != "class" or value == "num"  # nothing waits for the page's style
                assert "href" not in name or value.startswith("data:image/")
        assert "url(" not in path.read_text() and "nan" not in re.sub(r'href="[^"]*"', "", path.read_text())


def test_figures_lie_with_their_run_too(written):
    out = written[2]
    plots = {p.name for p in (out / "experiments" / "net" / "plots").iterdir()}
    for split in ("cv", "sites"):
        assert plots >= {f"{k}-{split}-idh.svg" for k in ("roc", "precision-recall", "calibration", "confusion")}
        assert {f"convergence-{split}.svg", f"accuracy-{split}.svg"} <= plots
        drawn = (out / "experiments" / "net" / "plots" / f"accuracy-{split}.svg").read_text()
        assert [w for w in ("mean over targets", "idh", "rare") if f">{w}</text>" not in drawn] == []
    same = out / "report" / "figures" / "roc-cv-idh-net.svg"
    assert same.read_bytes() == (out / "experiments" / "net" / "plots" / "roc-cv-idh.svg").read_bytes()
    assert not list((out / "experiments" / "age" / "plots").glob("convergence*"))


def test_the_metric_tables_are_metrics_csv(written):
    folder = written[2] / "report" / "tables"
    whole = pd.read_csv(written[2] / "metrics.csv")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "metrics.csv"), whole)
    one = whole[(whole["split"] == "cv") & (whole["target"] == "idh")]
    mine = pd.read_csv(folder / "metrics-cv-idh.csv")
    pd.testing.assert_frame_equal(mine, one.reset_index(drop=True), check_dtype=False)
    tex = (folder / "metrics-cv-idh.tex").read_text()
    for row in one[one["low"].notna()].itertuples():
        between = " to " if row.low < 0 else "--"
        assert f"{row.value:.3f} ({row.low:.3f}{between}{row.high:.3f})" in tex
    assert all(p.with_suffix(".tex").exists() for p in folder.glob("*.csv"))


def test_decisions_agree_with_the_metrics(written):
    counts = pd.read_csv(written[2] / "report" / "tables" / "confusion.csv").set_index(["split", "target", "run"])
    metrics = pd.read_csv(written[2] / "metrics.csv").set_index(["split", "target", "run_id", "metric"])["value"]
    assert len(counts) == 6
    for place, n in counts.iterrows():
        assert n.true_positive / (n.true_positive + n.false_negative) == pytest.approx(metrics[(*place, "recall")])
        assert n.true_negative / (n.true_negative + n.false_positive) == pytest.approx(metrics[(*place, "specificity")])


def test_files_of_an_older_report_go(finished):
    report = make_report(*finished)
    write_beside(finished[1], report)
    old = finished[1] / "report" / "tables" / "auroc-former.csv"
    plot = finished[1] / "experiments" / "former" / "plots" / "roc-cv-idh.svg"
    for path in (old, plot):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    kept = finished[1] / "experiments" / "net" / "notes.txt"
    kept.write_text("mine")
    written = write_beside(finished[1], report)
    assert not old.exists() and not plot.exists() and kept.exists()
    assert all(p.exists() for p in written)


def test_names_differ_whatever_the_disk_thinks_of_capitals():
    assert named([("a-b", 1), ("A-B", 2), ("a-b", 3)]) == {"a-b": 1, "A-B-2": 2, "a-b-3": 3}


def test_the_page_says_where_they_lie(written):
    for name in [*written[0].tables, *written[0].figures]:
        assert name in written[0].html


def test_nobody_is_named_in_any_of_them(written):
    for path in written[1]:
        text = path.name + path.read_text()
        for name in (*PATIENTS, "1.2.840.99999", "Jane Roe", str(written[2].parent)):
            assert name not in text, (path, name)


def test_cases_are_the_surest_and_the_worst(finished):
    """Chosen by hand from predictions and thresholds, for the network that finds something."""
    study, out, stores = finished
    table = pd.read_parquet(out / "predictions.parquet").query(
        "run_id == 'net' and split == 'cv' and target == 'idh' and part == 'test'"
    )
    cuts = pd.DataFrame(pd.read_json(out / "thresholds.json"))
    cuts = cuts.query("run_id == 'net' and split == 'cv' and target == 'idh'").set_index("fold")["threshold"]
    table = table.assign(right=(table["prob"] >= table["fold"].map(cuts)) == (table["y_true"] == 1))
    found = {c["run"]: c for c in cases(read_inputs(study, out, stores)) if c["target"] == "idh"}["net"]
    expected = {}
    for kind, truth, right, highest in (
        ("found", 1, True, True),
        ("left alone", 0, True, False),
        ("missed", 1, False, False),
        ("false alarm", 0, False, True),
    ):
        probs = sorted(table[(table["y_true"] == truth) & (table["right"] == right)]["prob"], reverse=highest)
        expected[kind] = probs[:2]
    shown = {kind: [r["prob"] for r in found["rows"] if r["kind"] == kind] for kind in expected}
    assert shown == {kind: pytest.approx(probs) for kind, probs in expected.items()}
    assert len(re.findall("data:image/jpeg", found["svg"])) == len(found["rows"])
    for row in found["rows"]:
        assert f"case {row['case']}: probability {row['prob']:.3f}, threshold {row['threshold']:.3f}" in found["svg"]
        assert not set(row) & {"patient_id", "exam_id"}


def test_a_case_shows_the_slices_through_its_mask(finished):
    """A bright dot far from the middle is seen only where the mask leads to it."""
    study, out, stores = finished
    manifest = pd.read_csv(stores["net"] / "manifest.csv").dropna(subset="file")
    array = np.zeros((24, 24, 24), np.float32)
    array[3:5, 19:21, 6:8] = 100
    mask = (array > 0).astype(np.uint8)
    for file in manifest["file"]:
        nib.save(nib.Nifti1Image(array, np.eye(4)), stores["net"] / file)
        nib.save(nib.Nifti1Image(mask, np.eye(4)), stores["net"] / f"mask-{file}")

    def brightest() -> int:
        found = cases(read_inputs(study, out, stores))[0]["svg"]
        code = re.search(r"data:image/jpeg;base64,([^\"]+)", found)[1]
        return int(np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))).max())

    assert brightest() < 60
    roles = {**study.cohort.roles, "mask": next(iter(study.cohort.roles.values())).model_copy(update={"kind": "label"})}
    study = study.model_copy(update={"cohort": study.cohort.model_copy(update={"roles": roles})})
    masks = manifest.assign(role="mask", file="mask-" + manifest["file"])
    pd.concat([manifest, masks]).to_csv(stores["net"] / "manifest.csv", index=False)
    cohort = pd.read_csv(out / "cohort.csv", dtype=str)
    cohort.assign(**{"role:mask": cohort["role:t1c"]}).to_csv(out / "cohort.csv", index=False)
    assert brightest() > 200


def test_the_page_stays_small_with_many_cases(finished, monkeypatch):
    """Forty networks over five targets, noise in every voxel."""
    study, out, stores = finished
    write_volumes(stores, (48, 48, 32))
    inputs = read_inputs(study, out, stores)
    net = inputs.predictions.query("run_id == 'net' and target == 'idh' and split == 'cv'")
    cuts = [t for t in inputs.thresholds if t["run_id"] == "net" and t["target"] == "idh"]
    names = [f"net{n}" for n in range(40)]
    run = study.runs[0]
    runs = [run.model_copy(update={"name": n}) for n in names]
    targets = {f"t{n}": study.targets["idh"] for n in range(2)}
    many = study.model_copy(update={"runs": runs, "targets": targets, "splits": study.splits[:1]})
    table = pd.concat([net.assign(run_id=n, target=t) for n in names for t in targets])
    cuts = [c | {"run_id": n, "target": t} for n in names for t in targets for c in cuts]
    wide = replace(inputs, study=many, predictions=table, thresholds=cuts, stores=dict.fromkeys(names, stores["net"]))
    monkeypatch.setattr("scan2gene.report.page.read_inputs", lambda *_: wide)
    report = make_report(many, out, wide.stores)
    assert 3_000_000 < len(report.html.encode()) < 15_000_000
    assert len([n for n in report.figures if n.startswith("cases-")]) == 80  # all of them lie beside the page
    assert "Left out to keep this page small" in report.html


def test_variants_stand_in_all_metrics_only(finished):
    """Metrics, thresholds and predictions may also hold variants; all else on the page is about the originals."""
    study, out, stores = finished
    before = make_report(study, out, stores)
    for name in ("metrics.csv", "predictions.parquet"):
        read, write = (pd.read_csv, "to_csv") if name.endswith("csv") else (pd.read_parquet, "to_parquet")
        table = read(out / name).assign(variant="original")
        other = table.assign(variant="tta")
        other[[c for c in ("value", "prob") if c in other]] = 0.123
        getattr(pd.concat([table, other]), write)(out / name, index=False)
    cuts = pd.read_json(out / "thresholds.json").to_dict("records")
    write_json(out / "thresholds.json", [c | {"variant": "original"} for c in cuts]
               + [c | {"variant": "tta", "threshold": 0.9} for c in cuts])  # fmt: skip
    after = make_report(study, out, stores)
    assert after.figures == before.figures
    for section in ("answer", "curves", "cohort", "training"):
        parts = [r.html.partition(f'<section id="{section}"')[2].partition("</section>")[0] for r in (before, after)]
        assert parts[0] == parts[1] != ""
    assert "net, tta" in after.html
    assert "net, tta" not in before.html


def test_tables_hide_ids_in_reasons(finished):
    study, out, stores = finished
    inputs = read_inputs(study, out, stores)
    inputs = replace(inputs, metrics=inputs.metrics.assign(reason=f"without {PATIENTS[0]}"))
    page = {
        "answer": {"tables": [], "wholes": []}, "panels": [], "cases": [],
        "metrics": {"tables": [], "folds": [], "names": []},
        "cohort": {"steps": [], "parts": [], "analysed": [], "sites": None, "exclusions": []}, "scans": {"lists": []},
        "acquisition": {"studies": [], "orientations": []}, "training": [], "failures": {"volumes": [], "exams": []},
        "reproduce": {"costs": []}, "plan": {"power": []}, "neighbours": [],
    }  # fmt: skip
    found = {t.name: t.csv for t in tables(inputs, page)}
    assert set(found["metrics"]["reason"]) == {"without [id]"}
