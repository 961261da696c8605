"""Seconds and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS = 5


def seconds(work: Callable[[], Any]) -> float:
    """Median of `RUNS` timings after one warm-up."""
    work()
    return statistics.median(once(work) for _ in range(RUNS))


def once(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_mb() -> float:
    """Largest resident memory of this process so far; getrusage would count the parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
