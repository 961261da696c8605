"""One network, one fold: a plain loop on Lightning Fabric.

Every epoch seeds itself from (seed, epoch), so a run that goes on from its last epoch
does what an unbroken one would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.core.errors import RunError
from scan2gene.core.files import atomic_path
from scan2gene.core.study import Data, Train
from scan2gene.core.tables import write_csv
from scan2gene.data.augment import flip, sample_generators, shift
from scan2gene.data.cohort import CohortTensors, to_input
from scan2gene.evaluate.metrics import auroc
from scan2gene.predict.forward import forward
from scan2gene.train.loss import masked_bce


@dataclass
class Progress:
    """Where a fold's training stands."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def fit_network(
    build: Callable[[], nn.Module],
    data: CohortTensors,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    view: Data,
    settings: Train,
    seed: int,
    folder: Path,
    names: dict[str, Any],
) -> None:
    """Train until `patience` epochs bring no better validation loss.

    Args:
        build: Gives a network with random weights.
        data: The cohort.
        train_rows: Positions of training exams.
        validation_rows: Positions of validation exams; they choose the checkpoint.
        view: Batch size and augmentation.
        settings: Optimiser, schedule, stopping.
        seed: Fixes weights, order and augmentation.
        folder: Gets best.pt (weights of the best epoch), last.pt (to go on from) and
            history.csv.
        names: split, repeat, fold; the first columns of history.csv.
    """
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    torch.manual_seed(seed)
    model = build()
    fused = fabric.device.type in ("cpu", "cuda")  # one pass over the weights instead of several
    optimizer = torch.optim.Adam(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused
    )
    model, optimizer = fabric.setup(model, optimizer)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=settings.plateau_factor, patience=settings.plateau_patience
    )
    images = data.images.to(fabric.device)
    progress = _resume(folder, model, optimizer, schedule)
    while progress.epoch < settings.epochs and progress.epoch - progress.best_epoch < settings.patience:
        started = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        train_loss = _epoch(fabric, model, optimizer, images, data, train_rows, view, seed, progress.epoch + 1)
        logits = forward(model, data, validation_rows.tolist(), view.batch_size)
        truth = data.targets[torch.as_tensor(validation_rows)]
        loss = float(masked_bce(torch.from_numpy(logits), truth.double()))
        schedule.step(loss)
        progress.epoch += 1
        if not np.isfinite(loss):
            raise RunError(
                f"training diverged in epoch {progress.epoch}: the validation loss is {loss}. "
                f"Lower train.learning_rate ({settings.learning_rate}) or standardise intensities with zscore."
            )
        better = loss < progress.best_loss
        if better:
            progress.best_loss, progress.best_epoch = loss, progress.epoch
        progress.history.append(
            {
                **names,
                "epoch": progress.epoch,
                "learning_rate": rate,
                "train_loss": train_loss,
                "validation_loss": loss,
                "validation_auroc": _mean_auroc(truth.numpy(), logits),
                "best": int(better),
                "seconds": round(time.perf_counter() - started, 3),
            }
        )
        _save(folder, model, optimizer, schedule, progress, better)
    (folder / "last.pt").unlink(missing_ok=True)


def _epoch(
    fabric: Any,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    data: CohortTensors,
    rows: np.ndarray,
    view: Data,
    seed: int,
    epoch: int,
) -> float:
    """One pass over the training exams; mean loss per batch."""
    torch.manual_seed(seed * 100_003 + epoch)  # dropout
    order = torch.as_tensor(rows)[torch.randperm(len(rows))]
    losses = []
    model.train()
    for chosen in _batches(order, view.batch_size):
        present = data.present[chosen].to(fabric.device)
        x = to_input(images[chosen.to(fabric.device)], present)
        generators = sample_generators(seed, epoch, chosen.tolist())
        if view.flip_axes:
            x = flip(x, view.flip_axes, generators)
        if view.shift_voxels:
            x = shift(x, view.shift_voxels, generators)
        loss = masked_bce(model(x, present), data.targets[chosen].to(fabric.device))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`; a last single exam joins the batch before, as batch statistics need two."""
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _mean_auroc(truth: np.ndarray, logits: np.ndarray) -> float | None:
    """Mean over the targets that have both classes in validation; None if none has."""
    values = []
    for target in range(truth.shape[1]):
        known = ~np.isnan(truth[:, target])
        y = truth[known, target]
        if 0 < y.sum() < len(y):
            values.append(float(auroc(y, logits[known, target])))
    return float(np.mean(values)) if values else None


def _save(folder: Path, model: Any, optimizer: Any, schedule: Any, progress: Progress, better: bool) -> None:
    if better:
        with atomic_path(folder / "best.pt") as temporary:
            torch.save(model.state_dict(), temporary)
    state = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "progress": vars(progress),
    }
    with atomic_path(folder / "last.pt") as temporary:
        torch.save(state, temporary)
    write_csv(folder / "history.csv", pd.DataFrame(progress.history))


def _resume(folder: Path, model: Any, optimizer: Any, schedule: Any) -> Progress:
    """Load the last epoch of a run that was stopped, if there is one."""
    path = folder / "last.pt"
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, weights_only=True)
    except Exception:  # a damaged file raises many kinds; the fold then starts anew
        return Progress()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return Progress(**state["progress"])
