"""A killed index goes on where it stopped and ends like an unbroken one."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import pandas as pd
import pytest

from scan2gene.imaging import index as module
from scan2gene.imaging.index import index
from scan2gene.imaging.progress import Progress
from scan2gene.imaging.sources import find

KILLED_AFTER = 1300  # files; two chunks of 512 are saved by then
CODE = """
import os, signal, sys
from scan2gene.imaging import index as module
read, seen = module._read_source, []
def spoilt(source):
    seen.append(source)
    if len(seen) == {after}:
        os.kill(os.getpid(), signal.{signal})
    return read(source)
module._read_source = spoilt
module.index({scans!r}, {progress!r})
"""


@pytest.fixture
def many(write_series, shared_data, tmp_path):
    """1,500 files in 300 folders: one series, copied, beside 8 NIfTI and an enhanced file."""
    folder = write_series()
    target = tmp_path / "many"
    for n in range(300):
        shutil.copytree(folder, target / f"{n:03d}")
    for name in ("orange", "philips"):
        (target / name).mkdir()
    for path in sorted((shared_data / "msd_hippocampus").rglob("*.nii.gz"))[:8]:
        shutil.copy(path, target / "orange")
    enhanced = shared_data / "dicom_dicom2nifti/philips_enhanced/anatomical/001/IM-0001-0170-0001.dcm"
    shutil.copy(enhanced, target / "000" / "enhanced.dcm")
    return target


@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
def test_a_stopped_index_goes_on(many, tmp_path, monkeypatch, how):
    progress = tmp_path / "series.progress"
    code = CODE.format(after=KILLED_AFTER, signal=how, scans=str(many), progress=str(progress))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode in (-signal.SIGKILL, 1, -signal.SIGINT)
    assert progress.exists()
    (many / "000" / "000.dcm").touch()  # changed since: read again

    read = []
    original = module._read_source
    monkeypatch.setattr(module, "_read_source", lambda source: read.append(source) or original(source))
    table = index(many, progress)
    assert len(read) == 1509 - 1024 + 1
    assert not progress.exists()
    monkeypatch.undo()
    pd.testing.assert_frame_equal(table, index(many))


@pytest.mark.parametrize("content", [b"", b"not a database" * 100])
def test_a_damaged_progress_file_is_begun_anew(many, tmp_path, content):
    progress = tmp_path / "series.progress"
    progress.write_bytes(content)
    pd.testing.assert_frame_equal(index(many / "000", progress), index(many / "000"))
    assert not progress.exists()


def test_a_progress_file_damaged_further_in_stops_nothing(many, tmp_path):
    progress = tmp_path / "series.progress"
    sources = list(find([many / "000", many / "orange"]))
    with Progress(progress) as saved:
        saved.keep({source: module._read_source(source) for source in sources})
    whole = progress.read_bytes()
    assert len(whole) > 8192
    for begin in (4096, 8192, len(whole) - 4096):
        progress.write_bytes(whole[:begin] + bytes(n % 251 for n in range(len(whole) - begin)))
        table = index([many / "000", many / "orange"], progress)
        assert not progress.exists()
        pd.testing.assert_frame_equal(table, index([many / "000", many / "orange"]))
