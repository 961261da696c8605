"""A stage is done only for the inputs it was made from, and only while its outputs exist."""

from __future__ import annotations

import pytest

from scan2gene import __version__
from scan2gene.core.errors import RunError
from scan2gene.core.rundir import FORMAT, RunDirectory


@pytest.fixture
def finished(tmp_path):
    (tmp_path / "series.csv").write_text("x")
    RunDirectory(tmp_path).mark_done("index", "k1", [tmp_path / "series.csv"], seconds=3)
    return tmp_path


def test_a_finished_stage_is_done(finished):
    assert RunDirectory(finished).is_done("index", "k1")
    stamp = {"stage": "index", "key": "k1", "outputs": {"series.csv": 1}, "version": __version__, "seconds": 3}
    assert RunDirectory(finished).stamp("index") == stamp


def test_a_stage_that_never_ran_is_not_done(finished):
    assert not RunDirectory(finished).is_done("curate", "k1")
    assert RunDirectory(finished).stamp("curate") is None


def test_other_inputs_undo_a_stage(finished):
    assert not RunDirectory(finished).is_done("index", "k2")


def test_a_lost_output_undoes_a_stage(finished):
    (finished / "series.csv").unlink()
    assert not RunDirectory(finished).is_done("index", "k1")


def test_an_output_cut_short_undoes_a_stage(finished):
    (finished / "series.csv").write_text("")
    assert not RunDirectory(finished).is_done("index", "k1")


@pytest.mark.parametrize("text", ["{}", "[]", '{"key": "k1", "outputs": ["series.csv"]}'])
def test_a_stamp_of_another_form_means_not_done(finished, text):
    (finished / "stages" / "index.json").write_text(text)
    assert not RunDirectory(finished).is_done("index", "k1")


def test_a_damaged_stamp_means_not_done(finished):
    stamp = finished / "stages" / "index.json"
    stamp.write_text(stamp.read_text()[:20])
    assert not RunDirectory(finished).is_done("index", "k1")


def test_a_run_directory_can_be_moved(finished, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("other") / "run"
    finished.rename(elsewhere)
    assert RunDirectory(elsewhere).is_done("index", "k1")


def test_stages_of_two_runs_do_not_share_a_stamp(tmp_path):
    (tmp_path / "out").write_text("x")
    RunDirectory(tmp_path).mark_done("train/a", "k", [tmp_path / "out"])
    assert RunDirectory(tmp_path).is_done("train/a", "k")
    assert not RunDirectory(tmp_path).is_done("train/b", "k")
    assert not RunDirectory(tmp_path).is_done("train", "k")


def test_a_new_directory_gets_its_format_and_keeps_it(tmp_path):
    RunDirectory(tmp_path).claim()
    (tmp_path / "study.json").write_text("{}")
    RunDirectory(tmp_path).claim()
    RunDirectory(tmp_path).check_format()


@pytest.mark.parametrize("text", [None, "", "[]", "{}", f'{{"format": {FORMAT + 1}}}'])
@pytest.mark.parametrize("sign", ["study.json", "stages/index.json"])
def test_a_directory_of_another_format_is_refused_and_left_as_it_is(tmp_path, sign, text):
    (tmp_path / "stages").mkdir()
    (tmp_path / sign).write_text("{}")
    if text is not None:
        (tmp_path / "format.json").write_text(text)
    before = sorted(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    with pytest.raises(RunError, match=r"another version of scan2gene .* scan2gene run STUDY -o NEW"):
        RunDirectory(tmp_path).claim()
    assert sorted(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()) == before


def test_half_written_files_of_a_killed_run_go_and_nothing_else(tmp_path):
    half = ["metrics.csv", "stages/train.json", "experiments/a/results.json", "experiments/a/cv-r0-f0/last.pt"]
    for name in half:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("whole")
        path.with_name(f".tmp-12ab34cd-{path.name}").write_text("ha")
    RunDirectory(tmp_path).sweep()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(half)
