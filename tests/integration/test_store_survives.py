"""Killed, interrupted or out of room, preprocessing leaves whole files only and ends as if nothing had happened."""

from __future__ import annotations

import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scan2gene.preprocess.store import is_whole
from scan2gene.preprocess.verify import verify_store
from tests.integration.road import nifti_study

EXAMS = 300
KILLS = 10


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    recipe = [{"name": "min_max_uint8"}, {"name": "resample", "options": {"spacing_mm": [0.8, 0.8, 0.8]}}]
    crop = {"name": "crop_or_pad", "options": {"shape": [14, 14, 14]}}
    return nifti_study(tmp_path_factory.mktemp("cohort"), EXAMS, preprocess=[*recipe, crop])


def start(study: Path, out: Path, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "scan2gene.cli", "preprocess", str(study), "-o", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options)


BUILDING = """
import sys
from pathlib import Path
from scan2gene.core.study_file import load_study
from scan2gene.core.tables import read_csv
from scan2gene.preprocess.store import build_store

study, tables, store = load_study(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
paths = read_csv(tables / "series.csv").set_index("series_id")["path"].to_dict()
build_store(store, read_csv(tables / "cohort.csv"), paths, study.cohort.roles, study.preprocess)
"""


def start_building(study: Path, tables: Path, out: Path) -> subprocess.Popen:
    """The stage alone, which starts four times as fast as the command line: it is started eleven times."""
    store = next((tables / "store").iterdir()).name
    return subprocess.Popen([sys.executable, "-c", BUILDING, study, tables, out / "store" / store])


def finish(study: Path, out: Path) -> None:
    process = start(study, out)
    assert process.communicate(timeout=200)[1] == ""
    assert process.returncode == 0


def stored(out: Path) -> list[Path]:
    return list(out.glob("store/*/[!.]*.nii"))


def contents(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.glob("store/**/*") if p.is_file()}


def wait_for(process: subprocess.Popen, out: Path, count: int) -> None:
    deadline = time.monotonic() + 100
    while len(stored(out)) < count:
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def unbroken(study, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    finish(study, out)
    return out


def test_killed_ten_times_it_ends_byte_for_byte_as_an_unbroken_run(study, unbroken, tmp_path):
    chance = random.Random(1)
    for _ in range(KILLS):
        process = start_building(study, unbroken, tmp_path)
        wait_for(process, tmp_path, len(stored(tmp_path)) + chance.randint(1, EXAMS // KILLS - 10))
        time.sleep(chance.random() * 0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert all(is_whole(p) for p in stored(tmp_path))
    assert len(stored(tmp_path)) < EXAMS
    assert start_building(study, unbroken, tmp_path).wait() == 0
    assert contents(tmp_path) == {n: c for n, c in contents(unbroken).items() if "preview" not in n}
    assert verify_store(tmp_path) == []


def test_ctrl_c_ends_at_once_leaves_nothing_half_and_goes_on(study, unbroken, tmp_path):
    process = start(study, tmp_path)
    wait_for(process, tmp_path, 20)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert (process.returncode, said) == (130, "stopped; the same command goes on from here\n")
    assert 20 <= len(stored(tmp_path)) < EXAMS
    assert not list(tmp_path.glob("store/*/.tmp-*"))
    finish(study, tmp_path)
    assert contents(tmp_path) == contents(unbroken)


def test_a_full_disk_is_said_in_words_and_leaves_no_half_file(tmp_path):
    study = nifti_study(tmp_path, 12, preprocess=[{"name": "crop_or_pad", "options": {"shape": [40, 40, 40]}}])
    out = tmp_path / "run"
    limit = 64 * 1024  # bytes of a file: tables fit, a volume of 250 kB does not

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(study, out, preexec_fn=little_room)
    said = process.communicate(timeout=100)[1]
    assert process.returncode == 1
    assert said.startswith(f"error: a volume cannot be written to {out / 'store'}")
    assert "File too large" in said
    assert said.count("\n") == 1
    assert not [p for p in out.glob("store/**/*") if p.is_file()]
    finish(study, out)
    assert len(stored(out)) == 12
