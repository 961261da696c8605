"""What is done stays done until a version says otherwise: keys hash versions and options, never source text."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import scan2gene
from scan2gene.core.errors import RunError
from scan2gene.stages.job import VERSIONS
from scan2gene.stages.pipeline import dry_run
from tests.integration.road import nifti_study, shell

pytestmark = pytest.mark.usefixtures("no_pictures")
DONE = ("index", "curate", "plan", "split", "preprocess", "features", "train", "predict", "evaluate")
AGAIN = """
import sys
import scan2gene
from scan2gene.stages.pipeline import dry_run

study, out, scans, new = sys.argv[1:]
print(scan2gene.__file__)
print(*[stage for stage, what in dry_run(study, out).items() if what == "done"])
print(*scan2gene.apply(out, scans, new, force=True).summary["status"])
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    recipe = [{"name": "zscore"}]  # no step whose kernels a copy of the package would compile again
    return nifti_study(tmp_path_factory.mktemp("cohort"), 16, train={"epochs": 1}, preprocess=recipe)


@pytest.fixture(scope="module")
def out(study) -> Path:
    return scan2gene.run(study, study.parent / "run", until="evaluate")


@pytest.fixture
def copied(out, tmp_path) -> Path:
    return shutil.copytree(out, tmp_path / "run")


def keys(out: Path) -> dict[str, str]:
    return {s["stage"]: s["key"] for s in (json.loads(p.read_text()) for p in (out / "stages").glob("*.json"))}


def test_a_comment_in_every_file_undoes_nothing(study, out, tmp_path):
    package = shutil.copytree(Path(scan2gene.__file__).parent, tmp_path / "src" / "scan2gene")
    for path in package.rglob("*.py"):
        path.write_text(path.read_text() + "# a remark\n")
    words = [sys.executable, "-c", AGAIN, study, out, study.parent / "scans" / "P001", tmp_path / "new"]
    said = subprocess.run(words, env=os.environ | {"PYTHONPATH": str(tmp_path / "src")}, capture_output=True, text=True)
    lines = [line for line in said.stdout.splitlines() if not line.startswith("exams")]
    assert lines == [str(package / "__init__.py"), " ".join(DONE), "ok"], said.stderr
    assert [p.name for p in (tmp_path / "new" / "store").iterdir()] == [p.name for p in (out / "store").iterdir()]


@pytest.mark.parametrize("stage", [stage for stage in DONE if stage != "features"])  # the study has none
def test_a_stage_of_another_version_is_done_again(study, out, monkeypatch, stage):
    monkeypatch.setitem(VERSIONS, stage, 99)
    if stage == "split":
        with pytest.raises(RunError, match=r"split\.csv was made for another .* or by another version"):
            dry_run(study, out)
        return
    assert [s for s, what in dry_run(study, out).items() if what == "done"] == list(DONE[: DONE.index(stage)])


def test_what_reads_a_stage_of_another_version_is_done_again_too(study, copied, monkeypatch):
    before = keys(copied)
    monkeypatch.setitem(VERSIONS, "train", 99)
    scan2gene.run(study, copied, until="evaluate")
    fit = "light/holdout-r0-f0"
    # the predictions come out as they were, so evaluation has nothing to do
    changed = {stage for stage, key in keys(copied).items() if key != before[stage]}
    assert changed == {f"train/{fit}", f"predict/{fit}", f"variants/{fit}", "predict"}


def test_a_step_of_another_version_renames_the_store(study, out, monkeypatch, tmp_path):
    monkeypatch.setattr(sys.modules["scan2gene.preprocess.zscore"], "VERSION", 99)  # the package has the function
    assert dry_run(study, out)["preprocess"] == "to do"
    with pytest.raises(RunError, match="no prepared exams by this version's steps"):
        scan2gene.apply(out, study.parent / "scans" / "P001", tmp_path)


def test_a_model_of_another_version_is_trained_again_and_not_applied(study, out, monkeypatch, tmp_path):
    monkeypatch.setattr("scan2gene.models.alexnet2d.VERSION", 99)
    assert dry_run(study, out)["train"] == "done"
    monkeypatch.setattr("scan2gene.models.light_cnn.VERSION", 99)
    assert dry_run(study, out)["train"] == "to do"
    with pytest.raises(RunError, match="trained with another version of its model"):
        scan2gene.apply(out, study.parent / "scans" / "P001", tmp_path)


def test_no_verb_uses_a_run_directory_of_another_format(study, copied, monkeypatch, tmp_path):
    (copied / "format.json").unlink()  # as 0.1 left it
    before = {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()}
    for words in (
        *((verb, study, "-o", copied) for verb in ("run", "curate", "explain", "report", "search", "plan")),
        ("run", study, "-o", copied, "--dry-run"), ("run", study, "-o", copied, "--resume"), ("audit", copied),
        ("qc", copied), ("qc", study, "--run", copied), ("store", "verify", copied),
        ("compare", copied, "-o", tmp_path / "compared"), ("external", copied, study, "-o", tmp_path / "external"),
        ("apply", copied, study.parent / "scans", "-o", tmp_path / "applied"),
    ):  # fmt: skip
        said = shell(monkeypatch, *words)
        assert said.startswith(f"error: {copied} was made by another version of scan2gene"), words
        assert "Repeat the run in a new directory: scan2gene run STUDY -o NEW." in said
        assert said.count("\n") == 0
    assert {p: p.read_bytes() for p in copied.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
