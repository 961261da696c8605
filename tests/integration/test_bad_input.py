"""Bad input gives one clear message, or a row with its reason; never a traceback."""

from __future__ import annotations

import gzip
import io
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

import scan2gene
from scan2gene.cohorts.guess_roles import guess_roles
from tests.integration.road import edit, nifti_study, shell


def test_bad_exams_are_set_aside_and_the_cohort_goes_on(tmp_path):
    study = nifti_study(tmp_path, 30)
    scans = tmp_path / "scans"
    whole = gzip.decompress((scans / "P001" / "t1.nii.gz").read_bytes())
    (scans / "P001" / "t1.nii.gz").unlink()
    (scans / "P001" / "t1.nii").write_bytes(whole[: len(whole) // 2])
    nib.save(nib.Nifti1Image(np.full((12, 12, 10), 7.0, np.float32), np.eye(4)), scans / "P002" / "t1.nii.gz")
    (scans / "P003" / "t1.dcm").write_text("no scan at all")
    (scans / "P004" / "t1.nii.gz").write_bytes(b"")
    labels = pd.read_csv(tmp_path / "labels.csv")
    labels.loc[len(labels)] = ["P777", 1, 50]
    labels.to_csv(tmp_path / "labels.csv", index=False)
    out = scan2gene.run(study, tmp_path / "run")
    left = pd.read_csv(out / "exclusions.csv", keep_default_na=False)
    assert left["reason"].str.contains("not a readable NIfTI").sum() == 1
    assert left["reason"].str.contains("an empty file").sum() == 1
    assert left["reason"].str.contains("not a readable DICOM").sum() == 1
    assert left.loc[left["patient_id"] == "P777", "reason"].tolist() == ["labelled patient without a usable scan"]
    table = pd.read_parquet(out / "predictions.parquet").set_index("patient_id")
    assert table.loc["P002", "status"] == "failed"
    assert "every voxel has the same value" in table.loc["P002", "reason"]
    assert set(table.index) == {f"P{n:03d}" for n in range(30)} - {"P001", "P004"}
    assert (table.drop("P002")["status"] == "ok").all()


def test_contradicting_labels_are_all_listed(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    with (tmp_path / "labels.csv").open("a") as stream:
        stream.write("P001,0,41\nP006,1,46\nP002,0,42\n")
    message = shell(monkeypatch, "curate", study, "-o", tmp_path / "run")
    assert message.startswith("error: ")
    assert "patient P001 has gene=1 at labels.csv:3 and gene=0 at labels.csv:26" in message
    assert "patient P006" in message
    assert "P002" not in message  # said twice, but the same


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 3}, ["epochs: unknown key", "valid:"]),
        ({"train": {"epoch": 3}}, ["train.epoch: unknown key", "Did you mean 'epochs'?"]),
        ({"train": {"epochs": 0}}, ["train.epochs", "takes 1 or more"]),
        ({"runs": [{"name": "a", "model": {"name": "resnet11"}}]}, ["resnet11", "Did you mean 'resnet1"]),
        ({"runs": [{"name": "a", "model": {"name": "resnet10", "options": {"dept": 3}}}]}, ["option 'dept'"]),
        ({"preprocess": [{"name": "zscor"}]}, ["'zscor' is not known", "Did you mean 'zscore'?"]),
        ({"preprocess": [{"name": "resample", "options": {"mm": 1}}]}, ["option 'mm'", "spacing_mm"]),
        ({"preprocess": [{"name": "resize"}]}, ["resize needs the option 'shape'"]),
        ({"targets": {"gene": {"positive": [1], "negative": [2]}}}, ["neither positive", "'0' in 12 rows"]),
        ({"targets": {"gene": {"positive": [0, 1], "negative": [7]}}}, ["0 negative patients"]),
        ({"targets": {"tp53": {}}}, ["column 'tp53' is not known", "gene"]),
    ],
)  # fmt: skip
def test_a_wrong_study_file_is_explained(changes, said, tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    edit(study, **changes)
    message = shell(monkeypatch, "run", study, "-o", tmp_path / "run")
    assert message.startswith("error: ")
    assert "Traceback" not in message
    for part in said:
        assert part in message


def test_an_error_names_file_and_line(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    text = study.read_text().replace("epochs: 2", "epochs: 2\n  patients: 3")
    study.write_text(text)
    line = text.splitlines().index("  patients: 3") + 1
    assert f"study.yaml:{line}: train.patients: unknown key" in shell(monkeypatch, "run", study)


@pytest.mark.parametrize("text", ["", "a: [1", "- 1\n- 2\n", "name: x\nname: y\n", "\xff\xfe"])
def test_what_is_no_study_is_refused(text, tmp_path, monkeypatch):
    path = tmp_path / "study.yaml"
    path.write_bytes(text.encode("latin-1"))
    assert shell(monkeypatch, "run", path).startswith("error: ")


def test_missing_files_are_named(tmp_path, monkeypatch):
    assert "there is no study file" in shell(monkeypatch, "run", tmp_path / "nothing.yaml")
    assert "there is no folder or file" in shell(monkeypatch, "index", tmp_path / "nothing")
    study = nifti_study(tmp_path)
    (tmp_path / "labels.csv").unlink()
    assert "there is no label table" in shell(monkeypatch, "run", study, "-o", tmp_path / "run")


def test_a_split_is_never_changed_silently(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    assert shell(monkeypatch, "split", study, "-o", tmp_path / "run") == ""
    edit(study, seed=7)
    message = shell(monkeypatch, "split", study, "-o", tmp_path / "run")
    assert "never changed silently" in message
    assert "-o" in message


def test_patients_may_share_one_folder(tmp_path):
    runs = [
        {"name": "light", "model": {"name": "light_cnn"}},
        {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
    ]
    study = nifti_study(tmp_path, runs=runs)
    own = pd.read_parquet(scan2gene.run(study, tmp_path / "own", until="predict") / "predictions.parquet")
    for path in sorted((tmp_path / "scans").glob("*/t1.nii.gz")):
        path.rename(tmp_path / "scans" / f"{path.parent.name}_t1.nii.gz")
    flat = pd.read_parquet(scan2gene.run(study, tmp_path / "flat", until="predict") / "predictions.parquet")
    assert (flat["status"] == "ok").all()
    assert flat["exam_id"].nunique() == 24
    keys = ["run_id", "patient_id", "part"]
    pd.testing.assert_frame_equal(own[[*keys, "prob"]], flat[[*keys, "prob"]])


def test_an_excluded_id_that_matches_nothing_is_recorded(tmp_path):
    study = nifti_study(tmp_path)
    cohort = yaml.safe_load(study.read_text())["cohort"] | {"exclude_file": "exclude.csv"}
    edit(study, cohort=cohort)
    (tmp_path / "exclude.csv").write_text("patient_id;reason\n P003 ;moved\nP999;typing error\n")
    out = scan2gene.run(study, tmp_path / "run", until="curate")
    left = pd.read_csv(out / "exclusions.csv").set_index("patient_id")["reason"]
    assert left["P003"] == "exclude file: moved"
    assert left["P999"] == "in the exclude file, but nothing has this id"
    assert "P003" not in set(pd.read_csv(out / "cohort.csv")["patient_id"])


@pytest.mark.parametrize(("cell", "said"), [("old", "'old' of 1 patient"), ("50 m", "'50 m' of 1 patient")])
def test_a_clinical_cell_that_is_no_number_is_named(cell, said, tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    text = (tmp_path / "labels.csv").read_text().replace("P004,0,44", f"P004,0,{cell}")
    (tmp_path / "labels.csv").write_text(text)
    assert said in shell(monkeypatch, "curate", study, "-o", tmp_path / "run")


def test_an_index_says_what_series_are_called_and_does_not_drown_in_rejects(tmp_path, monkeypatch, capsys):
    nifti_study(tmp_path, 30)
    for n in range(25):
        (tmp_path / "scans" / f"P{n:03d}" / "t1.nii.gz").write_bytes(b"")
        (tmp_path / "scans" / f"P{n:03d}" / f"{n:03d}_[flair].nii.gz").write_bytes(
            (tmp_path / "scans" / "P029" / "t1.nii.gz").read_bytes()
        )
    assert shell(monkeypatch, "index", tmp_path / "scans", "-o", tmp_path / "series.csv") == ""
    said = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in said.splitlines() if "│" in line]
    assert cells == [["25", "FLAIR", "axial", "nifti", "*_[flair].nii.gz"], ["5", "T1", "axial", "nifti", "t1.nii.gz"]]
    assert said.count("an empty file") == 20
    assert "rejected  5 more" in said
    assert "55 series, 30 ok" in said


def test_an_index_of_nothing_is_an_error_and_the_last_one_stays(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "series.csv").write_text("of yesterday")
    message = shell(monkeypatch, "index", tmp_path / "empty", "-o", tmp_path / "series.csv")
    assert message.startswith("error: there is no DICOM or NIfTI file below")
    assert (tmp_path / "series.csv").read_text() == "of yesterday"


def test_nothing_left_says_at_which_step_and_why(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    cohort = yaml.safe_load(study.read_text())["cohort"]
    edit(study, cohort={k: v for k, v in cohort.items() if k != "patient_pattern"})
    assert "24 x no patient id: give cohort.patient_pattern" in shell(
        monkeypatch, "curate", study, "-o", tmp_path / "a"
    )
    edit(study, cohort=cohort | {"patient_pattern": r"(Q\d+)"})
    assert "24 x no patient id: cohort.patient_pattern is not found" in shell(
        monkeypatch, "curate", study, "-o", tmp_path / "q"
    )
    edit(study, cohort=cohort | {"roles": {"t1": {"match": {"path": "flair"}}}})
    assert "'with a role': 24 x plays no role" in shell(monkeypatch, "curate", study, "-o", tmp_path / "b")
    (tmp_path / "empty").mkdir()
    edit(study, cohort=cohort | {"scans": ["empty"]})
    assert "no DICOM or NIfTI file" in shell(monkeypatch, "curate", study, "-o", tmp_path / "c")


def test_damaged_files_are_made_again(tmp_path):
    study = nifti_study(tmp_path)
    out = scan2gene.run(study, tmp_path / "run")
    whole = {p: p.read_bytes() for p in out.rglob("*") if p.is_file() and "stages" not in p.parts}
    fold = out / "experiments" / "light" / "holdout-r0-f0"
    volume = next(iter(sorted((out / "store").glob("*/*.nii"))))
    for path in (out / "metrics.csv", out / "predictions.parquet", out / "report.html", fold / "best.pt", volume):
        path.write_bytes(path.read_bytes()[:40])
    (out / "stages" / "curate.json").write_text("{}")
    scan2gene.run(study, out)
    for path in (out / "metrics.csv", fold / "history.csv", out / "cohort.csv", volume):
        if path.name == "history.csv":  # the fold was trained again; only its seconds may differ
            one, two = (
                pd.read_csv(text).drop(columns=["seconds", "seconds_data"]) for text in (path, io.BytesIO(whole[path]))
            )
            pd.testing.assert_frame_equal(one, two)
            continue
        assert path.read_bytes() == whole[path], path.name
    assert (out / "report.html").stat().st_size > 1000


def test_a_split_edited_by_hand_is_refused(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    out = scan2gene.run(study, tmp_path / "run", until="split")
    text = (out / "split.csv").read_text()
    (out / "split.csv").write_text(text[: len(text) // 2])
    assert "not as it was written" in shell(monkeypatch, "run", study, "-o", out)


def test_two_runs_do_not_share_a_directory(tmp_path):
    from scan2gene.core.errors import RunError
    from scan2gene.core.rundir import RunDirectory

    with (
        RunDirectory(tmp_path).exclusive(),
        pytest.raises(RunError, match="another run works in"),
    ):
        scan2gene.run(nifti_study(tmp_path / "study"), tmp_path)


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_program(tmp_path, monkeypatch):
    study = nifti_study(tmp_path)
    (tmp_path / "file").write_text("")
    message = shell(monkeypatch, "run", study, "-o", tmp_path / "file")
    assert message.startswith("error: ")
    assert "fault" not in message


def test_a_split_by_site_needs_a_site_column_before_any_work(tmp_path, monkeypatch):
    study = nifti_study(tmp_path, splits=[{"name": "sites", "kind": "leave_one_site_out"}])
    assert "cohort.site_column" in shell(monkeypatch, "run", study, "-o", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_trace(tmp_path, monkeypatch):
    import sys

    from scan2gene.cli import main
    from scan2gene.core.errors import StudyError

    monkeypatch.setattr(sys, "argv", ["scan2gene", "--debug", "run", str(tmp_path / "no.yaml")])
    with pytest.raises(StudyError):
        main()


def test_every_recipe_is_a_valid_study(tmp_path, monkeypatch):
    from scan2gene.recipes import recipes
    from scan2gene.stages.pipeline import check, load_study

    assert len(recipes()) >= 3
    for name in recipes():
        assert shell(monkeypatch, "new", name, "-o", tmp_path / f"{name}.yaml") == ""
        check(load_study(tmp_path / f"{name}.yaml"))
    assert "exists and is not overwritten" in shell(monkeypatch, "new", "demo", "-o", tmp_path / "demo.yaml")
    assert "Did you mean" in shell(monkeypatch, "new", "demos")


def test_the_published_schema_is_the_code_s(request):
    from scan2gene.core.study import Study

    published = json.loads((request.config.rootpath / "docs" / "study.schema.json").read_text())
    assert published == Study.model_json_schema()


def test_shipped_studies_are_valid(request):
    from scan2gene.stages.pipeline import check, load_study

    files = sorted((request.config.rootpath / "studies").glob("*.yaml"))
    assert files
    for path in files:
        check(load_study(path))
        assert yaml.safe_load(path.read_text())["name"] == path.stem


def test_a_draft_without_labels_says_that_they_are_missing(tmp_path, monkeypatch):
    nifti_study(tmp_path, 2)
    message = shell(monkeypatch, "new", "--scans", tmp_path / "scans", "-o", tmp_path / "new.yaml")
    assert message.endswith("is no BIDS folder with a participants.tsv: give --labels FILE as well")
    assert not (tmp_path / "new.yaml").exists()


def test_a_mistake_quotes_its_line_once(tmp_path, monkeypatch):
    path = nifti_study(tmp_path)
    path.write_text(path.read_text() + "seeds: 3\n")
    edit(path, train={"epochs": "many", "rate": 3})
    text = path.read_text()
    said = shell(monkeypatch, "run", path)
    for key in ("epochs: many", "rate: 3", "seeds: 3"):
        assert said.count(f"{text[: text.index(key)].count(chr(10)) + 1} | ") == 1
        assert said.count(f" {key}") >= 1


def test_a_new_study_names_the_schema_beside_it(tmp_path, monkeypatch):
    assert shell(monkeypatch, "new", "classify-3d", "-o", tmp_path / "mine.yaml") == ""
    first = (tmp_path / "mine.yaml").read_text().splitlines()[0]
    schema = tmp_path / first.partition("$schema=")[2]
    keys = json.loads(schema.read_text())["properties"]
    assert {"cohort", "targets", "runs"} <= set(keys)


def test_masks_in_a_format_that_is_not_read_are_counted_where_their_role_is_missed(monkeypatch, tmp_path, capsys):
    study = nifti_study(tmp_path, 6)
    for exam in (tmp_path / "scans").iterdir():
        (exam / "lesion.mnc").write_bytes(b"\x89HDF\r\n" + bytes(100))
    cohort = yaml.safe_load(study.read_text())["cohort"]
    cohort["roles"]["mask"] = {"match": {"path": "lesion"}, "kind": "label"}
    edit(study, cohort=cohort)
    message = shell(monkeypatch, "curate", study, "-o", tmp_path / "run")
    assert "6 x .mnc files are not read" in message
    assert "6 x .mnc files are not read" in capsys.readouterr().out


def test_masks_as_nrrd_are_drafted_and_curated(tmp_path):
    import SimpleITK as sitk

    study = nifti_study(tmp_path, 6)
    for exam in sorted((tmp_path / "scans").iterdir()):
        mask = sitk.GetImageFromArray(np.ones((10, 12, 12), np.uint8))
        mask.SetDirection([-1, 0, 0, 0, -1, 0, 0, 0, 1])
        sitk.WriteImage(mask, str(exam / "lesion.seg.nrrd"))
    cohort = yaml.safe_load(study.read_text())["cohort"]
    series = scan2gene.index(tmp_path / "scans")
    whose = [p.split("/")[-2] for p in series["path"]]
    guesses = {g.name: g for g in guess_roles(series, list(series["path"]), whose)}
    assert guesses["mask"].kind == "label"
    cohort["roles"]["mask"] = {"match": {guesses["mask"].column: guesses["mask"].pattern}, "kind": "label"}
    edit(study, cohort=cohort)
    manifest = pd.read_csv(next((scan2gene.run(study, tmp_path / "run", until="preprocess") / "store").glob("*/man*")))
    assert (manifest["status"] == "ok").sum() == 12
