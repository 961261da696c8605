"""One network, one fold: a plain loop on Lightning Fabric.

Every epoch seeds itself from (seed, epoch), so a run that goes on from its last epoch
does what an unbroken one would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scan2gene.core.console import live
from scan2gene.core.errors import RunError
from scan2gene.core.leakage import LEAKY
from scan2gene.core.study_runs import Train
from scan2gene.core.text import duration, number_text
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import forward
from scan2gene.models.memory_format import channels_last
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import target_of
from scan2gene.train.checkpoint import Progress, resume, save
from scan2gene.train.epoch import State, run_epoch, steps_of_epoch
from scan2gene.train.history import figures
from scan2gene.train.loss import class_codes, label_weights, loss_groups, masked_loss
from scan2gene.train.monitor import LOSS, check_watched, monitored, to_lower
from scan2gene.train.schedules import EVERY_STEP, SCHEDULES, follow_rates
from scan2gene.train.sites import Adversary, pull, share_table, site_codes, site_shares


def fit_network(
    fit: Fit, build: Callable[[], nn.Module], data: Samples, train: np.ndarray, validation: np.ndarray
) -> None:
    """Train until `patience` epochs bring no better validation loss, or other figure that `monitor` names.

    Without patience all epochs are trained, and the weights of the last one are kept.

    Args:
        fit: Its folder gets best.pt (weights of the epoch kept), history.csv and last.pt, to go on from; whoever
            records that the fit is done may delete it.
        build: Gives a network with random weights.
        data: The samples.
        train: Rows of training samples.
        validation: Rows of validation samples; they choose the checkpoint. Without patience there may be none.
    """
    from lightning_fabric import Fabric

    settings = fit.config.train
    strategy = "ddp_spawn" if settings.devices > 1 else "auto"
    fabric = Fabric(
        accelerator=settings.device, devices=settings.devices, precision=settings.precision, strategy=strategy
    )
    work = (fit, build, data, train, validation)
    if settings.devices > 1:
        fabric.launch(partial(_launched, work=work))  # a partial: Fabric takes dataclasses among arguments apart
    else:
        _train(fabric, *work)


def _launched(fabric: Any, work: tuple[Any, ...]) -> None:
    _train(fabric, *work)


def _train(
    fabric: Any, fit: Fit, build: Callable[[], nn.Module], data: Samples, train: np.ndarray, validation: np.ndarray
) -> None:
    state, settings = prepared(fabric, fit, build, data, train), fit.config.train
    truth = data.targets[torch.as_tensor(validation)]
    outputs = data.names or tuple(f"output {n}" for n in range(truth.shape[1]))
    if settings.patience is not None:
        check_watched(settings.monitor, truth.numpy(), outputs, fit.title)
    progress = resume(state)
    while progress.epoch < settings.epochs and not _stopped(progress, settings):
        started = time.perf_counter()
        rate = state.optimizer.param_groups[0]["lr"]
        passed = run_epoch(state, train, progress.epoch + 1)
        logits = forward(state.evaluated, data, validation.tolist(), fit.config.data.batch_size, state.images)
        loss = None
        if len(validation):
            loss = float(masked_loss(torch.from_numpy(logits), truth.double(), groups=state.groups))
        if settings.schedule.name not in EVERY_STEP:
            state.schedule.step(*([loss] if settings.schedule.name == "plateau" else []))
            follow_rates(state.optimizer)
        progress.epoch += 1
        _check_finite(progress.epoch, passed.loss if loss is None else loss, loss is not None, settings)
        watched = loss
        if settings.monitor != LOSS and loss is not None:
            watched = monitored(settings.monitor, truth.numpy(), logits, outputs)
        row = {
            **fit.place,
            **({"leaky": LEAKY} if fit.config.is_leaky else {}),
            "epoch": progress.epoch,
            "steps": progress.epoch * state.steps,
            "learning_rate": rate,
            "last_rate": passed.rate,
            "train_loss": passed.loss,
            **figures("train", passed.labels, passed.logits, data.names),
            "validation_loss": loss,
            **figures("validation", truth.numpy(), logits, data.names),
        }
        if state.adversary:
            row |= {"site_loss": passed.site_loss, "site_pull": pull(state.adversary.settings, progress.epoch)}
        if settings.monitor != LOSS:
            row |= {"monitor": settings.monitor, "monitored": watched}
        better = _is_kept(progress, settings, watched)
        seconds = {"seconds": time.perf_counter() - started, "seconds_data": passed.data_seconds}
        progress.history.append(row | {"best": int(better)} | {k: round(v, 3) for k, v in seconds.items()})
        if fabric.global_rank == 0:
            save(state, progress, better)
            live(f"{fit.title}: {_described(progress, settings)}")
        fabric.barrier()
    if fabric.global_rank == 0:
        _describe_kept(state, progress, train)


def _stopped(progress: Progress, settings: Train) -> bool:
    """Whether early stopping ends the training."""
    return settings.patience is not None and progress.epoch - progress.best_epoch >= settings.patience


def _is_kept(progress: Progress, settings: Train, watched: float | None) -> bool:
    """Whether the weights of the epoch are to be kept: of the best one, or without early stopping of the last one."""
    if settings.patience is not None and watched is not None:
        return progress.improved_by(to_lower(settings.monitor, watched))
    last = progress.epoch == settings.epochs
    progress.best_epoch = progress.epoch if last else 0
    return last


def _check_finite(epoch: int, loss: float, of_validation: bool, settings: Train) -> None:
    if not np.isfinite(loss):
        raise RunError(
            f"training diverged in epoch {epoch}: the {'validation' if of_validation else 'training'} loss is {loss}. "
            f"Lower train.learning_rate ({settings.learning_rate}) or standardise intensities with zscore."
        )


def _describe_kept(state: State, progress: Progress, train: np.ndarray) -> None:
    """Add what the kept network says of its own training samples, in evaluation mode, to its row of history.csv."""
    folder, data = state.fit.folder, state.data
    state.evaluated.load_state_dict(torch.load(folder.best.path, weights_only=True, map_location="cpu"))
    logits = forward(state.evaluated, data, train.tolist(), state.fit.config.data.batch_size, state.images)
    truth = data.targets[torch.as_tensor(train)].numpy()
    progress.history[progress.best_epoch - 1] |= figures("final_train", truth, logits, data.names)
    folder.history.write(pd.DataFrame(progress.history))


def prepared(fabric: Any, fit: Fit, build: Callable[[], nn.Module], data: Samples, train: np.ndarray) -> State:
    """What the training of a fit works with; arguments as in `fit_network`."""
    settings, rows = fit.config.train, torch.as_tensor(train)
    groups, learned = loss_groups(fit.config.outputs), data.targets[rows]
    torch.manual_seed(fit.seed)
    network = build()
    adversary, codes = None, None
    if settings.site_adversary:
        adversary = Adversary(network, data, train, settings.site_adversary, settings.site_sampling)
        adversary = adversary.to(fabric.device)
    if settings.site_sampling:
        sites, codes = site_codes(data, train)
        if fabric.global_rank == 0:
            shares = site_shares(class_codes(learned, groups), codes[rows])
            fit.folder.sampling.write(share_table(learned, codes[rows], sites, data.names, shares))
    if fabric.device.type == "cuda":
        channels_last(network)
    optimizer = _optimizer(network, settings, fabric.device.type, adversary)
    average = None
    if settings.ema is not None:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
        average.to(fabric.device)
    model, wrapped = fabric.setup(torch.compile(network) if settings.compile else network, optimizer)
    of_targets = [settings.target_weights.get(target_of(name), 1.0) for name in data.names or [""] * learned.shape[1]]
    weights = label_weights(learned, settings.class_weights == "balanced", torch.tensor(of_targets), groups)
    steps = steps_of_epoch(len(train), fit.config.data.batch_size, settings.accumulate)
    schedule = SCHEDULES[settings.schedule.name](optimizer, settings.epochs, steps, **settings.schedule.options)
    follow_rates(optimizer)
    return State(
        fit, fabric, network, model, average, wrapped, schedule, data, data.placed(fabric.device), groups, weights,
        steps, codes, adversary,
    )  # fmt: skip


def _optimizer(
    network: nn.Module, settings: Train, device: str, adversary: nn.Module | None = None
) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    fused = device in ("cpu", "cuda")  # one pass over the weights instead of several
    groups = _groups(network, settings.pretrained_rate)
    if adversary is not None:
        groups.append({"params": list(adversary.parameters()), "factor": 1.0})
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True, fused=fused, **common)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, fused=fused, **common)


def _groups(network: nn.Module, pretrained_rate: float) -> list[dict[str, Any]]:
    """Trained parameters: new ones first, then those that start from weights, whose rate has a factor."""
    trained = [p for p in network.parameters() if p.requires_grad]
    if pretrained_rate == 1.0:
        return [{"params": trained}]
    new = [p for p in trained if not getattr(p, "pretrained", False)]
    old = [p for p in trained if getattr(p, "pretrained", False)]
    groups = [{"params": new, "factor": 1.0}, {"params": old, "factor": pretrained_rate}]
    return [g for g in groups if g["params"]]


def _described(progress: Progress, settings: Train) -> str:
    """Epoch, losses, AUROC and the longest time that may be left."""
    row = progress.history[-1]
    pace = float(np.median([r["seconds"] for r in progress.history[-10:]]))
    most = settings.epochs - progress.epoch
    if settings.patience is None or row["validation_loss"] is None:
        return f"epoch {progress.epoch}, loss {number_text(row['train_loss'])}, {duration(most * pace)} left"
    left = min(most, settings.patience - (progress.epoch - progress.best_epoch))
    shown = "" if row["validation_auroc"] is None else f", AUROC {number_text(row['validation_auroc'])}"
    return (
        f"epoch {progress.epoch}, loss {number_text(row['train_loss'])}, validation "
        f"{number_text(row['validation_loss'])}{shown}, {duration(left * pace)} left if nothing improves, "
        f"{duration(most * pace)} at most"
    )
