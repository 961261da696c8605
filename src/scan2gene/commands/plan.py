"""`scan2gene plan`: what a study can show and what it will cost, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.roles import contested
from scan2gene.core.machine import available_memory
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_file import load_study
from scan2gene.core.text import dimensions, duration, file_size, number_text
from scan2gene.evaluate.power_tables import power_warnings
from scan2gene.plan.choices import with_choices
from scan2gene.plan.costs import SECONDS, Cost, time_runs
from scan2gene.report.planned import choices
from scan2gene.stages.cohort import study_power
from scan2gene.stages.pipeline import run, series_paths


@dataclass(frozen=True)
class Plan:
    """What `plan` found out.

    Args:
        targets: One row per split and target, or class against the others: patients (or sides, see `unit`) per class
            and part, detectable AUROC.
        costs: One per run.
        warnings: Sentences.
        choices: What was chosen for the study and why, in lines.
    """

    targets: pd.DataFrame
    costs: list[Cost]
    warnings: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)


def plan(
    study: Study | str | Path, out: str | Path | None = None, changes: Sequence[str] = (), limit: float = SECONDS
) -> Plan:
    """Index, curate and split a study, and time a few training steps of every network.

    Args:
        study: A study, or the path of a study file.
        out: Run directory; default `runs/<study name>`.
        changes: "key=value" each; see `load_study`.
        limit: Seconds for the timing of all runs together; what does not fit is extrapolated or has its reason.

    Raises:
        Scan2GeneError: As `run` up to the split.
    """
    study = study if isinstance(study, Study) else load_study(study, changes)
    files = RunDirectory(run(study, out, until="split"))
    table = files.split_table.read()
    table[["train", "validation", "test"]] = table[["train", "validation", "test"]].astype(int)
    planned = files.plan.read()
    study = with_choices(study, planned["chosen"])
    targets = study_power(study, files.split.read(), files.labels.read())
    cohort, labels = files.cohort.read(), files.labels.read()
    costs = time_runs(study, cohort, series_paths(study, files.path), table, limit, labels)
    files.costs.write([vars(cost) for cost in costs])
    return Plan(
        targets,
        costs,
        [*contested(files.roles.read()), *power_warnings(targets), *_cost_warnings(costs)],
        [f"{key}: {value} ({why})" for key, value, why in choices(planned)],
    )


def _cost_warnings(costs: Sequence[Cost]) -> Iterator[str]:
    free = available_memory()
    for cost in costs:
        if cost.reason:
            yield f"{cost.run} could not be timed: {cost.reason}"
        elif cost.memory_bytes > 0.8 * free:
            yield (
                f"{cost.run} needs about {file_size(cost.memory_bytes)} of memory and {file_size(free)} are free: "
                "take a smaller grid or data.batch_size."
            )
        if cost.overfit and cost.overfit[2] < 1.0:
            patients, steps, value = cost.overfit
            yield (
                f"{cost.run} does not learn {patients} patients by heart: their AUROC is {number_text(value, 2)} after "
                f"{steps} steps without augmentation. Look at its input (`scan2gene qc`), its network and "
                "train.learning_rate before the long work."
            )


def told(found: Plan) -> list[str]:
    """The plan in lines for a terminal."""
    lines = ["", "What the study leaves open and was chosen (plan.json):", *(f"  {c}" for c in found.choices)]
    if not found.choices:
        lines = []
    lines += ["", "What the test patients can show (within one repeat):"]
    width = max([14, *(len(target) + 2 for target in found.targets["target"])])
    for row in found.targets.itertuples():
        none = row.detectable_auroc is None or row.detectable_auroc != row.detectable_auroc
        value = "none" if none else number_text(row.detectable_auroc, 2)
        lines.append(
            f"  {row.split:<12}{row.target:<{width}}{row.positive} positive, {row.negative} negative; "
            f"smallest AUROC told from chance with 80 % power: {value}"
        )
    lines += ["", "What it takes:"]
    wide = max([16, *(len(cost.run) + 2 for cost in found.costs)])
    for cost in found.costs:
        if cost.reason:
            lines.append(f"  {cost.run:<{wide}}not timed: {cost.reason}")
        elif not cost.grid:
            lines.append(f"  {cost.run:<{wide}}{cost.fits} fits of a table, seconds")
        else:
            spans = dict.fromkeys(map(duration, (cost.least_seconds, cost.most_seconds)))
            lines.append(
                f"  {cost.run:<{wide}}{dimensions(cost.grid)}, store {file_size(cost.disk_bytes)}, memory "
                f"{file_size(cost.memory_bytes)}, {cost.fits} fits, {duration(cost.epoch_seconds)} an epoch, "
                f"{' to '.join(spans)} in all{_beside(cost)}"
            )
    return [*lines, *(f"warning: {text}" for text in found.warnings)]


def _beside(cost: Cost) -> str:
    maps = f", maps about {duration(cost.maps_seconds)}" if cost.maps_seconds else ""
    if cost.overfit and cost.overfit[2] == 1:
        maps += f"; learns {cost.overfit[0]} patients by heart in {cost.overfit[1]} steps"
    return maps + (f" ({cost.note})" if cost.note else "")
