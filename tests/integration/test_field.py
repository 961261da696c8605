"""Inputs as users of other tools reported them (the scripts of shared/field): the right value, or a clear refusal."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.cohorts.draft import draft
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.tables import read_csv

FIELD = Path(__file__).resolve().parents[3] / "shared" / "field"


@pytest.fixture
def field(tmp_path, monkeypatch, shared_data):
    """Runs the script of a number; returns the folder that it wrote."""

    def write(number: str) -> Path:
        (script,) = FIELD.glob(f"{number}_*.py")
        folder = tmp_path / number
        monkeypatch.setattr(sys, "argv", [str(script), str(folder)])
        monkeypatch.syspath_prepend(str(FIELD))
        runpy.run_path(str(script), run_name="__main__")
        return folder

    return write


def drafted(folder: Path, number: int) -> Path:
    """The study that `scan2gene new` drafts from the scans and one of the tables."""
    study = folder / f"s{number}.yaml"
    study.write_text(draft(folder / "scans", folder / f"l{number}.csv", study)[0], encoding="utf-8")
    return study


def curated(folder: Path, study: str = "study.yaml") -> Path:
    return scan2gene.run(folder / study, folder / "run", until="curate")


def test_01_units_of_a_nifti_header_are_obeyed(field):
    folder = field("01")
    table = scan2gene.index(folder / "scans")
    assert len(table) == 8
    assert (
        table[["spacing_i_mm", "spacing_j_mm", "spacing_k_mm"]]
        .astype(float)
        .round(3)
        .eq([1.5, 1.5, 3.0])
        .all(axis=None)
    )
    out = scan2gene.run(folder / "study.yaml", folder / "run", until="preprocess")
    manifest = read_csv(next(out.glob("store/*/manifest.csv")))
    assert (manifest["status"] == "ok").all()
    assert manifest["spacing_mm"].str.split("x").explode().astype(float).between(1.2, 4).all()


def test_02_rows_of_a_merged_cell_belong_to_its_patient(field):
    with pytest.raises(Scan2GeneError, match="P00"):
        curated(field("02"))


def test_03_two_series_under_one_identifier_keep_their_headers(field):
    folder = field("03")
    table = scan2gene.index(folder / "scans")
    rows = table[table["status"] == "ok"].groupby("SeriesDescription")
    assert {name: set(part["shape"]) for name, part in rows} == {"T1 axial": {"24x24x8"}, "FLAIR axial": {"24x24x10"}}
    assert {name: len(part) for name, part in rows} == {"T1 axial": 6, "FLAIR axial": 6}
    roles = read_csv(curated(folder) / "cohort.csv")
    chosen = table.set_index("series_id").loc[roles["role:t1"], "shape"]
    assert len(roles) == 6 and set(chosen) == {"24x24x8"}


def test_04_a_thousands_comma_is_no_decimal_point(field):
    folder = field("04")
    try:
        cohort = read_csv(curated(folder) / "cohort.csv").set_index("patient_id")
    except Scan2GeneError as error:
        assert "psa" in str(error) and "1,200" in str(error)
    else:
        values = pd.to_numeric(cohort["clinical:psa"])
        assert values.sort_index().tolist() == [950, 1200, 870, 2150, 990, 1010, 640, 12500, 700, 999, 1001, 88]


def test_05_long_codes_are_compared_whole(field):
    with pytest.raises(Scan2GeneError, match="1149757003"):
        curated(field("05"))


def test_06_a_mask_that_is_not_whole_is_kept_or_refused(field):
    path = field("06") / "mask.nii.gz"
    try:
        mask = scan2gene.read_volume(path, "label").array
    except Scan2GeneError as error:
        assert "whole" in str(error)
    else:
        assert int((mask > 0).sum()) == 27


def test_07_a_stack_whose_end_is_cut_off_is_rejected(field):
    folder = field("07")
    table = scan2gene.index(folder / "scans")
    rejected = table[table["status"] == "rejected"]
    assert set(rejected["patient_id"]) == {"000"} and rejected["reason"].str.contains("4").all()
    assert set(read_csv(curated(folder) / "cohort.csv")["patient_id"]) == {f"00{k}" for k in range(1, 6)}


def test_08_two_persons_of_one_id_are_never_merged_in_silence(field, capsys):
    folder = field("08")
    capsys.readouterr()  # of the script
    try:
        out = curated(folder)
    except Scan2GeneError as error:
        assert "PatientSex" in str(error)
    else:
        said = capsys.readouterr().out + (out / "exclusions.csv").read_text(encoding="utf-8")
        assert "PatientSex" in said and "000" in said


@pytest.mark.parametrize(("number", "column"), list(enumerate(("on", "NO", "null", "2020"))))
def test_09_a_column_that_yaml_reads_otherwise_is_drafted_and_curates(field, number, column):
    folder = field("09")
    study = drafted(folder, number)
    cohort = read_csv(curated(folder, study.name) / "cohort.csv")
    assert len(cohort) == 12 and column in yaml.safe_load(study.read_text(encoding="utf-8"))["targets"]


@pytest.mark.parametrize(("number", "positive"), list(enumerate(("ja", "+"))))
def test_10_the_negative_word_never_becomes_positive(field, number, positive):
    folder = field("10")
    study = drafted(folder, number)
    target = yaml.safe_load(study.read_text(encoding="utf-8"))["targets"]["idh"]
    assert target["positive"] == [positive]


def test_11_ids_that_look_alike_are_joined_or_told_apart(field):
    try:
        assert len(read_csv(curated(field("11")) / "cohort.csv")) == 12
    except Scan2GeneError as error:
        assert "accent" in str(error)


def test_12_zeros_that_some_ids_lost_are_said_on_the_console(field, capsys):
    folder = field("12")
    capsys.readouterr()  # of the script
    curated(folder)
    said = capsys.readouterr().out
    assert "8" in said and "zeros" in said


def test_13_masks_in_another_format_are_read(field):
    folder = field("13")
    cohort = read_csv(curated(folder) / "cohort.csv")
    assert len(cohort) == 6 and cohort["role:mask"].notna().all()
    mask = scan2gene.read_volume(folder / "scans" / "000" / "lesion.seg.nrrd", "label")
    assert int(mask.array.sum()) == 3 * 4 * 4


def test_14_files_are_read_or_rejected_for_their_own_reason(field):
    table = scan2gene.index(field("14"))
    assert not table["reason"].fillna("").str.contains("damaged|password").any()
    reasons = {
        Path(str(p).split("#")[0]).name: r for p, r in zip(table["path"], table["reason"].fillna(""), strict=True)
    }
    assert reasons["Mixed.Nii"] == ""
    for name, words in (("annex.nii.gz", "annex"), ("lfs.nii", "lfs"), ("t1.nii", "deflate64")):
        assert words in reasons[name].lower()
    for name in ("plain.nii.gz", "zipped.nii"):
        assert reasons[name] == "" or "gzip" in reasons[name]


def test_16_rounded_positions_are_a_regular_stack(field):
    table = scan2gene.index(field("16"))
    assert table["status"].tolist() == ["ok"] and table["shape"].tolist() == ["24x24x12"]
    assert float(table["spacing_k_mm"].iloc[0]) == pytest.approx(10 / 3, abs=0.02)


def test_17_a_fast_epi_is_no_t1(field):
    assert scan2gene.index(field("17"))["sequence"].tolist() == ["other"]


def test_18_one_wrong_spacing_neither_decides_the_grid_nor_fills_the_memory(field):
    folder = field("18")
    command = f"ulimit -v 7000000; exec '{sys.executable}' -m scan2gene.cli preprocess study.yaml -o run"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = read_csv(next((folder / "run").glob("store/*/manifest.csv")))
    ok = manifest[manifest["status"] == "ok"]
    assert len(ok) == 23 and "000" not in set(ok["patient_id"])
    assert np.all(ok["spacing_mm"].str.split("x").explode().astype(float) < 10)
