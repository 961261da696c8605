"""`make bench`: what the training loop adds to forward, backward and optimizer, measured in the loop itself.

Three kinds of epochs in turns, each of the same number of steps: bare steps on one batch that stays
where it is, the loop of `train/loop.py` without augmentation, and with it. On a CPU one thread works
and its processor time is counted, so that what else runs on the machine does not show.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from feeding import STEPS


@dataclass(frozen=True)
class Case:
    """A network, its input and how it is trained."""

    model: str
    grid: tuple[int, int, int]
    channels: int = 3
    batch: int = 8
    exams: int = 24
    device: str = "cpu"
    precision: str = "32-true"
    compile: bool = False


@dataclass(frozen=True)
class Step:
    """Milliseconds of a training step.

    Args:
        bare: Forward, backward, optimizer.
        loop: In the loop, nothing augmented.
        load: Of that, taking the batch, by the loop's own clock; on a GPU that is the time to ask for it.
        augmented: In the loop, with augmentation.
    """

    bare: float
    loop: float
    load: float
    augmented: float


def images(case: Case) -> np.ndarray:
    """(N, C, K, J, I) uint8 of smooth structure."""
    shape = (case.exams, case.channels, *[max(n // 8, 1) for n in case.grid[::-1]])
    coarse = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    for axis, (n, size) in enumerate(zip(shape[2:], case.grid[::-1], strict=True), start=2):
        coarse = coarse.repeat(size // n, axis)
    return coarse


def prepared(case: Case, augment: bool) -> tuple[Any, np.ndarray]:
    """What the loop works with, and the rows of an epoch."""
    import pandas as pd
    import torch
    from lightning_fabric import Fabric

    from scan2gene.core.rundir import FitDirectory
    from scan2gene.core.study import Study
    from scan2gene.data.samples import Samples
    from scan2gene.models import MODELS
    from scan2gene.tasks.fit import Fit
    from scan2gene.tasks.run_config import resolve
    from scan2gene.train import loop

    names = pd.DataFrame({"patient_id": range(case.exams), "exam_id": range(case.exams)})
    targets = (torch.arange(case.exams) % 2).float()[:, None]
    data = Samples(names, torch.from_numpy(images(case)), torch.ones(case.exams, case.channels), targets, {}, ("y",))
    study = Study.model_validate({
        "name": "step", "targets": {"y": {}}, "runs": [{"name": "net", "model": {"name": case.model}}],
        "cohort": {"scans": ["scans"], "labels": "labels.csv", "roles": {"t1": {"match": {"path": "t1"}}}},
        "data": {"batch_size": case.batch, "augment": STEPS if augment else []},
        "train": {"device": case.device, "precision": case.precision, "compile": case.compile},
    })  # fmt: skip
    nowhere = FitDirectory(Path())  # a fit without sites writes nothing
    fit = Fit(resolve(study, study.runs[0]), "cv", 0, 0, nowhere)
    fabric = Fabric(accelerator=case.device, devices=1, precision=case.precision)
    rows = np.arange(case.exams)

    def build() -> Any:
        return MODELS[case.model](case.channels, 1)

    return loop.prepared(fabric, fit, build, data, rows), rows


def bare_step(case: Case) -> Callable[[], None]:
    """One step of plain torch on a batch that stays on the device: what no loop can do without."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from scan2gene.models import MODELS

    model: Any = MODELS[case.model](case.channels, 1).to(case.device)
    x = torch.randn(case.batch, case.channels, *case.grid[::-1], device=case.device)
    if case.device == "cuda":
        model = model.to(memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    model = torch.compile(model) if case.compile else model
    y = (torch.arange(case.batch, device=case.device) % 2).float()[:, None]

    def step() -> None:
        with torch.autocast(case.device, torch.bfloat16, enabled=case.precision == "bf16-mixed"):
            loss = binary_cross_entropy_with_logits(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def seconds(work: Callable[[], Any], device: str) -> float:
    """Seconds until a GPU has done the work; processor seconds on a CPU."""
    import torch

    if device != "cuda":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def measured(case: Case, rounds: int = 5) -> Step:
    """Medians over rounds, the three kinds of epochs in turns, after a warm-up."""
    from scan2gene.train.epoch import run_epoch

    one_step, count = bare_step(case), case.exams // case.batch
    (plain, rows), (changed, _) = prepared(case, augment=False), prepared(case, augment=True)
    loading: list[float] = []  # share of an epoch's wall time
    epochs = iter(range(1, 10_000))

    def bare() -> None:
        for _ in range(count):
            one_step()

    def loop() -> None:
        started = time.perf_counter()
        passed = run_epoch(plain, rows, next(epochs))
        loading.append(passed.data_seconds / (time.perf_counter() - started))

    works = (bare, loop, lambda: run_epoch(changed, rows, next(epochs)))
    table = np.array([[seconds(work, case.device) for work in works] for _ in range(rounds + 1)])[1:]
    base = float(np.median(table[:, 0])) * 1000 / count
    # Ratios within a round, as both sides of it met the same load.
    in_loop, augmented = base * np.median(table[:, 1:] / table[:, :1], axis=0)
    return Step(base, float(in_loop), float(in_loop * np.median(loading[1:])), float(augmented))


def lines() -> list[str]:
    """The table for RESULTS.md."""
    import torch

    torch.set_num_threads(1)
    step = measured(Case("resnet10", (96, 96, 32), exams=16))
    return [
        "| a training step of ResNet-10, one thread, batches of 8 x 3 x 96 x 96 x 32 | processor ms | beyond bare |",
        "|---|---|---|",
        f"| forward, backward, optimizer, on one batch that stays | {step.bare:.0f} | |",
        f"| in the training loop, nothing augmented | {step.loop:.0f} | {step.loop / step.bare - 1:+.1%} |",
        f"| of that, taking the batch from memory | {step.load:.1f} | {step.load / step.bare:+.1%} |",
        f"| in the training loop, with flip, affine, noise and intensity | {step.augmented:.0f} "
        f"| {step.augmented / step.bare - 1:+.1%} |",
    ]


if __name__ == "__main__":
    print("\n".join(lines()))
