"""What work cost: counters that start again, counters that may not be read, and a card that counts."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from scan2gene.core import energy
from scan2gene.core.energy import Meter, read_boards


def domain(folder, name, joules, called="package-0", largest=1000.0):
    place = folder / name
    place.mkdir(parents=True)
    (place / "name").write_text(f"{called}\n")
    (place / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    (place / "max_energy_range_uj").write_text(f"{int(largest * 1e6)}\n")
    return place


def test_packages_are_added_and_their_parts_are_not(tmp_path):
    one, two = domain(tmp_path, "intel-rapl:0", 100), domain(tmp_path, "intel-rapl:1", 7, "package-1")
    part, whole = domain(tmp_path, "intel-rapl:0:0", 50, "core"), domain(tmp_path, "intel-rapl:2", 9, "psys")
    with Meter(tmp_path) as meter:
        for place, joules in ((one, 130.5), (two, 9), (part, 90), (whole, 500)):
            (place / "energy_uj").write_text(str(int(joules * 1e6)))
    assert meter.stamp()["joules"] == {"processor": 32.5}
    assert meter.stamp()["unmeasured"] == {}


def test_a_counter_that_started_again_goes_on(tmp_path):
    place = domain(tmp_path, "intel-rapl:0", 990)
    with Meter(tmp_path) as meter:
        (place / "energy_uj").write_text("4000000")
    assert meter.stamp()["joules"] == {"processor": 14.0}


def test_what_is_not_measured_has_a_reason_and_no_figure(tmp_path):
    with Meter(tmp_path / "nothing") as meter:
        pass
    assert meter.stamp()["joules"] == {}
    assert meter.stamp()["unmeasured"] == {"processor": "this machine shows no energy counter"}
    place = domain(tmp_path, "intel-rapl:0", 1)
    (place / "energy_uj").unlink()
    (place / "energy_uj").mkdir()  # cannot be read, whoever asks
    with Meter(tmp_path) as meter:
        pass
    assert meter.stamp()["joules"] == {}
    assert meter.stamp()["unmeasured"] == {"processor": "the energy counter may not be read"}


def test_processor_time_is_work_and_wall_time_is_waiting(tmp_path):
    with Meter(tmp_path) as meter:
        time.sleep(0.3)
        idle = meter.stamp()
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass
    assert idle["seconds"] >= 0.3 and idle["cpu_seconds"] <= 0.2
    assert meter.stamp()["cpu_seconds"] - idle["cpu_seconds"] == pytest.approx(0.4, abs=0.15)


def test_without_a_card_there_is_none():
    assert read_boards("libthere-is-no-such-library.so") == {}


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_card_that_counts(tmp_path, monkeypatch):
    """A library with NVML's names and signatures: two cards, the second without a counter."""
    source = """
    #include <string.h>
    static unsigned long long spent = 5000;
    int nvmlInit_v2(void) { return 0; }
    int nvmlShutdown(void) { return 0; }
    int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
    int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) { *h = (void *)(unsigned long)(i + 1); return 0; }
    int nvmlDeviceGetName(void *h, char *name, unsigned n) { strncpy(name, "Card", n); return 0; }
    int nvmlDeviceGetTotalEnergyConsumption(void *h, unsigned long long *mj) {
        if (h != (void *)1) return 3;
        *mj = spent; spent += 2500; return 0; }
    """
    (tmp_path / "nvml.c").write_text(source)
    library = tmp_path / "libnvml.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Meter(tmp_path, str(library)) as meter:
        assert "gpu" not in meter.stamp()["joules"]  # nothing of this process runs there
        monkeypatch.setattr(energy, "gpu_in_use", lambda: True)
    assert meter.stamp()["joules"] == {"gpu": 2.5}
    assert meter.stamp()["gpus"] == ["Card", "Card"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert list(read_boards(str(library)).values()) == [None]
