"""What work costs: seconds, processor time, and energy where the machine counts it.

Processors count in Linux's powercap files, graphics cards in NVML. Both count all that the
machine does meanwhile, not this program alone. Where nothing may be read, the reason is kept
and no figure is made up.

Sources: kernel.org, "Power Capping Framework"; NVIDIA, NVML API reference,
nvmlDeviceGetTotalEnergyConsumption (Volta and later).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from scan2gene.core.machine import processor_name

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
_LOOK_SECONDS = 30.0  # counters of processors start again at 0 after some minutes under load


class Meter:
    """Measures a block of work: `with Meter() as meter: ...`, then `meter.stamp()`.

    Args:
        powercap: Folder of the processors' counters.
        nvml: The library that counts for graphics cards.
    """

    def __init__(self, powercap: Path = POWERCAP, nvml: str = NVML) -> None:
        self._packages = _packages(powercap)
        self._nvml = nvml
        self._processor_uj = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def __enter__(self) -> Meter:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self._last = {p: _number(p / "energy_uj") for p in self._packages}
        self._boards = read_boards(self._nvml)
        if any(v is not None for v in self._last.values()):
            threading.Thread(target=self._keep_looking, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def stamp(self) -> dict[str, Any]:
        """Seconds, cpu_seconds, joules by part ("processor", "gpu"), why one is not measured, and on what."""
        found: dict[str, Any] = {"seconds": round(time.perf_counter() - self._wall, 1)}
        found |= {"cpu_seconds": round(_cpu_seconds() - self._cpu, 1), "joules": {}, "unmeasured": {}}
        found["processor"] = processor_name()
        self._look()
        if not self._packages:
            found["unmeasured"]["processor"] = "this machine shows no energy counter"
        elif any(v is None for v in self._last.values()):
            found["unmeasured"]["processor"] = "the energy counter may not be read"
        else:
            found["joules"]["processor"] = round(self._processor_uj / 1e6, 1)
        if gpu_in_use():
            now = read_boards(self._nvml)
            pairs = [(now.get(board), before) for board, before in self._boards.items()]
            spent = [after - before for after, before in pairs if after is not None and before is not None]
            found["gpus"] = sorted(name for _, name in now)
            if spent:
                found["joules"]["gpu"] = round(sum(spent) / 1e3, 1)
            else:
                found["unmeasured"]["gpu"] = "the graphics card has no energy counter"
        return found

    def _keep_looking(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self._look()

    def _look(self) -> None:
        with self._lock:
            for package, before in self._last.items():
                now = _number(package / "energy_uj")
                if now is not None and before is not None:
                    again = now < before  # it started again at 0
                    self._processor_uj += now - before + (again and (_number(package / "max_energy_range_uj") or 0))
                self._last[package] = now


def _packages(powercap: Path) -> list[Path]:
    """Counters of whole processors; those of their cores and memory are parts of them or hang beside them."""
    found = []
    for path in sorted(powercap.glob("intel-rapl:*")) if powercap.is_dir() else ():
        try:
            name = (path / "name").read_text()
        except OSError:
            continue
        if path.name.count(":") == 1 and name.startswith("package"):
            found.append(path)
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that ended."""
    return sum(os.times()[:4])


def gpu_in_use() -> bool:
    """True when this process has work on an NVIDIA card; torch is asked only where it is loaded already."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_available() and torch.cuda.is_initialized())


def read_boards(library: str = NVML) -> dict[tuple[int, str], int | None]:
    """(Number, name) of each visible NVIDIA card -> millijoules since its driver was loaded, None where not counted."""
    try:
        nvml = ctypes.CDLL(library)
        if nvml.nvmlInit_v2():
            return {}
    except (OSError, AttributeError):
        return {}
    count = ctypes.c_uint()
    found: dict[tuple[int, str], int | None] = {}
    nvml.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for number in range(count.value):
        if not _visible(number):
            continue
        handle, energy, name = ctypes.c_void_p(), ctypes.c_ulonglong(), ctypes.create_string_buffer(96)
        if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(handle)):
            continue
        nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(96))
        uncounted = nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(energy))
        found[number, name.value.decode("ascii", "replace")] = None if uncounted else energy.value
    nvml.nvmlShutdown()
    return found


def _visible(number: int) -> bool:
    """False for a card that CUDA_VISIBLE_DEVICES leaves out by number."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return not all(c.strip().isdigit() for c in chosen) or str(number) in [c.strip() for c in chosen]
