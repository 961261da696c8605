"""A curated cohort as BIDS: names by the specification's rules, voxels and affines as they were."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from scan2gene.cohorts.bids import export_bids, sidecar, subject_labels
from scan2gene.cohorts.curate import curate
from scan2gene.cohorts.draft import draft_study
from scan2gene.core.errors import CohortError, RunError
from scan2gene.core.study_file import load_study
from scan2gene.imaging.index import index, read_volume
from scan2gene.phantom.exams import write_cohort
from scan2gene.stages.pipeline import curated_as_bids, run

# sub-<label>[_ses-<label>][_acq-<label>][_ce-<label>]_<suffix>, folders repeating subject and session
RAW = re.compile(
    r"(?P<sub>sub-[A-Za-z0-9]+)/((?P<ses>ses-[A-Za-z0-9]+)/)?anat/(?P=sub)(?(ses)_(?P=ses))"
    r"(_acq-[A-Za-z0-9]+)?(_ce-[A-Za-z0-9]+)?_(T1w|T2w|PDw|FLAIR)\.(nii\.gz|json)"
)
MASK = re.compile(
    r"derivatives/scan2gene/(?P<sub>sub-\w+?)/anat/(?P=sub)_label-[A-Za-z0-9]+_(mask|dseg)\.(nii\.gz|json)"
)
TOP = {"README", "participants.tsv", "participants.json", "dataset_description.json"}


def names(out) -> list[str]:
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A DICOM cohort of brains, curated and written as BIDS: (cohort.csv, series.csv, BIDS folder)."""
    folder = tmp_path_factory.mktemp("bids")
    write_cohort(folder, 6, 2.0, "brain", ("flair", "t1c"), 2, troubles=True)
    (folder / "study.yaml").write_text(draft_study(folder / "scans", folder / "labels.csv", folder / "study.yaml"))
    out = run(folder / "study.yaml", folder / "run", until="curate")
    made = export_bids(out, folder / "out")
    assert (made.patients, made.volumes, made.failed) == (6, 18, ())
    return folder


def test_every_name_follows_the_rules(exported):
    found = set(names(exported / "out"))
    assert found >= TOP
    rest = found - TOP - {"derivatives/scan2gene/dataset_description.json"}
    assert len(rest) == 6 * 3 * 2
    assert [n for n in rest if not RAW.fullmatch(n) and not MASK.fullmatch(n)] == []
    about = json.loads((exported / "out" / "dataset_description.json").read_text())
    assert about["DatasetType"] == "raw"
    assert about["BIDSVersion"]


def test_voxels_and_affines_come_back_through_index_and_bids(exported):
    series = index(exported / "scans").set_index("series_id")
    cohort = pd.read_csv(exported / "run" / "cohort.csv")
    back = index(exported / "out")
    assert (back["status"] == "ok").all()
    for exam in cohort.itertuples(index=False):
        row = dict(zip(cohort.columns, exam, strict=True))
        label = row["patient_id"].replace("-", "")
        for role, end, kind in (("t1c", "_ce-gadolinium_T1w", "intensity"), ("flair", "_FLAIR", "intensity"),
                                ("mask", "_label-lesion_mask", "label")):  # fmt: skip
            before = read_volume(series.loc[row[f"role:{role}"], "path"], kind)
            path = back["path"][back["path"].str.endswith(f"sub-{label}{end}.nii.gz")].item()
            after = read_volume(path, kind)
            np.testing.assert_array_equal(after.array, before.array)
            np.testing.assert_allclose(after.affine, before.affine, atol=1e-5)  # NIfTI holds it in float32


def test_a_study_drafted_from_the_export_finds_the_same_labels(exported):
    out = exported / "out"
    path = exported / "again.yaml"
    path.write_text(draft_study(out, out / "participants.tsv", path))
    study = load_study(path)
    found = curate(study, index(study.cohort.scans))
    before = pd.read_csv(exported / "run" / "labels.csv").set_index("patient_id")["value"]
    after = found.labels.set_index("patient_id")["value"]
    assert after.to_dict() == {f"sub-{p.replace('-', '')}": v for p, v in before.items()}
    assert found.cohort[["role:flair", "role:t1c", "role:mask"]].notna().all(axis=None)
    assert (
        found.cohort["clinical:age"].tolist() == pd.read_csv(exported / "run" / "cohort.csv")["clinical:age"].tolist()
    )


def test_nothing_in_the_export_tells_a_date_or_a_name(exported):
    texts = [
        p.read_text() for p in (exported / "out").rglob("*") if p.suffix in (".json", ".tsv") or p.name == "README"
    ]
    dates = set(pd.read_csv(exported / "run" / "cohort.csv", dtype=str)["date"])
    assert not any(date in text for date in dates for text in texts)
    assert not any("Phantom" in text or "SYN-0" in text for text in texts)
    ids = pd.read_csv(exported / "run" / "bids_ids.csv")
    assert ids.iloc[0].tolist() == ["SYN-0000", "SYN0000"]


def test_an_existing_folder_is_not_overwritten(exported):
    with pytest.raises(RunError, match="exists and is not overwritten"):
        export_bids(exported / "run", exported / "out")


def test_several_exams_are_sessions_in_order_of_date_and_unknown_labels_are_na(tmp_path):
    rng = np.random.default_rng(0)
    for patient in ("A_1", "B_1", "C_1"):
        for visit in ("v1", "v2") if patient == "A_1" else ("v1",):
            for name in ("t1_ax", "t1_sag", "perf"):
                path = tmp_path / "scans" / patient / visit / f"{name}.nii"
                path.parent.mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(rng.random((4, 4, 4), np.float32), np.eye(4)), path)
    (tmp_path / "labels.csv").write_text("patient_id,idh,egfr\nA_1,1,0\nB_1,0,1\nC_1,,1\n")
    (tmp_path / "study.yaml").write_text(r"""
name: s
question: "?"
cohort:
  scans: [scans]
  labels: labels.csv
  patient_pattern: /([A-Z]_\d)/
  roles:
    t1ax: {match: {path: /t1_ax}}
    t1sag: {match: {path: /t1_sag}}
    perfusion: {match: {path: /perf}}
targets: {idh: {}, egfr: {}}
runs: [{name: a, model: {name: light_cnn}}]
""")
    export_bids(run(tmp_path / "study.yaml", tmp_path / "run", until="curate"), tmp_path / "out")
    volumes = [n for n in names(tmp_path / "out") if n.endswith(".nii.gz")]
    raw = [n for n in volumes if RAW.fullmatch(n)]
    assert raw[:2] == [f"sub-A1/ses-01/anat/sub-A1_ses-01_acq-t1{p}_T1w.nii.gz" for p in ("ax", "sag")]
    assert len(raw) == 8
    assert set(volumes) - set(raw) == {
        f"derivatives/scan2gene/sub-{p}/ses-{s}/anat/sub-{p}_ses-{s}_desc-perfusion_mri.nii.gz"
        for p, s in (("A1", "01"), ("A1", "02"), ("B1", "01"), ("C1", "01"))
    }
    table = (tmp_path / "out" / "participants.tsv").read_text().splitlines()
    assert table == ["participant_id\tidh\tegfr", "sub-A1\t1\t0", "sub-B1\t0\t1", "sub-C1\tn/a\t1"]


def test_with_pseudonyms_every_patient_gets_their_own_voxels_and_no_id(tmp_path):
    rng = np.random.default_rng(0)
    voxels = {f"Mustermann{n}": rng.random((4, 5, 6), np.float32) for n in range(4)}
    for patient, array in voxels.items():
        (tmp_path / "scans" / patient).mkdir(parents=True)
        nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "scans" / patient / "t1.nii")
    table = "".join(f"{patient},{n % 2}\n" for n, patient in enumerate(voxels))
    (tmp_path / "labels.csv").write_text(f"patient_id,idh\n{table}")
    (tmp_path / "study.yaml").write_text(r"""
name: s
question: "?"
cohort:
  scans: [scans]
  labels: labels.csv
  patient_pattern: /(\w+)/
  pseudonyms: private/key.csv
  roles: {t1: {match: {path: t1}}}
targets: {idh: {}}
runs: [{name: a, model: {name: light_cnn}}]
""")
    made = curated_as_bids(tmp_path / "study.yaml", tmp_path / "out", tmp_path / "run")
    assert (made.volumes, made.failed) == (4, ())
    for patient, shown in pd.read_csv(tmp_path / "private" / "key.csv").itertuples(index=False):
        label = f"sub-{shown.replace('-', '')}"
        written = nib.load(tmp_path / "out" / label / "anat" / f"{label}_T1w.nii.gz")
        np.testing.assert_array_equal(written.get_fdata(dtype=np.float32), voxels[patient])
        assert (written.header["descrip"], written.header["db_name"]) == (b"", b"")
    assert "mustermann" not in " ".join(names(tmp_path / "out")).lower()
    texts = [p.read_text() for p in (tmp_path / "out").rglob("*") if p.suffix in (".json", ".tsv", "") and p.is_file()]
    assert not any("mustermann" in text.lower() for text in texts)
    with pytest.raises(RunError, match=r"no paths\. Name its study file"):  # the run directory alone leads to no scan
        export_bids(tmp_path / "run", tmp_path / "again")


def test_two_patients_with_one_label_are_refused():
    with pytest.raises(CohortError, match=r"'P-1' and 'P_1' would both be sub-P1"):
        subject_labels(pd.Series(["P-1", "P_1"]))
    assert subject_labels(pd.Series(["sub-01", "P-2"])) == {"sub-01": "01", "P-2": "P2"}


def test_the_sidecar_is_in_the_units_of_bids():
    row = {"RepetitionTime": "500", "EchoTime": "9.5", "FlipAngle": "15", "MagneticFieldStrength": "1.5",
           "ImageType": "ORIGINAL\\PRIMARY", "Manufacturer": "SIEMENS", "InversionTime": "",
           "SliceThickness": "n/a"}  # fmt: skip
    assert sidecar(row) == {
        "RepetitionTime": 0.5,
        "EchoTime": 0.0095,
        "FlipAngle": 15.0,
        "MagneticFieldStrength": 1.5,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Manufacturer": "SIEMENS",
    }
