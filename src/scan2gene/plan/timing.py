"""The timing of a study's runs, as a process of its own that `costs` starts and may stop at any moment.

Every run is timed with a batch of one first, then with as large a part of its batch as the time allows.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.study_runs import Explain
from scan2gene.core.text import listed
from scan2gene.plan.costs import Cost
from scan2gene.tasks.run_config import RunConfig, resolved

_TIMED_STEPS = 3
_SHORT = 5.0  # seconds of a step below which the first one, which also sets things up, says little
_CAMS = {"hires_cam", "grad_cam", "grad_cam_pp"}  # one forward and backward pass
_RANDOMISED = 4 * 6  # maps of the randomisation check of a fit and target, at most
_PASSES = 3  # a forward and backward pass costs about three forward passes


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Args:
        seconds: Of the passes, which grow with the batch.
        update: Seconds of the optimiser, which do not.
        grows: Bytes that grow with the batch.
        stays: Bytes that do not.
        size: Of the batch.
    """

    seconds: float
    update: float
    grows: int
    stays: int
    size: int

    def at(self, batch: int) -> float:
        """Seconds of a step of another batch."""
        return self.seconds * batch / self.size + self.update


def _work(tell: Callable[[dict[str, Any]], None]) -> None:
    """Time the runs that stand on standard input: each once with a batch of one, then whole batches where they fit."""
    study, names, cohort, labels, paths, counts, limit = pickle.load(sys.stdin.buffer)
    until = time.monotonic() + limit
    configs = {config.name: config for config in resolved(study)}
    exams: dict[str, Any] = {}
    timed: dict[str, tuple[Step, Callable[[Step, str], Cost]]] = {}
    for name in names:
        config = configs[name]

        def about(what: str, name: str = name) -> None:
            tell({"run": name, "about": what})

        try:
            exam = _exam(config, cohort, paths, exams, about)
            about("one step with a batch of one")
            step, note = _step(config, _shape(config, exam), 1)
            made = _cost_of(config, study.explain, cohort, exam, counts)
            tell({"cost": vars(made(step, note))})
            timed[name] = step, made
        except (Scan2GeneError, RuntimeError, MemoryError) as error:
            tell({"cost": vars(Cost(name, fits=_fits(config, counts), reason=_first_line(error)))})
    for left, name in zip(range(len(timed), 0, -1), sorted(timed, key=lambda n: timed[n][0].seconds), strict=True):
        config, (step, made) = configs[name], timed[name]
        share = (until - time.monotonic()) / max(left / 2, 1)
        size = config.data.batch_size
        while size > 1 and step.at(size) * (_TIMED_STEPS + 1) > share:
            size //= 2
        if size > 1:
            try:
                tell({"cost": vars(made(*_step(config, _shape(config, exams[_key(config)]), size)))})
            except (RuntimeError, MemoryError) as error:
                tell({"cost": vars(Cost(name, fits=_fits(config, counts), reason=_first_line(error)))})

    tried = [configs[name] for name in timed] if labels is not None else []
    for name, result in _overfits(tried, cohort, labels, paths, until):
        tell({"run": name, "overfit": result})


def _overfits(
    configs: Sequence[RunConfig], cohort: pd.DataFrame, labels: pd.DataFrame, paths: dict[str, str], until: float
) -> Iterator[tuple[str, tuple[int, int, float]]]:
    """How each different network that is trained whole, on volumes, learns a few patients, while time is left."""
    from scan2gene.plan.overfit import SECONDS, overfit

    done: set[str] = set()
    for config in configs:
        key = f"{config.model} {_key(config)}"
        whole = not (config.probes or config.is_slices or config.search or config.weights)
        if not whole or key in done or time.monotonic() > until:
            continue
        done.add(key)
        try:
            found = overfit(config, cohort, labels, paths, min(until, time.monotonic() + SECONDS))
        except (Scan2GeneError, RuntimeError, MemoryError):  # its timing has said why
            continue
        if found.is_whole:
            yield config.name, (found.patients, found.steps, found.auroc)


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _fits(config: RunConfig, counts: pd.DataFrame) -> int:
    return len(counts[["split", "repeat", "fold"]].drop_duplicates()) * (config.search.trials if config.search else 1)


def _key(config: RunConfig) -> str:
    from scan2gene.preprocess.recipe import recipe_hash, roles_read

    return " ".join([recipe_hash(config.recipe), *roles_read(config)])


def _exam(
    config: RunConfig, cohort: pd.DataFrame, paths: dict[str, str], done: dict[str, Any], about: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Prepared volumes of the first exam that can be prepared, of the roles that the run reads; once per recipe."""
    from scan2gene.imaging.index import read_volume
    from scan2gene.preprocess.recipe import apply_recipe, roles_read

    if _key(config) in done:
        return done[_key(config)]
    about("one exam is prepared")
    trouble: Exception = Scan2GeneError("no exam")
    roles = {n: config.cohort_roles[n] for n in roles_read(config)}
    for exam in cohort.head(5).to_dict("records"):
        there = {r: role for r, role in roles.items() if isinstance(exam[f"role:{r}"], str)}
        try:
            volumes = {r: read_volume(paths[exam[f"role:{r}"]], role.kind, role.threshold) for r, role in there.items()}
            optional = [r for r, role in there.items() if role.optional]
            made = apply_recipe(volumes, config.recipe, optional, {})
            if any(role in made for role in config.roles):
                done[_key(config)] = {r: v.array for r, v in made.items()}
                return done[_key(config)]
            trouble = Scan2GeneError("the first exams have none of the roles that the network sees")
        except Scan2GeneError as error:
            trouble = error
    raise trouble


def _shown(config: RunConfig, exam: dict[str, np.ndarray]) -> np.ndarray:
    return next(exam[r] for r in config.roles if r in exam)


def _shape(config: RunConfig, exam: dict[str, np.ndarray]) -> tuple[int, ...]:
    shape = _shown(config, exam).shape
    return shape[:2] if config.is_slices else shape


def _cost_of(
    config: RunConfig, explain: Explain, cohort: pd.DataFrame, exam: dict[str, np.ndarray], counts: pd.DataFrame
) -> Callable[[Step, str], Cost]:
    """A step that was timed -> the cost of the run, with a note."""
    from scan2gene.preprocess.recipe import roles_read

    roles, shown, batch = config.roles, _shown(config, exam), config.data.batch_size
    volumes = int(sum(cohort[f"role:{r}"].notna().sum() for r in roles_read(config)))
    size = 1 if all(a.dtype == np.uint8 for a in exam.values()) else 4
    slices = config.data.slices
    each = sum(exam[r].shape[2] for r in roles if r in exam) if slices else 1  # what an exam feeds to the network
    each = min(each, slices.per_patient or each) if slices else each
    patients = counts["train"] / counts["unit"].map({"patient": 1, "side": 2})
    train = patients.groupby([counts[c] for c in ("split", "repeat", "fold", "target")]).sum().mean()
    per_patient = len(cohort) / max(cohort["patient_id"].nunique(), 1)
    batches = max(1, round(train * per_patient * each / batch))
    pixels = each * shown[:, :, 0].size if slices else len(roles) * shown.size

    def cost(step: Step, note: str) -> Cost:
        seconds = step.at(batch)
        short = f"extrapolated from a batch of {step.size}" if step.size < batch else ""
        memory = step.stays + step.grows * batch // step.size
        fits = _fits(config, counts)
        epoch = batches * seconds * 1.1  # validation is a forward pass over a quarter as many
        patience = config.train.epochs if config.train.patience is None else config.train.patience
        least, most = (
            fits * epoch * min(config.train.epochs, patience + 1),
            fits * epoch * config.train.epochs,
        )
        if config.probes:  # every exam passes the network once; heads take seconds
            epoch = least = most = len(cohort) * each * seconds / batch
        maps, open_maps = _maps(
            config, explain, counts, each * step.seconds / step.size * (_PASSES if config.probes else 1)
        )
        notes = "; ".join(n for n in (short, note, open_maps) if n)
        return Cost(
            config.name, tuple(shown.shape), volumes, volumes * shown.size * size, len(cohort) * pixels * size + memory,
            fits, seconds, epoch, least, most, maps_seconds=maps, note=notes,
        )  # fmt: skip

    return cost


def _maps(config: RunConfig, explain: Explain, counts: pd.DataFrame, seconds: float) -> tuple[float | None, str]:
    """Seconds of all maps of a run at so many a map, or why they are left open."""
    if not explain.exams:
        return 0.0, ""
    others = [m.name for m in explain.methods if m.name not in _CAMS]
    if others:
        return None, f"maps by {listed(others)} are not estimated"
    named = explain.splits or [config.splits[0].name]
    folds = counts[counts["split"].isin(named) & (counts["repeat"].astype(int) == 0)]
    fits = len(folds[["split", "fold"]].drop_duplicates())
    masks = any(role.kind == "label" for role in config.cohort_roles.values())
    chosen = len(named) * (4 * explain.exams + (2 * explain.scored if masks else 0)) * len(explain.methods)
    targets = len([t for t in config.targets if not explain.targets or t in explain.targets])
    return targets * (chosen + fits * _RANDOMISED) * seconds, ""


def _network(config: RunConfig) -> tuple[Any, str]:
    """The run's network, and a note where its weights are not at hand."""
    from scan2gene.models.networks import build_network

    try:
        return build_network(config), ""
    except Scan2GeneError:
        if config.weights is None:
            raise
        return build_network(replace(config, weights=None)), "with random weights, as its file lacks"


def _step(config: RunConfig, shape: Sequence[int], size: int) -> tuple[Step, str]:
    """One step on the device that training would use, and a note; of a frozen encoder a forward pass."""
    import torch
    from lightning_fabric import Fabric

    from scan2gene.data.augment import Batch, augment
    from scan2gene.train.loss import masked_loss

    fabric = Fabric(accelerator=config.train.device, devices=1, precision=config.train.precision)
    network, note = _network(config)
    frozen = config.probes
    kept: dict[int, int] = {}  # storages that the backward pass needs -> bytes
    if frozen:
        model = fabric.setup(network.eval())
    else:
        model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters()))
    weights = {p.untyped_storage().data_ptr(): p.nbytes for p in network.parameters()}
    roles = config.channels
    x = torch.rand(size, len(roles), *shape[::-1], device=fabric.device)
    names = tuple(config.output_names)
    y, present = (torch.zeros(size, n, device=fabric.device) for n in (len(names), len(roles)))
    present += 1

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    def train(number: int) -> None:
        batch = augment(Batch(x, y, names), config.data.augment, 0, number, range(size))
        hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t) if number == 0 else nullcontext()
        with hooks:
            loss = masked_loss(model(batch.images, present), batch.targets)
        fabric.backward(loss)

    def update() -> None:
        if not frozen:
            optimizer.step()
            optimizer.zero_grad()

    def look(number: int) -> None:
        with torch.inference_mode():
            model(x, present)

    seconds: list[float] = []
    updates: list[float] = []
    for number in range(_TIMED_STEPS + 1 if size > 1 else 2):
        for part, took in ((lambda: (look if frozen else train)(number), seconds), (update, updates)):  # noqa: B023
            started = time.perf_counter()
            part()
            if fabric.device.type == "cuda":
                torch.cuda.synchronize(fabric.device)
            took.append(time.perf_counter() - started)
        if size == 1 and seconds[0] > _SHORT:
            break
    held = sum(weights.values()) * (1 if frozen else 4)  # with gradient and Adam's two moments
    saved = sum(n for pointer, n in kept.items() if pointer not in weights)
    once = sum(n for pointer, n in kept.items() if pointer in weights)
    passes, once_each = (float(np.median(took[1:] or took)) for took in (seconds, updates))
    return Step(passes, once_each, 2 * x.nbytes + saved, held + once, size), note


def main() -> None:
    """Time runs for the process that started this one; standard output is for JSON alone."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(line: dict[str, Any]) -> None:
        out.write(json.dumps(line) + "\n")
        out.flush()

    _work(tell)


if __name__ == "__main__":
    main()
