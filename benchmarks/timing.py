"""Seconds and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

RUNS = 5


def medians(*works: Callable[[], Any]) -> list[float]:
    """Median seconds of each work over `RUNS` rounds after one warm-up; in turns, so that all meet the same load."""
    for work in works:
        work()
    return np.median([[once(work) for work in works] for _ in range(RUNS)], axis=0).tolist()


def once(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_mb() -> float:
    """Largest resident memory of this process so far; getrusage would count the parent's, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024
