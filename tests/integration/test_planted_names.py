"""Words planted in every text tag, file and folder name are looked for in all that a run leaves and says."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
import yaml

import scan2gene
from tests.integration.forked import command
from tests.integration.planted import leaked, study, text_keywords, texts, write_planted
from tests.integration.road import edit, nifti_study

PATIENTS = 30
# docs/guide.md, "Patients' identities": what a run directory holds when no pseudonyms are asked for
DOCUMENTED = {
    "uid", "file", "folder", "PatientID", "StudyDate", "StudyTime", "StudyDescription", "SeriesDescription",
    "ProtocolName", "SequenceName", "BodyPartExamined", "Manufacturer", "ManufacturerModelName", "ContrastBolusAgent",
    "PatientSex", "SoftwareVersions", "PatientPosition", "date in a description",
    "PatientName",  # the last two as a part of SeriesDescription
}  # fmt: skip


@dataclass(frozen=True)
class Planted:
    folder: Path
    words: dict[str, str]

    def study(self, name: str, **cohort: object) -> Path:
        path = self.folder / name
        path.write_text(yaml.safe_dump(study(), sort_keys=False))
        edit(path, cohort=study()["cohort"] | cohort)
        return path


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("planted")
    return Planted(folder, write_planted(folder, PATIENTS))


@pytest.fixture(scope="module")
def veiled(planted) -> tuple[Path, str]:
    """A run directory with pseudonyms, and what was said while it was made."""
    path = planted.study("veiled.yaml", pseudonyms="private/key.csv")
    code, said = command("run", path, "-o", planted.folder / "veiled")
    assert code == 0, said
    return planted.folder / "veiled", said


def test_the_planted_words_would_be_seen(planted):
    assert len(text_keywords()) > 300
    places = {"file", "folder", "uid", "StudyDate", "StudyTime", "descrip", "aux_file", "file content"}
    assert leaked("".join(texts(planted.folder / "scans").values()), planted.words) >= {*text_keywords(), *places}


def test_without_pseudonyms_only_what_is_documented_is_kept(planted):
    code, said = command("run", planted.study("plain.yaml"), "-o", planted.folder / "plain")
    assert code == 0, said
    assert leaked(said, planted.words) == set()
    found = {name: leaked(text, planted.words) for name, text in texts(planted.folder / "plain").items()}
    assert set().union(*found.values()) <= DOCUMENTED
    assert found["series.csv"] >= {"PatientID", "folder", "SeriesDescription", "uid", "StudyDate"}
    assert found["report.html"] == set()  # each maker here has one patient


def test_with_pseudonyms_nothing_is_left(planted, veiled):
    out, said = veiled
    assert leaked(said, planted.words) == set()
    assert {name: found for name, t in texts(out).items() if (found := leaked(t, planted.words))} == {}
    assert str(planted.folder).lower() not in "".join(t for n, t in texts(out).items())
    assert pd.read_csv(out / "exclusions.csv")["reason"].str.contains("cut short").any()  # the bad exams were met
    assert set(pd.read_csv(out / "series.csv", dtype=str)["StudyDate"].dropna()) == {"2014"}


def test_with_pseudonyms_neither_paths_nor_what_was_typed_is_kept(planted, veiled):
    out, _ = veiled
    assert not (out / "study.yaml").exists() and not (out / "called.json").exists()
    assert "The study asks for pseudonyms, so its run directory keeps no paths" in (out / "report.html").read_text()
    assert list((out / "report" / "figures").glob("cases-*.svg"))  # so that their pictures were looked through


def test_the_key_file_leads_back_and_only_its_owner_reads_it(planted, veiled):
    out, private = veiled[0], planted.folder / "private"
    key = pd.read_csv(private / "key.csv").set_index("pseudonym")["patient_id"]
    truth = pd.read_csv(planted.folder / "labels.csv").set_index("patient_id")
    labels = pd.read_csv(out / "labels.csv").set_index("patient_id")["value"]
    assert key[labels.index].map(truth["gene"]).tolist() == labels.tolist()
    ages = pd.read_csv(out / "cohort.csv").set_index("patient_id")["clinical:age"]
    assert key[ages.index].map(truth["age"]).tolist() == ages.tolist()
    for path in private.glob("*.csv"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


def test_the_order_of_rows_tells_nothing(veiled):
    for name, column in (("cohort.csv", "patient_id"), ("labels.csv", "patient_id"), ("series.csv", "series_id")):
        ids = pd.read_csv(veiled[0] / name).dropna(subset="patient_id")
        assert ids["patient_id"].is_monotonic_increasing, name
        assert ids[column].is_unique


def test_a_second_run_changes_nothing(planted, veiled):
    out, _ = veiled
    before = {p: p.stat().st_mtime_ns for p in (*(out.rglob("*.nii")), out / "split.csv", out / "report.html")}
    private = {p: p.read_bytes() for p in (planted.folder / "private").glob("*.csv")}
    code, said = command("run", planted.folder / "veiled.yaml", "-o", planted.folder / "veiled")
    assert code == 0, said
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert {p: p.read_bytes() for p in private} == private


def test_the_contact_sheet_shows_pseudonyms(planted, veiled):
    """And without them, ids, descriptions and file names, as the run directory does."""
    out, study = veiled[0], planted.folder / "veiled.yaml"
    pages = planted.folder / "pages"
    for name, words in {
        "raw.html": [study, "--run", out],
        "prepared.html": [out, "--prepared"],
        "both.html": [study, "--run", out, "--prepared"],
    }.items():
        code, said = command("qc", *words, "-o", pages / name)
        assert code == 0, said
        assert leaked(said, planted.words) == set()
        assert leaked(texts(pages)[name], planted.words) == set(), name
    assert "cut short" in (pages / "raw.html").read_text() or "cannot be" in (pages / "raw.html").read_text()
    assert leaked("".join(texts(out / "qc").values()), planted.words) == set()
    code, said = command("qc", out)
    assert code == 1 and "holds pseudonyms and no paths" in said
    code, said = command("qc", planted.study("plain.yaml"), "--run", planted.folder / "plain")
    assert code == 0, said
    assert leaked(texts(planted.folder / "plain")["qc.html"], planted.words) <= DOCUMENTED


def test_new_exams_get_numbers_whose_meaning_lies_beside_the_key(planted, veiled):
    out, new = veiled[0], planted.folder / "applied"
    code, said = command("apply", out, planted.folder / "scans")
    assert code == 1 and "Name its study file" in said
    words = ("apply", out, planted.folder / "scans", "--study", planted.folder / "veiled.yaml", "-o", new)
    code, said = command(*words)
    assert code == 0, said
    assert leaked(said, planted.words) == set()
    assert {name: found for name, t in texts(new).items() if (found := leaked(t, planted.words))} == {}
    assert str(planted.folder).lower() not in "".join(texts(new).values())
    table = pd.read_parquet(new / "predictions.parquet")
    assert table["exam_id"].str.fullmatch(r"EXAM-\d{3}").all() and (table["status"] == "ok").any()
    (meaning,) = (planted.folder / "private").glob("key.apply-applied-*.csv")
    assert stat.S_IMODE(meaning.stat().st_mode) == 0o600
    truth = pd.read_csv(meaning, dtype=str).set_index("shown")
    assert set(table["exam_id"]) == set(truth.index)
    # the same exam has the same logit in the run, under its pseudonym
    pseudonym = pd.read_csv(planted.folder / "private" / "key.exams.csv", index_col=0, dtype=str)["pseudonym"]
    before = pd.read_parquet(out / "predictions.parquet").query("status == 'ok'")
    after = table.query("status == 'ok' and variant == 'original'")
    after = after.assign(exam_id=after["exam_id"].map(truth["exam_id"]).map(pseudonym))
    keys = ["run_id", "split", "repeat", "fold", "exam_id", "target"]
    both = before.merge(after.astype({"repeat": int, "fold": int}), on=keys)
    assert len(both) == len(after) > 0
    assert (both["logit_x"] - both["logit_y"]).abs().max() < 1e-5


def test_errors_name_pseudonyms(planted, veiled):
    truth = pd.read_csv(planted.folder / "labels.csv")
    spoiled = pd.concat([truth, truth.head(2).assign(gene=lambda t: 1 - t["gene"])])
    spoiled.to_csv(planted.folder / "contradicting.csv", index=False)
    rules = {"pseudonyms": "private/key.csv"}
    both = {"a": {"match": {"SeriesDescription": "T1"}}, "b": {"match": {"SeriesDescription": "POST"}}}
    for name, cohort, expected in (
        ("contradicting", rules | {"labels": "contradicting.csv"}, "has gene=0 at [cohort.labels]:2 and gene=1"),
        ("roles", rules | {"roles": both}, "fit more than one role, first S-"),
        ("scans", rules | {"scans": ["scans", "no folder of QXAAAAZJ"]}, "there is no folder or file [cohort.scans]"),
        ("labels", rules | {"labels": "QXAAAAZJ.csv"}, "there is no label table [cohort.labels]"),
        ("nobody", rules | {"include": {"path": "QXAAAAZJ x"}}, "none is left"),
    ):
        out = planted.folder / f"out-{name}"
        code, said = command("curate", planted.study(f"{name}.yaml", **cohort), "-o", out)
        assert code == 1 and expected in said, said
        # the description of a series is what its owner knows it by; names are taken out of it
        assert leaked(said, planted.words) <= {"SeriesDescription"}, said
        assert leaked("".join(texts(out).values()), planted.words) == set()


def test_an_exclude_file_may_hold_pseudonyms(planted, veiled):
    cohort = pd.read_csv(veiled[0] / "cohort.csv")
    key = pd.read_csv(planted.folder / "private" / "key.csv").set_index("pseudonym")["patient_id"]
    shown, true = cohort["patient_id"].iloc[0], key[cohort["patient_id"].iloc[1]]
    rows = [
        f"{shown},,motion",
        f"{true},,wrong sequence",
        f",{cohort['role:t1c'].iloc[2]},artefact",
        "P-222222,,mistyped",
    ]
    (planted.folder / "exclude.csv").write_text("patient_id,series_id,reason\n" + "\n".join(rows))
    path = planted.study("excluding.yaml", pseudonyms="private/key.csv", exclude_file="exclude.csv")
    code, said = command("curate", path, "-o", planted.folder / "excluding")
    assert code == 0, said
    out = planted.folder / "excluding"
    assert set(pd.read_csv(out / "cohort.csv")["patient_id"]) == set(cohort["patient_id"].iloc[3:])
    reasons = pd.read_csv(out / "exclusions.csv").set_index("reason")
    assert reasons.loc["exclude file: motion", "patient_id"] == shown
    assert reasons.loc["in the exclude file, but nothing has this id", "patient_id"] == "P-222222"
    assert leaked("".join(texts(out).values()), planted.words) == set()


@pytest.mark.parametrize("key", ["scans/key.csv", "run/key.csv", "labels.csv", "private", "scans/../run/x/key.csv"])
def test_a_key_that_would_be_passed_on_is_refused(key, planted):
    from scan2gene.core.errors import StudyError

    with pytest.raises(StudyError, match=r"cohort\.pseudonyms"):
        scan2gene.run(planted.study("refused.yaml", pseudonyms=key), planted.folder / "run")


def test_ids_and_pseudonyms_do_not_share_a_directory(planted, veiled):
    code, said = command("index", planted.folder / "scans", "-o", planted.folder / "alone.csv")
    assert code == 0
    code, said = command("curate", planted.study("plain.yaml"), "-o", veiled[0])
    assert code == 1 and "was begun with cohort.pseudonyms" in said


def test_nifti_whose_ids_are_in_shared_file_names(tmp_path):
    path = nifti_study(tmp_path / "Jane Doe's study")
    edit(path, cohort=yaml.safe_load(path.read_text())["cohort"] | {"pseudonyms": "../private/key.csv"})
    scans = path.parent / "scans"
    for scan in sorted(scans.glob("*/t1.nii.gz")):
        scan.rename(scans / f"{scan.parent.name} Jane_t1.nii.gz")
    (scans / "P001 Jane_t1.nii.gz").write_bytes(b"cut")
    out = scan2gene.run(path, tmp_path / "run", until="preprocess")
    assert len(pd.read_csv(out / "cohort.csv")) == 23
    assert not re.search(r"\bp0\d\d\b|jane|_t1\.nii", "".join(texts(out).values()))
