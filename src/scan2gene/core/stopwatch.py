"""What work costs: seconds, processor time, and the machine that did it."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from scan2gene.core.machine import processor_name


class Stopwatch:
    """Measures work from its construction on."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def stamp(self) -> dict[str, Any]:
        """Seconds and processor time so far, the processor, and the graphics cards where some are in use."""
        spent: dict[str, Any] = {
            "seconds": round(time.perf_counter() - self._wall, 1),
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 1),
            "processor": processor_name(),
        }
        torch = sys.modules.get("torch")  # not imported for this: the stages before training do without it
        if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
            cards = range(torch.cuda.device_count())
            spent["gpus"] = sorted(torch.cuda.get_device_name(card) for card in cards)
        return spent


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that ended."""
    return sum(os.times()[:4])
