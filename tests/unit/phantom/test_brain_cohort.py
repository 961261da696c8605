"""The synthetic brain cohort: its layout, its troubles, its tables, and how much its images tell."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from scan2gene.cohorts.curate import curate
from scan2gene.core.study import Study
from scan2gene.imaging.index import index, read_volume
from scan2gene.phantom.brain_exams import MAF, NO_LABELS, NO_SCANS, RAW, SEQUENCED, SERIES, WIDE, write_brain_cohort
from scan2gene.phantom.exams import points_of
from scan2gene.phantom.heads import core_share, head_signal
from scan2gene.phantom.patients import best_auroc, draw_patients
from scan2gene.recipes import recipe_text

FEW = (("t1", "axial"), ("t1c", "axial"), ("t1c", "coronal"), ("flair", "axial"), ("t2", "sagittal"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("brains")
    patients = write_brain_cohort(folder, 6, 2.0, 4, series=FEW)
    return folder, patients, index([folder / RAW])


def study(folder, **cohort) -> Study:
    value = yaml.safe_load(recipe_text("gbm-mutations"))
    value["cohort"] |= {"scans": [str(folder / RAW)], "labels": str(folder / WIDE)} | cohort
    return Study.model_validate(value)


def test_the_layout_is_the_documented_one(cohort):
    folder, patients, _ = cohort
    files = [p.relative_to(folder / RAW).parts for p in (folder / RAW).rglob("*.dcm")]
    assert {len(parts) for parts in files} == {4}  # patient/session/series/file
    assert {parts[0] for parts in files} == {p.patient_id for p in patients} | {NO_LABELS}
    assert {parts[1] for parts in files} == {"session_1", "session_2"}
    assert all(parts[2].startswith("series_") for parts in files)
    assert {p.suffix for p in (folder / RAW).rglob("*") if p.is_file()} == {".dcm"}


def test_sequences_and_planes_are_recognised(cohort):
    _, patients, series = cohort
    sessions = len(patients) + 2  # one without labels, one second session
    good = series[(series["status"] == "ok") & (series["sequence"] != "other")]
    counts = good.groupby(["sequence", "plane"]).size().to_dict()
    wanted = {("T1", "axial"), ("T1c", "axial"), ("T1c", "coronal"), ("FLAIR", "axial"), ("T2", "sagittal")}
    expected = dict.fromkeys(wanted, sessions)
    expected["FLAIR", "axial"] += 1  # acquired twice
    expected["T2", "axial"] = counts.get(("T2", "axial"), 0)
    assert {k: v for k, v in expected.items() if v} == counts
    assert set(good["shape"]) == {"80x80x22"}


def test_every_trouble_is_seen_by_the_index(cohort):
    _, _, series = cohort
    bad = series[series["status"] != "ok"]
    assert len(bad) == 1
    assert bad["reason"].iloc[0] == "only 2 slices; a volume needs at least 3"
    other = series[(series["sequence"] == "other") & (series["status"] == "ok")]["SeriesDescription"].tolist()
    assert sorted(other) == ["3-PLANE LOC", "WIP 17"]
    assert (series["n_copies"].astype(int) > 0).sum() == 1  # the same files in two folders count once


def test_the_recipe_curates_it_and_tells_all_that_is_left_out(cohort):
    folder, patients, series = cohort
    found = curate(study(folder), series)
    assert found.cohort["patient_id"].tolist() == [p.patient_id for p in patients]
    assert set(found.cohort["date"]) == {"20100315"}  # the first session
    out = found.exclusions
    assert (out["patient_id"] == NO_LABELS).any()
    assert (out["patient_id"] == NO_SCANS).any()
    assert out["reason"].str.contains("not taken as flair_axial").sum() == 1
    assert out["reason"].str.contains("plays no role").sum() >= 1
    truth = {p.patient_id: p.label for p in patients}
    idh = found.labels[found.labels["target"] == "IDH"].set_index("patient_id")["value"]
    assert idh.astype(int).to_dict() == truth
    assert len(curate(study(folder, exams="all"), series).cohort) == len(patients) + 1


def test_maf_and_wide_table_say_the_same(cohort):
    folder, _, series = cohort
    genes = {"IDH": {"genes": ["IDH1", "IDH2"]}, **{g: {"genes": [g]} for g in ("TP53", "PTEN", "EGFR")}}
    value = study(folder).model_dump()
    value["targets"] = {t: {**rule, "column": t} for t, rule in genes.items()}  # both, and they must agree
    value["cohort"] |= {"mutations": str(folder / MAF), "sequenced": str(folder / SEQUENCED)}
    both = curate(Study.model_validate(value), series).labels
    table = curate(study(folder), series).labels
    keys = ["patient_id", "target", "value"]
    pd.testing.assert_frame_equal(
        both[keys].sort_values(keys, ignore_index=True), table[keys].sort_values(keys, ignore_index=True)
    )
    with (folder / WIDE).open() as stream:
        assert {row["IDH"] for row in csv.DictReader(stream)} == {"MUTATED", "NOT_MUTATED"}


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    def digest(folder):
        write_brain_cohort(folder, 1, 2.0, 7, troubles=False, series=FEW[:1])
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return [(str(p.relative_to(folder)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]

    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def read_core(values: np.ndarray) -> float:
    """Share of the tumour's voxels that are nearer to its darkest than to its brightest, as a share of its radius."""
    return float((values < (values.min() + values.max()) / 2).mean() ** (1 / 3))


def test_a_reader_who_knows_where_the_tumour_is_finds_the_core(cohort):
    _, patients, series = cohort
    for name in ("AXI T1 POST GD", "COR T1 POST GD", "AXI FLAIR"):
        rows = series[(series["SeriesDescription"] == name) & (series["StudyDate"] == "20100315")]
        rows = rows.drop_duplicates("patient_id").set_index("patient_id")["path"]
        found, true = [], []
        for patient in patients:
            volume = read_volume(rows[patient.patient_id])
            places = points_of(volume.shape, volume.affine)
            distance = np.linalg.norm(places - np.asarray(patient.centre_mm), axis=-1)
            found.append(read_core(volume.array[distance < patient.radius_mm - 1].astype(float)))
            true.append(core_share(patient))
        assert np.corrcoef(found, true)[0, 1] > 0.9, name


def test_the_core_tells_the_label_as_well_as_can_be_and_the_null_cohort_nothing():
    for effect in (2.0, 0.0):
        drawn = draw_patients(600, effect, "brain", 11, prevalence=0.45)
        auroc = roc_auc_score([p.label for p in drawn], [core_share(p) for p in drawn])
        assert auroc == pytest.approx(best_auroc(effect), abs=0.04)


def test_only_the_core_differs_between_two_patients_who_are_else_alike():
    patient = draw_patients(1, 2.0, "brain", 3)[0]
    axis = np.arange(-100, 100, 4, dtype=np.float32)
    places = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    low, high = (head_signal(replace(patient, stripe_degrees=d), places, "t1c") for d in (0.0, 90.0))
    distance = np.linalg.norm(places - np.asarray(patient.centre_mm, np.float32), axis=-1)
    np.testing.assert_array_equal(low[distance > patient.radius_mm], high[distance > patient.radius_mm])
    shell = (distance > 0.35 * patient.radius_mm) & (distance < 0.75 * patient.radius_mm)
    assert low[shell].mean() > high[shell].mean() + 0.4


def test_the_default_has_every_sequence_in_axial_and_all_planes():
    assert {s for s, plane in SERIES if plane == "axial"} == {"t1", "t1c", "t2", "flair"}
    assert {plane for _, plane in SERIES} == {"axial", "coronal", "sagittal"}
