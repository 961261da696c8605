"""`scan2gene plan`: what a study can show and what it will cost, before anything is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.cohorts.roles import ROLE_COLUMNS, contested
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.files import write_json
from scan2gene.core.machine import available_memory
from scan2gene.core.outputs import output_names
from scan2gene.core.study import Study, channels, for_run, input_roles
from scan2gene.core.study_file import load_study
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import read_csv
from scan2gene.defaults import with_choices
from scan2gene.evaluate.power import power_table, power_warnings
from scan2gene.pipeline import run, series_paths
from scan2gene.report.planned import choices

_TIMED_STEPS = 3


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
        step_seconds: One batch forward, backward and update.
        epoch_seconds: One epoch of one fit.
        least_seconds: All fits, when none improves after its first epoch.
        most_seconds: All fits, when each uses every epoch.
        reason: Why it could not be timed.
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


@dataclass(frozen=True)
class Plan:
    """What `plan` found out.

    Args:
        targets: One row per split and target: patients (or sides, see `unit`) per class and part, detectable AUROC.
        costs: One per run.
        warnings: Sentences.
        choices: What was chosen for the study and why, in lines.
    """

    targets: pd.DataFrame
    costs: list[Cost]
    warnings: list[str] = field(default_factory=list)
    choices: list[str] = field(default_factory=list)


def plan(study: Study | str | Path, out: str | Path | None = None, changes: Sequence[str] = ()) -> Plan:
    """Index, curate and split a study, and time a few training steps of every network.

    Args:
        study: A study, or the path of a study file.
        out: Run directory; default `runs/<study name>`.
        changes: "key=value" each; see `load_study`.

    Raises:
        Scan2GeneError: As `run` up to the split.
    """
    study = study if isinstance(study, Study) else load_study(study, changes)
    folder = run(study, out, until="split")
    table = read_csv(folder / "split_table.csv")
    table[["train", "validation", "test"]] = table[["train", "validation", "test"]].astype(int)
    planned = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    study = with_choices(study, planned["chosen"])
    targets = power_table(table, list(study.targets))
    cohort = read_csv(folder / "cohort.csv")
    paths = series_paths(study, folder)
    costs = [_cost(study, one, cohort, paths, table) for one in study.runs]
    write_json(folder / "costs.json", [vars(cost) for cost in costs])
    return Plan(
        targets,
        costs,
        [*contested(read_csv(folder / "roles.csv", ROLE_COLUMNS)), *power_warnings(targets), *_cost_warnings(costs)],
        [f"{key}: {value} ({why})" for key, value, why in choices(planned)],
    )


def _cost_warnings(costs: Sequence[Cost]) -> Iterator[str]:
    free = available_memory()
    for cost in costs:
        if cost.reason:
            yield f"{cost.run} could not be timed: {cost.reason}"
        elif cost.memory_bytes > 0.8 * free:
            yield (
                f"{cost.run} needs about {cost.memory_bytes / 1e9:.1f} GB of memory and {free / 1e9:.1f} GB are free: "
                "take a smaller grid or data.batch_size."
            )


def _cost(study: Study, one: Run, cohort: pd.DataFrame, paths: dict[str, str], counts: pd.DataFrame) -> Cost:
    from scan2gene.train.fold import is_classical

    folds = counts[["split", "repeat", "fold"]].drop_duplicates()
    if is_classical(one):
        return Cost(one.name, fits=len(folds))
    view = for_run(study, one)
    try:
        exam = _one_exam(view, cohort, paths)
        return _timed(view, one, cohort, exam, counts, len(folds) * (one.search.trials if one.search else 1))
    except (Scan2GeneError, RuntimeError, MemoryError) as error:
        return Cost(
            one.name, fits=len(folds), reason=str(error).splitlines()[0] if str(error) else type(error).__name__
        )


def _one_exam(view: Study, cohort: pd.DataFrame, paths: dict[str, str]) -> dict[str, np.ndarray]:
    """Prepared volumes of the first exam that can be prepared."""
    from scan2gene.imaging.index import read_volume
    from scan2gene.preprocess.recipe import apply_recipe

    trouble: Exception = Scan2GeneError("no exam")
    roles = view.cohort.roles
    for exam in cohort.head(5).to_dict("records"):
        try:
            volumes = {
                r: read_volume(paths[exam[f"role:{r}"]], roles[r].kind, roles[r].threshold)
                for r in roles
                if isinstance(exam[f"role:{r}"], str)
            }
            return {r: v.array for r, v in apply_recipe(volumes, view.preprocess).items()}
        except Scan2GeneError as error:
            trouble = error
    raise trouble


def _timed(
    view: Study, one: Run, cohort: pd.DataFrame, exam: dict[str, np.ndarray], counts: pd.DataFrame, fits: int
) -> Cost:
    roles = input_roles(view)
    shown = next((exam[r] for r in roles if r in exam), None)
    if shown is None:
        raise Scan2GeneError("the first exams have none of the roles that the network sees")
    volumes = int(sum(cohort[f"role:{r}"].notna().sum() for r in view.cohort.roles))
    size = 1 if all(a.dtype == np.uint8 for a in exam.values()) else 4
    disk = volumes * shown.size * size
    slices = view.data.slices
    each = sum(exam[r].shape[2] for r in roles if r in exam) if slices else 1  # what an exam feeds to the network
    each = min(each, slices.per_patient or each) if slices else each
    step, memory = _step(view, one, channels(view), shown.shape[:2] if slices else shown.shape)
    first = counts[counts["class"].isin(["positive", "negative", "unknown"])]
    patients = first["train"] / first["unit"].map({"patient": 1, "side": 2})
    train = patients.groupby([first[c] for c in ("split", "repeat", "fold", "target")]).sum().mean()
    per_patient = len(cohort) / max(cohort["patient_id"].nunique(), 1)
    batches = max(1, round(train * per_patient * each / view.data.batch_size))
    epoch = batches * step * 1.1  # validation is a forward pass over a quarter as many
    least = fits * epoch * min(view.train.epochs, view.train.patience + 1)
    most = fits * epoch * view.train.epochs
    if one.weights is not None and one.weights.probes:  # every exam passes the network once; heads take seconds
        epoch = least = most = len(cohort) * each / view.data.batch_size * step
    pixels = each * shown[:, :, 0].size if slices else len(roles) * shown.size
    held = len(cohort) * pixels * size
    return Cost(
        one.name, tuple(shown.shape), volumes, disk, held + memory, fits, step, epoch, least, most,
    )  # fmt: skip


def _step(view: Study, one: Run, roles: list[str], shape: tuple[int, ...]) -> tuple[float, int]:
    """Seconds of one training step and bytes it takes, on the device that training would use."""
    import torch
    from lightning_fabric import Fabric

    from scan2gene.data.augment import Batch, augment
    from scan2gene.train.loss import masked_bce
    from scan2gene.train.networks import build_network

    fabric = Fabric(accelerator=view.train.device, devices=1, precision=view.train.precision)
    device = fabric.device
    network = build_network(view, one)
    model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters()))
    x = torch.rand(view.data.batch_size, len(roles), *shape[::-1], device=device)
    names = tuple(output_names(view))
    y = torch.zeros(len(x), len(names), device=device)
    present = torch.ones(len(x), len(roles), device=device)
    seconds = []
    kept: dict[int, int] = {}  # storages that the backward pass needs -> bytes

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for number in range(_TIMED_STEPS + 1):
        started = time.perf_counter()
        batch = augment(Batch(x, y, names), view.data.augment, 0, number, range(len(x)))
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t) if number == 0 else nullcontext()
        with hooks:
            loss = masked_bce(model(batch.images, present), batch.targets)
        fabric.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    weights = 4 * sum(p.nbytes for p in network.parameters())  # with gradient and Adam's two moments
    return float(np.median(seconds[1:])), weights + 2 * x.nbytes + sum(kept.values())


def told(found: Plan) -> list[str]:
    """The plan in lines for a terminal."""
    lines = ["", "What the study leaves open and was chosen (plan.json):", *(f"  {c}" for c in found.choices)]
    if not found.choices:
        lines = []
    lines += ["", "What the test patients can show (within one repeat):"]
    for row in found.targets.itertuples():
        value = (
            "none"
            if row.detectable_auroc is None or row.detectable_auroc != row.detectable_auroc
            else f"{row.detectable_auroc:.2f}"
        )
        lines.append(
            f"  {row.split:<12}{row.target:<14}{row.positive} positive, {row.negative} negative; "
            f"smallest AUROC told from chance with 80 % power: {value}"
        )
    lines += ["", "What it takes:"]
    for cost in found.costs:
        if cost.reason:
            lines.append(f"  {cost.run:<16}not timed: {cost.reason}")
        elif not cost.grid:
            lines.append(f"  {cost.run:<16}{cost.fits} fits of a table, seconds")
        else:
            lines.append(
                f"  {cost.run:<16}{'x'.join(map(str, cost.grid))}, store {cost.disk_bytes / 1e9:.2f} GB, memory "
                f"{cost.memory_bytes / 1e9:.1f} GB, {cost.fits} fits, {_span(cost.epoch_seconds)} an epoch, "
                f"{' to '.join(dict.fromkeys(map(_span, (cost.least_seconds, cost.most_seconds))))} in all"
            )
    return [*lines, *(f"warning: {text}" for text in found.warnings)]


def _span(seconds: float) -> str:
    if seconds < 0.95:
        return "less than 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
