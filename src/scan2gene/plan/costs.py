"""What each run of a study takes, timed in a process that can be stopped when its time is up.

Steps of preprocessing and of large networks cannot be interrupted from within, so `scan2gene.plan.timing` runs by
itself, is given the study and says a line of JSON for each thing it finds out.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scan2gene.core.console import say
from scan2gene.core.study import Study
from scan2gene.core.text import duration
from scan2gene.learners import reads_images
from scan2gene.tasks.run_config import resolved

SECONDS = 60.0  # for all runs together
_SLOW_STEPS = {"register", "skull_strip", "n4", "denoise"}  # minutes an exam, so that their runs come last


@dataclass(frozen=True)
class Cost:
    """What one run takes.

    Args:
        run: Its name.
        grid: Prepared voxels I, J, K; empty for a model that sees no images.
        volumes: Number of stored volumes.
        disk_bytes: Of the store.
        memory_bytes: Of the cohort and of one training step, together.
        fits: Networks to train.
        step_seconds: One batch forward, backward and update; of a frozen encoder forward alone.
        epoch_seconds: One epoch of one fit; of a frozen encoder all its embeddings.
        least_seconds: All fits, when none improves after its first epoch.
        most_seconds: All fits, when each uses every epoch.
        reason: Why it could not be timed.
        maps_seconds: Maps of where the network looks; None where it is left open.
        note: What the figures were extrapolated from, or what else limits them.
        overfit: Patients that the network was to learn by heart, steps, and the AUROC on them; None where not tried.
    """

    run: str
    grid: tuple[int, ...] = ()
    volumes: int = 0
    disk_bytes: int = 0
    memory_bytes: int = 0
    fits: int = 0
    step_seconds: float = 0.0
    epoch_seconds: float = 0.0
    least_seconds: float = 0.0
    most_seconds: float = 0.0
    reason: str = ""
    maps_seconds: float | None = None
    note: str = ""
    overfit: tuple[int, int, float] | None = None


def time_runs(
    study: Study, cohort: pd.DataFrame, paths: dict[str, str], counts: pd.DataFrame, limit: float,
    labels: pd.DataFrame | None = None,
) -> list[Cost]:  # fmt: skip
    """Time every run within a limit, and let networks learn a few patients; what was not timed has the reason.

    Args:
        study: With all that was planned.
        cohort: cohort.csv.
        paths: series_id -> what `read_volume` opens.
        counts: split_table.csv.
        limit: Seconds for all runs together.
        labels: labels.csv; without it no network learns a few patients.

    Returns:
        One `Cost` per run, in the study's order.
    """
    folds = len(counts[["split", "repeat", "fold"]].drop_duplicates())
    configs = resolved(study)
    fits = {config.name: folds * (config.search.trials if config.search else 1) for config in configs}
    costs = {config.name: Cost(config.name, fits=folds) for config in configs if not reads_images(config)}
    waiting = sorted((config.name for config in configs if config.name not in costs), key=_slowness(study))
    began, about = time.monotonic(), ("", "")
    if waiting:
        say("", f"  timing {len(waiting)} runs, {limit:.0f} s at most (--limit SECONDS gives more)")
        for line in _lines((study, waiting, cohort, labels, paths, counts), began + limit):
            if "cost" in line:
                cost = Cost(**line["cost"] | {"grid": tuple(line["cost"]["grid"])})
                costs[cost.run], about = cost, ("", "")
            elif "overfit" in line:
                costs[line["run"]] = replace(costs[line["run"]], overfit=tuple(line["overfit"]))
            elif "about" in line:
                about = (line["run"], line["about"])
                say("", f"  {line['run']}: {line['about']} ({duration(time.monotonic() - began)})")
            else:
                about = (about[0], line["stopped"])
                break
    for name in (n for n in waiting if n not in costs):
        what = f"{about[1]} did not end" if name == about[0] else "it was not begun"
        costs[name] = Cost(name, fits=fits[name], reason=f"{what} in the {limit:.0f} s for all runs; try --limit 600")
    return [costs[config.name] for config in configs]


def _slowness(study: Study) -> Callable[[str], int]:
    """Runs whose preprocessing takes long come last, so that the others are timed first."""
    slow = {c.name: len(_SLOW_STEPS & {s.name for s in c.recipe}) for c in resolved(study)}
    return lambda name: slow[name]


def _lines(given: Any, until: float) -> Iterator[dict[str, Any]]:
    """What the other process says, until it ends or its time is up."""
    command = [sys.executable, "-m", "scan2gene.plan.timing"]
    here = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        command, env=here, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    heard: queue.Queue[bytes] = queue.Queue()

    def talk() -> None:
        assert process.stdin and process.stdout  # for the type checker
        try:
            pickle.dump((*given, until - time.monotonic()), process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass
        for line in process.stdout:
            heard.put(line)
        heard.put(b"")

    threading.Thread(target=talk, daemon=True).start()
    try:
        while line := heard.get(timeout=max(until - time.monotonic(), 0.0)):
            yield json.loads(line)
        if process.wait():
            yield {"stopped": f"the process that times runs ended with code {process.returncode}, so it"}
    except queue.Empty:
        pass
    finally:
        process.kill()
        process.wait()
