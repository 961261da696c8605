"""The contact sheet of a study: what it shows, and that what is set aside on it is left out by curation."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.commands.qc import qc
from scan2gene.core.errors import RunError
from tests.integration.road import edit, nifti_study, shell


def data(page: Path) -> dict:
    html = page.read_text()
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


@pytest.fixture
def study(tmp_path) -> Path:
    return nifti_study(tmp_path)


def exclude(study: Path, text: str) -> None:
    (study.parent / "exclude.csv").write_text("patient_id,series_id,reason\n" + text)
    edit(study, cohort=yaml.safe_load(study.read_text())["cohort"] | {"exclude_file": "exclude.csv"})


def test_before_anything_is_prepared(study, tmp_path, monkeypatch, capsys):
    bad = tmp_path / "scans" / "P003" / "t1.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((12, 12, 3), np.float32), np.diag([1, 1, 9, 1])), bad)
    page = tmp_path / "sheet.html"
    assert shell(monkeypatch, "qc", study, "--run", tmp_path / "run", "-o", page) == ""
    assert "1 empty, 1 few slices, 1 odd spacing" in capsys.readouterr().out
    exams = data(page)["exams"]
    assert len(exams) == 24
    assert [e["flags"] for e in exams if e["flags"]] == [["empty", "few slices", "odd spacing"]]
    assert not (tmp_path / "run" / "cohort.csv").exists()  # looking is not deciding


def test_a_mask_is_called_by_its_file_and_no_other_sequence(study, tmp_path):
    for n in range(24):
        mask = np.zeros((12, 12, 10), np.uint8)
        mask[4:8, 4:8, 4:8] = 1
        nib.save(nib.Nifti1Image(mask, np.eye(4)), tmp_path / "scans" / f"P{n:03d}" / "mask.nii.gz")
    cohort = yaml.safe_load(study.read_text())["cohort"]
    edit(study, cohort=cohort | {"roles": cohort["roles"] | {"mask": {"match": {"path": "/mask"}, "kind": "label"}}})
    html = qc(study, out=tmp_path / "run")[0].read_text()
    assert html.count("<b>mask</b> mask.nii.gz") == 24


def test_what_is_set_aside_is_left_out_and_not_replaced(study, tmp_path):
    second = tmp_path / "scans" / "P005" / "t1_again.nii.gz"
    second.write_bytes((tmp_path / "scans" / "P005" / "t1.nii.gz").read_bytes())
    page, _ = qc(study, out=tmp_path / "run")
    shown = next(e for e in data(page)["exams"] if any("P005" in s for s in e["series"]))
    assert len(shown["series"]) == 2
    exclude(study, f",{shown['series'][0]},motion\n")  # one series alone: the other takes its place
    cohort = pd.read_csv(scan2gene.run(study, tmp_path / "one", until="curate") / "cohort.csv")
    assert "P005" in set(cohort["patient_id"])
    exclude(study, "".join(f",{s},motion\n" for s in shown["series"]))  # as the page writes it
    out = scan2gene.run(study, tmp_path / "two", until="curate")
    assert set(pd.read_csv(out / "cohort.csv")["patient_id"]) == {f"P{n:03d}" for n in range(24)} - {"P005"}
    assert (pd.read_csv(out / "exclusions.csv")["reason"] == "exclude file: motion").sum() == 2


def test_a_cohort_that_is_split_can_still_be_looked_at(study, tmp_path):
    out = scan2gene.run(study, tmp_path / "run", until="split", changes=["splits=[{name: cv, kind: kfold, folds: 3}]"])
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    exclude(study, "P003,,blurred\n")
    assert len(data(qc(study, tmp_path / "sheet.html", out=out)[0])["exams"]) == 24
    assert {p: p.read_bytes() for p in before} == before
    with pytest.raises(RunError, match=r"made with other settings .cohort.*Give another run directory"):
        scan2gene.run(study, out, until="split")


def test_exams_set_aside_before_are_shown_as_such(study, tmp_path):
    exclude(study, "P002,,wrong sequence\nP999,,moved away\n")
    page, _ = qc(study, out=tmp_path / "run")
    found = data(page)
    assert len(found["exams"]) == 24
    rows = {row["patient_id"]: row for row in found["rows"]}
    (number,) = rows["P002"]["exams"]
    assert all("P002" in s for s in found["exams"][number]["series"])
    assert rows["P999"]["exams"] == []  # kept in the file that the page writes


def test_a_run_directory_and_its_prepared_volumes(study, tmp_path):
    out = scan2gene.run(study, tmp_path / "run", until="preprocess")
    page, _ = qc(out)
    assert page == out / "qc.html" and "12 × 12 × 10 voxels" in page.read_text()
    page, counts = qc(out, prepared=True)
    assert page == out / "qc-prepared.html" and "8 × 8 × 8 voxels" in page.read_text()
    assert sum(counts.values()) == 0


def test_what_cannot_be_shown_is_said(study, tmp_path):
    with pytest.raises(RunError, match="holds no study"):
        qc(tmp_path)
    out = scan2gene.run(study, tmp_path / "run", until="curate")
    with pytest.raises(RunError, match="nothing is prepared"):
        qc(out, prepared=True)


def test_no_network_library_is_needed(study, tmp_path):
    code = "import sys; from pathlib import Path; from scan2gene.commands.qc import qc; "
    code += f"qc(Path({str(study)!r}), out=Path({str(tmp_path / 'run')!r})); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
