"""A run that has to end in time: which networks are trained is decided before any of them is.

Models on tables are trained first, as they take seconds. Networks follow in the order of the study while they fit; the
first may be given fewer epochs. What does not fit is left out of the study, and of every mean that it was to be part
of, before a test figure is seen.
"""

from __future__ import annotations

import time
from typing import Any

from scan2gene.core.console import say
from scan2gene.core.study import Study
from scan2gene.core.study_runs import Run
from scan2gene.core.text import duration, listed
from scan2gene.learners import reads_images
from scan2gene.plan.costs import SECONDS, Cost, time_runs
from scan2gene.stages.cohort import record_study
from scan2gene.stages.job import Job
from scan2gene.tasks.run_config import RunConfig

RESERVE_SECONDS, RESERVE_SHARE = 45.0, 0.15  # of the whole, for prediction, evaluation, audit and report
TIMING_SHARE = 0.1  # of what is left that measuring may take
FEWEST_EPOCHS = 5  # of a network that is shortened
SLOWER = 1.2  # a fit takes longer than its timed steps


def within(study: Study, budget: dict[str, Any]) -> Study:
    """The study without the runs that a budget leaves out, and with its epochs."""
    out, epochs = budget["left_out"], budget["epochs"]
    runs: list[Run] = []
    for run in study.runs:
        if run.name in out:
            continue
        if run.name in epochs:
            run = run.model_copy(update={"train": run.train | {"epochs": epochs[run.name]}})
        if run.members:
            options = {"members": [m for m in run.members if m not in out]}
            run = run.model_copy(update={"model": run.model.model_copy(update={"options": options})})
        runs.append(run)
    return study.model_copy(update={"runs": runs})


def keep_to_time(job: Job) -> None:
    """Take the study down to what can be trained in time; an earlier decision for the same minutes stands."""
    kept = job.out.budget.read({})
    if job.minutes is not None and kept.get("minutes") != job.minutes:
        kept = _decided(job, job.minutes)
        job.out.budget.write(kept)
    if not kept:
        return
    for name, reason in kept["left_out"].items():
        say("", f"  {name} is left out of the {kept['minutes']:g} minutes: {reason}")
    for name, epochs in kept["epochs"].items():
        say("", f"  {name} is trained for {epochs} epochs, to end in the {kept['minutes']:g} minutes")
    job.study = within(job.study, kept)
    if job.pseudonymiser:
        job.pseudonymiser.study = job.study
    record_study(job.study, job.out, job.pseudonymiser)


def _decided(job: Job, minutes: float) -> dict[str, Any]:
    """Minutes, epochs of runs that are shortened, and why others are left out."""
    networks = [config for config in job.configs if reads_images(config)]
    left = job.begun + 60 * minutes - time.monotonic() - max(RESERVE_SECONDS, RESERVE_SHARE * 60 * minutes)
    costs = _costs(job, networks, left)
    epochs: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for number, config in enumerate(networks):
        cost = costs[_kind(config)]
        if cost.reason:
            left_out[config.name] = f"it could not be timed: {cost.reason}"
            continue
        maps = cost.maps_seconds or 0.0
        needed = SLOWER * cost.most_seconds + maps
        if needed <= left:
            left -= needed
            continue
        fewer = int((left - maps) / max(SLOWER * cost.fits * cost.epoch_seconds, 1e-9))
        if number == 0 and fewer >= FEWEST_EPOCHS and not config.probes:
            epochs[config.name] = fewer
            left = 0.0
        else:
            left_out[config.name] = f"it takes about {duration(needed)}, and {duration(max(left, 0.0))} are left"
    means = [run for run in job.study.runs if run.members]
    while lost := [run.name for run in means if run.name not in left_out and set(run.members) <= set(left_out)]:
        left_out |= dict.fromkeys(lost, f"of its members {listed(list(left_out))} are left out")
    return {"minutes": minutes, "epochs": epochs, "left_out": left_out}


def _costs(job: Job, networks: list[RunConfig], left: float) -> dict[str, Cost]:
    """What networks take; those that differ by their seed alone are timed once."""
    first: dict[str, str] = {}
    for config in networks:
        first.setdefault(_kind(config), config.name)
    if not first:
        return {}
    if left <= 0:
        return {kind: Cost(name, reason="no time is left") for kind, name in first.items()}
    runs = [run for run in job.study.runs if run.name in first.values()]
    study = job.study.model_copy(update={"runs": runs})
    table = job.out.split_table.read()
    table[["train", "validation", "test"]] = table[["train", "validation", "test"]].astype(int)
    limit = max(min(SECONDS, TIMING_SHARE * left), 5.0)
    timed = {cost.run: cost for cost in time_runs(study, job.out.cohort.read(), job.paths(), table, limit)}
    return {kind: timed[name] for kind, name in first.items()}


def _kind(config: RunConfig) -> str:
    return config.run.model_dump_json(exclude={"name", "seed"})
