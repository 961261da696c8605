"""One fit at a time, each in a process of its own: the same run as in one go."""

from __future__ import annotations

import os
import subprocess
import sys

import pandas as pd
import pytest

import scan2gene
from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.rundir import RunDirectory
from scan2gene.stages.pipeline import fit_once
from tests.integration.road import nifti_study

CHANGES = ("splits=[{name: cv, kind: kfold, folds: 2}]", "train.epochs=1", "explain.exams=0", "evaluate.bootstrap=100")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    study = nifti_study(folder, 12)
    scan2gene.run(study, folder / "apart", until="preprocess", changes=CHANGES)
    return study, folder


def test_fits_done_apart_are_those_of_one_run(prepared):
    study, folder = prepared
    whole = scan2gene.run(study, folder / "whole", until="predict", changes=CHANGES)
    apart = folder / "apart"
    runs = [run.name for run in RunDirectory(apart).study().runs]
    words = [sys.executable, "-m", "scan2gene.cli", "fit", str(apart), runs[0], "cv/1"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ, timeout=300)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "trained", done.stdout + done.stderr
    assert not fit_once(apart, runs[0], "cv-r0-f1")
    assert [fit_once(apart, run, f"cv/{fold}") for run in runs for fold in (0, 1)].count(False) == 1
    stamps = {p.name: p.read_bytes() for p in (apart / "stages").glob("train__*")}
    scan2gene.run(study, apart, until="predict", changes=CHANGES)
    assert {p.name: p.read_bytes() for p in (apart / "stages").glob("train__*")} == stamps  # nothing was trained anew
    tables = [pd.read_parquet(out / "predictions.parquet") for out in (apart, whole)]
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_what_cannot_be_fitted_is_said(prepared, tmp_path):
    _, folder = prepared
    run = RunDirectory(folder / "apart").study().runs[0].name
    with pytest.raises(StudyError, match=run):
        fit_once(folder / "apart", run[:-1], "cv/0")
    with pytest.raises(StudyError, match="cv/1"):
        fit_once(folder / "apart", run, "cv/2")
    with pytest.raises(RunError, match="no run directory"):
        fit_once(tmp_path, run, "cv/0")
    with RunDirectory(folder / "apart").exclusive(), pytest.raises(RunError, match="another run"):
        fit_once(folder / "apart", run, "cv/0")
