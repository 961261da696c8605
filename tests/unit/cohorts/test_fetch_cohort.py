"""Public cohorts: the query on the bundled index, the transfer against a small S3 of our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from s3_server import s3_server
from toy import scan

from scan2gene.cohorts.fetch import fetch_cohort
from scan2gene.cohorts.idc import COLUMNS, bundled_index, described, told, wanted
from scan2gene.cohorts.label_table import read_label_table
from scan2gene.cohorts.public import COHORTS, public_cohort, study_text
from scan2gene.core import download
from scan2gene.core.errors import CohortError
from scan2gene.core.study import Study
from scan2gene.imaging.index import index
from scan2gene.imaging.sequence import recognise
from scan2gene.phantom.exams import write_exam
from scan2gene.phantom.patients import draw_patients

# idc-index 25, counted with pyarrow alone: MR patients and series
THERE = {
    "upenn-gbm": (630, 3680), "duke-breast-cancer-mri": (922, 5034), "ispy1": (222, 6464), "ispy2": (719, 29723),
    "acrin-6698": (385, 16534), "tcga-brca": (137, 1858),
}  # fmt: skip
SLICES = 10
# series and patients that the roles of a cohort's study find, at least this share of its patients
COVERED = {"duke-breast-cancer-mri": 0.98, "ispy1": 0.93, "ispy2": 0.99, "acrin-6698": 0.99, "tcga-brca": 0.94}


@pytest.fixture(scope="module")
def everything():
    return {name: wanted(name) for name in THERE}


def test_the_bundled_index_has_the_cohorts(everything):
    assert int(bundled_index()[1].partition(".")[0]) >= 24
    for name, (patients, series) in THERE.items():
        found = everything[name]
        assert found.patients_there == found.series["PatientID"].nunique() >= 0.98 * patients, name
        assert len(found.series) >= 0.98 * series, name
        assert found.series["series_aws_url"].str.fullmatch(r"s3://[a-z-]+/[0-9a-f-]{36}/\*").all()


def test_the_first_patients_are_taken_and_size_and_licence_are_shown(everything):
    some = wanted("upenn-gbm", "20")
    whole = everything["upenn-gbm"].series
    assert sorted(set(some.series["PatientID"])) == sorted(set(whole["PatientID"]))[:20]
    text = "\n".join(told(some))
    assert f"20 of {some.patients_there} patients, {len(some.series)} MR series, {some.files} files" in text
    assert f"{some.series['series_size_MB'].sum() / 1e3:.1f} GB" in text
    assert "licence CC BY 4.0" in text
    assert "10.7937/tcia.709x-dn49" in text
    assert "CC BY-NC 4.0" in "\n".join(told(everything["duke-breast-cancer-mri"]))


def test_patients_of_a_file_and_series_by_pattern(tmp_path):
    ids = tmp_path / "ids.txt"
    ids.write_text("UPENN-GBM-00002\n\nUPENN-GBM-00005\n")
    some = wanted("upenn-gbm", str(ids), "flair")
    assert set(some.series["PatientID"]) == {"UPENN-GBM-00002", "UPENN-GBM-00005"}
    assert some.series["SeriesDescription"].str.contains("flair", case=False).all()
    ids.write_text("UPENN-GBM-2\n")
    with pytest.raises(CohortError, match=r"1 ids, such as 'UPENN-GBM-2'.*written like 'UPENN-GBM-00001'"):
        wanted("upenn-gbm", str(ids))
    with pytest.raises(CohortError, match="no series has 'PET'"):
        wanted("upenn-gbm", "1", "PET")


@pytest.mark.parametrize("name", ["tcga-gbm", "TCGA_LGG", "ucsf-pdgm"])
def test_what_is_not_open_says_so_and_where_to_apply(name):
    with pytest.raises(CohortError, match=r"cannot be fetched: .*Page: https://doi\.org/10\.7937/") as stop:
        wanted(name)
    assert ("no longer open" in str(stop.value)) == (name != "ucsf-pdgm")


def test_the_index_itself_has_no_mr_of_tcga_gbm():
    table = pd.read_parquet(
        bundled_index()[0], columns=["Modality"], filters=[("collection_id", "in", ["tcga_gbm", "tcga_lgg"])]
    )
    assert len(table) > 0
    assert "MR" not in set(table["Modality"])


def test_an_unknown_cohort_lists_the_known():
    with pytest.raises(CohortError, match=r"'upen-gbm' is not known; valid: acrin-6698.*Did you mean 'upenn-gbm'"):
        public_cohort("upen-gbm")


@pytest.mark.parametrize("name", COVERED)
def test_the_roles_find_a_series_in_nearly_every_patient(everything, name):
    series = everything[name].series
    fits = series[described(series, COHORTS[name].series)]
    assert fits["PatientID"].nunique() >= COVERED[name] * series["PatientID"].nunique()
    for role in COHORTS[name].cohort["roles"].values():
        of_role = fits[described(fits, role["match"]["SeriesDescription"])]
        assert of_role["PatientID"].nunique() >= COVERED[name] * series["PatientID"].nunique()


def test_upenns_studies_are_single_series_and_days_hold_all_sequences(everything):
    series = everything["upenn-gbm"].series
    series = series[described(series, COHORTS["upenn-gbm"].series)]
    assert series.groupby("StudyInstanceUID").size().max() == 1
    named = series.assign(sequence=[recognise({"SeriesDescription": d})[0] for d in series["SeriesDescription"]])
    days = named.groupby(["PatientID", "StudyDate"])["sequence"].agg(set)
    assert days.map(lambda found: {"T1", "T1c", "T2", "FLAIR"} <= found).sum() >= 570
    assert days.map(lambda found: "FLAIR" in found).mean() > 0.97


@pytest.mark.parametrize(
    ("name", "file", "joined"),
    [
        ("upenn-gbm", "upenn_gbm_clinical/UPENN-GBM_clinical_info_v1.1.csv", 611),
        ("ispy2", "ispy2_breast/metadata_spy2_vis1_for_modeling.csv", 717),
        ("acrin-6698", "ispy2_breast/metadata_spy2_vis1_for_modeling.csv", 265),
    ],
)
def test_real_label_tables_join_the_patients_of_the_index(everything, shared_data, name, file, joined):
    rules = COHORTS[name].cohort
    ids = read_label_table(shared_data / file, rules["patient_column"])[rules["patient_column"]]
    if "label_id_pattern" in rules:
        ids = ids.str.extract(rules["label_id_pattern"], expand=False)
    assert len(set(ids.dropna()) & set(everything[name].series["PatientID"])) == joined


@pytest.mark.parametrize("name", COHORTS)
def test_every_cohorts_study_file_is_valid(name):
    text = study_text(name)
    study = Study.model_validate(yaml.safe_load(text))
    assert study.name == name
    assert text.startswith("# ")
    assert "EDIT" in text


def test_studies_of_one_day_are_one_exam(go):
    rows = [
        scan(p, what, exam_id=f"{p}.{what}.{day}", series_id=f"{p}.{what}.{day}/0", StudyDate=day)
        for p in ("P1", "P2")
        for what in ("t1", "flair")
        for day in (("20200101", "20200305") if p == "P1" else ("20200101",))
    ]
    with pytest.raises(CohortError, match="no exam has every required role"):
        go(rows)
    found = go(rows, exam="day").cohort
    assert found["exam_id"].tolist() == ["P1.flair.20200101", "P1.flair.20200305", "P2.flair.20200101"]
    assert found["role:t1"].tolist() == ["P1.t1.20200101/0", "P1.t1.20200305/0", "P2.t1.20200101/0"]
    assert go(rows, exam="day", exams="first").cohort["date"].tolist() == ["20200101", "20200101"]


@pytest.fixture(scope="module")
def exams(tmp_path_factory):
    """Two patients' exams as a bucket, and an index of it."""
    folder = tmp_path_factory.mktemp("bucket")
    objects, rows = {}, []
    for patient in draw_patients(2, 2.0, "brain", 5):
        made = write_exam(folder / patient.patient_id, patient, ("t1", "flair"), mask=False)
        for n, (sequence, files) in enumerate(made.items()):
            uid = f"{patient.seed}-{n}"
            bodies = {f"idc-open/{uid}/{i:03d}+x.dcm": file.read_bytes() for i, file in enumerate(files[:SLICES])}
            objects |= bodies
            rows.append(
                dict.fromkeys(COLUMNS, "") | {
                    "collection_id": "upenn_gbm", "PatientID": patient.patient_id, "Modality": "MR",
                    "StudyInstanceUID": f"2.25.{patient.seed}1", "SeriesInstanceUID": f"2.25.{patient.seed}1.{n + 1}",
                    "SeriesDescription": sequence, "instanceCount": len(bodies), "license_short_name": "CC BY 4.0",
                    "series_size_MB": sum(map(len, bodies.values())) / 1e6, "source_DOI": "10.0/x",
                    "series_aws_url": f"s3://idc-open/{uid}/*",
                }
            )  # fmt: skip
    table = folder / "index.parquet"
    pd.DataFrame(rows).to_parquet(table)
    return objects, table


@pytest.fixture
def server(exams, monkeypatch):
    monkeypatch.setattr(download.time, "sleep", lambda _: None)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with s3_server() as made:
        made.objects = dict(exams[0])
        yield made


def laid_out(folder):
    """patient/study/series/file -> bytes."""
    return {str(p.relative_to(folder / "scans")): p.read_bytes() for p in (folder / "scans").rglob("*") if p.is_file()}


def test_exams_are_laid_out_verified_and_indexed(server, exams, tmp_path):
    what = wanted("upenn-gbm", index=exams[1])
    got = fetch_cohort(what, tmp_path, server.url)
    assert (got.series, got.files, got.md5_checked, got.broken) == (4, len(exams[0]), len(exams[0]), ())
    there = laid_out(tmp_path)
    assert sorted(there.values()) == sorted(exams[0].values())
    first = what.series.iloc[0]
    assert f"{first['PatientID']}/{first['StudyInstanceUID']}/{first['SeriesInstanceUID']}/000-x.dcm" in there
    table = index([tmp_path / "scans"])
    assert list(table["status"]) == ["ok"] * 4
    assert set(table["patient_id"]) == set(what.series["PatientID"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fetched.csv", "scans", "study.yaml"]
    server.asked.clear()
    again = fetch_cohort(what, tmp_path, server.url)
    assert again == got
    assert server.asked == []  # what is whole is not asked for


def test_a_broken_connection_goes_on_where_it_broke(server, exams, tmp_path):
    key = sorted(exams[0])[3]
    size = len(exams[0][key])
    server.breaks[key] = 1000
    got = fetch_cohort(wanted("upenn-gbm", index=exams[1]), tmp_path, server.url)
    assert got.broken == ()
    assert size > 1000
    assert [span for name, span in server.fetched() if span] == ["bytes=1000-"]
    assert sorted(laid_out(tmp_path).values()) == sorted(exams[0].values())


def test_an_endpoint_that_is_no_address_is_refused(exams, tmp_path):
    with pytest.raises(CohortError, match=r"such as http://host:9000, got 'host:9000'"):
        fetch_cohort(wanted("upenn-gbm", index=exams[1]), tmp_path, "host:9000")


def test_a_server_that_goes_away_leaves_what_came_and_the_next_call_goes_on(server, exams, tmp_path):
    what = wanted("upenn-gbm", index=exams[1])
    third = sorted(k for k in exams[0] if what.series["series_aws_url"][2].split("/")[3] in k)
    server.dead = set(third[5:])
    with pytest.raises(CohortError, match=r"127\.0\.0\.1:\d+ cannot be reached .*2 series are whole") as stop:
        fetch_cohort(what, tmp_path, server.url)
    assert "\n" not in str(stop.value)
    came = laid_out(tmp_path)
    server.dead = set()
    server.fetched()
    got = fetch_cohort(what, tmp_path, server.url)
    assert (got.series, got.broken) == (4, ())
    assert len(server.fetched()) == len(exams[0]) - len(came)
    assert came.items() <= laid_out(tmp_path).items()
    assert sorted(laid_out(tmp_path).values()) == sorted(exams[0].values())


def test_what_is_not_as_listed_is_refused_and_tried_again_later(server, exams, tmp_path):
    what = wanted("upenn-gbm", index=exams[1])
    wrong, refused = (
        sorted(k for k in exams[0] if url.split("/")[3] in k)[4] for url in what.series["series_aws_url"][:2]
    )
    server.sent[wrong] = bytes(len(exams[0][wrong]))
    server.refused.add(refused)
    got = fetch_cohort(what, tmp_path, server.url)
    assert got.series == 2
    assert [identity for identity, _ in got.broken] == what.series["SeriesInstanceUID"][:2].tolist()
    assert "its MD5 is" in got.broken[0][1]
    assert "403" in got.broken[1][1]
    assert not any(not any(body) for body in laid_out(tmp_path).values())  # nothing wrong was laid out
    server.sent.clear()
    server.refused.clear()
    assert fetch_cohort(what, tmp_path, server.url).broken == ()


def test_a_file_in_pieces_is_checked_by_size_and_a_missing_one_is_seen(server, exams, tmp_path):
    what = wanted("upenn-gbm", index=exams[1])
    server.in_pieces.add(sorted(exams[0])[0])
    assert fetch_cohort(what, tmp_path / "a", server.url).md5_checked == len(exams[0]) - 1
    lost = sorted(exams[0])[-1]
    del server.objects[lost]
    broken = fetch_cohort(what, tmp_path / "b", server.url).broken
    assert len(broken) == 1
    assert "the index has" in broken[0][1]


def test_a_deleted_or_damaged_file_is_fetched_again(server, exams, tmp_path):
    what = wanted("upenn-gbm", index=exams[1])
    fetch_cohort(what, tmp_path, server.url)
    files = sorted((tmp_path / "scans").rglob("*.dcm"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1])
    server.fetched()
    fetch_cohort(what, tmp_path, server.url)
    assert len(server.fetched()) == 2
    assert sorted(laid_out(tmp_path).values()) == sorted(exams[0].values())


def test_too_little_room_is_said_before_anything_is_asked_for(server, exams, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CohortError, match=r"0\.5 MB are to come, and .* has room for 1\.0 kB"):
        fetch_cohort(wanted("upenn-gbm", index=exams[1]), tmp_path, server.url)
    assert server.asked == []


def test_nothing_is_downloaded_unless_asked(tmp_path):
    command = [
        sys.executable,
        "-m",
        "scan2gene.cli",
        "fetch",
        "upenn-gbm",
        "--patients",
        "2",
        "-o",
        str(tmp_path / "x"),
    ]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 1
    assert "2 of 630 patients" in done.stdout
    assert "licence CC BY 4.0" in done.stdout
    assert "With --yes it begins at once" in done.stderr
    assert not (tmp_path / "x").exists()
    assert json.dumps(done.stderr).count("\\n") == 1


def test_the_command_fetches_a_series_of_the_bundled_index(server, everything, tmp_path):
    """Keys, buckets and counts are the archive's; the files are ours."""
    series = everything["upenn-gbm"].series
    row = series[series["PatientID"] == "UPENN-GBM-00001"].sort_values("instanceCount").iloc[0]
    bucket, uid = row["series_aws_url"].removeprefix("s3://").split("/")[:2]
    server.objects = {f"{bucket}/{uid}/{n}.dcm": b"file %d" % n for n in range(int(row["instanceCount"]))}
    (tmp_path / "ids.txt").write_text("UPENN-GBM-00001\n")
    words = ["--patients", "ids.txt", "--series", row["SeriesDescription"], "--yes", "--endpoint", server.url]
    done = subprocess.run(
        [sys.executable, "-m", "scan2gene.cli", "fetch", "upenn-gbm", *words],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "no_proxy": "127.0.0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        f"1 series are whole: {row['instanceCount']} files, {row['instanceCount']} of them by their MD5" in done.stdout
    )
    assert sorted(laid_out(tmp_path / "upenn-gbm").values()) == sorted(server.objects.values())
    assert "CC BY 4.0" in (tmp_path / "upenn-gbm" / "fetched.csv").read_text()
