"""One network, one fold: a plain loop on Lightning Fabric.

Every epoch seeds itself from (seed, epoch), so a run that goes on from its last epoch
does what an unbroken one would have done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from scan2gene.core.console import live
from scan2gene.core.errors import RunError
from scan2gene.core.files import atomic_path
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study_runs import Data, Train
from scan2gene.core.text import duration, number_text
from scan2gene.data.augment import Batch, augment
from scan2gene.data.draws import Draws
from scan2gene.data.images import taken, to_input
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import forward
from scan2gene.models.memory_format import channels_last
from scan2gene.stats.metrics import auroc
from scan2gene.tasks.outputs import Output, target_of
from scan2gene.train.loss import (
    BCE,
    Group,
    LabelWeights,
    balanced_shares,
    class_codes,
    label_weights,
    loss_groups,
    masked_loss,
)
from scan2gene.train.monitor import LOSS, check_watched, monitored, to_lower
from scan2gene.train.schedules import SCHEDULES
from scan2gene.train.sites import Adversary, pull, share_table, site_codes, site_shares

_MIXUP = 1_000  # number of mixup's random stream, behind those of the augmentation steps


@dataclass
class Progress:
    """Where a fold's training stands; `best_loss` is the least of what is watched, negative where that should rise."""

    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Fit:
    """What one fit works with.

    Args:
        fabric: Device, precision, processes.
        network: The bare network, whose weights are saved.
        model: The same, compiled and wrapped for the device.
        average: Running average of the weights, or None.
        optimizer: Over the network's weights.
        schedule: Of the learning rate.
        data: The cohort.
        images: Its images where they are used from: on the device when they fit.
        view: Batch size and augmentation.
        settings: Everything else.
        groups: Columns of logits that share a loss.
        weights: Of labels.
        seed: Of the fold.
        codes: Number of each exam's site, where draws are balanced by it.
        adversary: Names sites from features, or None.
    """

    fabric: Any
    network: nn.Module
    model: Any
    average: AveragedModel | None
    optimizer: Any
    schedule: Any
    data: Samples
    images: Any
    view: Data
    settings: Train
    groups: list[Group]
    weights: LabelWeights
    seed: int
    codes: Tensor | None = None
    adversary: Adversary | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The network that validation sees and best.pt keeps."""
        return self.network if self.average is None else self.average.module


def fit_network(
    build: Callable[[], nn.Module],
    data: Samples,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    view: Data,
    settings: Train,
    seed: int,
    folder: Path,
    names: dict[str, Any],
    title: str = "",
    answers: Sequence[Output] = (),
) -> None:
    """Train until `patience` epochs bring no better validation loss, or other figure that `monitor` names.

    Args:
        build: Gives a network with random weights.
        data: The cohort.
        train_rows: Positions of training exams.
        validation_rows: Positions of validation exams; they choose the checkpoint.
        view: Batch size and augmentation.
        settings: Optimiser, schedule, stopping.
        seed: Fixes weights, order and augmentation.
        folder: Gets best.pt (weights of the best epoch), history.csv and last.pt, to go on
            from; whoever records that the fit is done may delete it.
        names: split, repeat, fold; the first columns of history.csv.
        title: Stands before the line that a terminal shows, once an epoch.
        answers: What the network puts out; default: all binary.
    """
    from lightning_fabric import Fabric

    strategy = "ddp_spawn" if settings.devices > 1 else "auto"
    fabric = Fabric(
        accelerator=settings.device, devices=settings.devices, precision=settings.precision, strategy=strategy
    )
    work = (build, data, train_rows, validation_rows, view, settings, seed, folder, names, title, answers)
    if settings.devices > 1:
        fabric.launch(partial(_launched, work=work))  # a partial: Fabric takes dataclasses among arguments apart
    else:
        _fit(fabric, *work)


def _launched(fabric: Any, work: tuple[Any, ...]) -> None:
    _fit(fabric, *work)


def _fit(
    fabric: Any,
    build: Callable[[], nn.Module],
    data: Samples,
    train_rows: np.ndarray,
    validation_rows: np.ndarray,
    view: Data,
    settings: Train,
    seed: int,
    folder: Path,
    names: dict[str, Any],
    title: str,
    answers: Sequence[Output],
) -> None:
    fit = _prepared(fabric, build, data, train_rows, view, settings, seed, folder, answers)
    known = data.targets[torch.as_tensor(validation_rows)].numpy()
    outputs = data.names or tuple(f"output {n}" for n in range(known.shape[1]))
    check_watched(settings.monitor, known, outputs, title or "a fit")
    progress = _resume(folder, fit)
    while progress.epoch < settings.epochs and progress.epoch - progress.best_epoch < settings.patience:
        started = time.perf_counter()
        rate = fit.optimizer.param_groups[0]["lr"]
        passed = _epoch(fit, train_rows, progress.epoch + 1)
        logits = forward(fit.evaluated, data, validation_rows.tolist(), view.batch_size, fit.images)
        truth = data.targets[torch.as_tensor(validation_rows)]
        loss = float(masked_loss(torch.from_numpy(logits), truth.double(), groups=fit.groups))
        fit.schedule.step(*([loss] if settings.schedule.name == "plateau" else []))
        _follow_rates(fit.optimizer)
        progress.epoch += 1
        if not np.isfinite(loss):
            raise RunError(
                f"training diverged in epoch {progress.epoch}: the validation loss is {loss}. "
                f"Lower train.learning_rate ({settings.learning_rate}) or standardise intensities with zscore."
            )
        watched = loss if settings.monitor == LOSS else monitored(settings.monitor, truth.numpy(), logits, outputs)
        score = to_lower(settings.monitor, watched)
        better = score < progress.best_loss or not progress.best_epoch
        if better:
            progress.best_loss, progress.best_epoch = score, progress.epoch
        row = {
            **names,
            "epoch": progress.epoch,
            "learning_rate": rate,
            "train_loss": passed.loss,
            **_by_target("train_auroc", _aurocs(passed.labels, passed.logits), data.names),
            **_by_target("train_accuracy", _accuracies(passed.labels, passed.logits), data.names),
            "validation_loss": loss,
            **_by_target("validation_auroc", _aurocs(truth.numpy(), logits), data.names),
            **_by_target("validation_accuracy", _accuracies(truth.numpy(), logits), data.names),
            **(
                {"site_loss": passed.site_loss, "site_pull": pull(fit.adversary.settings, progress.epoch)}
                if fit.adversary
                else {}
            ),
            **({} if settings.monitor == LOSS else {"monitor": settings.monitor, "monitored": watched}),
            "best": int(better),
            "seconds": round(time.perf_counter() - started, 3),
            "seconds_data": round(passed.data_seconds, 3),
        }
        progress.history.append(row)
        if fabric.global_rank == 0:
            _save(folder, fit, progress, better)
            live(f"{title}: {_told(progress, settings)}")
        fabric.barrier()


def _prepared(
    fabric: Any,
    build: Callable[[], nn.Module],
    data: Samples,
    train_rows: np.ndarray,
    view: Data,
    settings: Train,
    seed: int,
    folder: Path,
    answers: Sequence[Output] = (),
) -> Fit:
    groups = loss_groups(answers)
    torch.manual_seed(seed)
    network = build()
    adversary, codes = None, None
    if settings.site_adversary:
        adversary = Adversary(network, data, train_rows, settings.site_adversary, settings.site_sampling)
        adversary = adversary.to(fabric.device)
    if settings.site_sampling:
        sites, codes = site_codes(data, train_rows)
        rows = torch.as_tensor(train_rows)
        if fabric.global_rank == 0:
            shares = site_shares(class_codes(data.targets[rows], groups), codes[rows])
            table = share_table(data.targets[rows], codes[rows], sites, data.names, shares)
            FitDirectory(folder).sampling.write(table)
    if fabric.device.type == "cuda":
        channels_last(network)
    optimizer = _optimizer(network, settings, fabric.device.type, adversary)
    average = None
    if settings.ema is not None:
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True)
        average.to(fabric.device)
    model, wrapped = fabric.setup(torch.compile(network) if settings.compile else network, optimizer)
    known = torch.tensor(
        [settings.target_weights.get(target_of(name), 1.0) for name in data.names or [""] * data.targets.shape[1]]
    )
    learned = data.targets[torch.as_tensor(train_rows)]
    weights = label_weights(learned, settings.class_weights == "balanced", known, groups)
    schedule = SCHEDULES[settings.schedule.name](optimizer, settings.epochs, **settings.schedule.options)
    _follow_rates(optimizer)
    images = data.placed(fabric.device)
    return Fit(
        fabric, network, model, average, wrapped, schedule, data, images, view, settings, groups, weights, seed, codes,
        adversary,
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


def _follow_rates(optimizer: torch.optim.Optimizer) -> None:
    """Keep every group's rate at its factor of the first one's; schedules know of one rate only."""
    first = optimizer.param_groups[0]
    for group in optimizer.param_groups[1:]:
        group["lr"] = first["lr"] * group["factor"] / first.get("factor", 1.0)


def _train_mode(network: nn.Module) -> None:
    """Training mode, except for frozen layers: their batch statistics stay as they are too."""
    network.train()
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            module.eval()


@dataclass(frozen=True)
class Passed:
    """One pass over the training exams.

    Args:
        loss: Mean per step.
        logits: (N, T) answers in passing, before each step, with dropout and augmentation.
        labels: (N, T) theirs, NaN where unknown.
        site_loss: Of naming sites, 0 without an adversary.
        data_seconds: Spent on data and augmentation.
    """

    loss: float
    logits: np.ndarray
    labels: np.ndarray
    site_loss: float
    data_seconds: float


def _epoch(fit: Fit, rows: np.ndarray, epoch: int) -> Passed:
    torch.manual_seed(fit.seed * 100_003 + epoch)  # order, dropout
    batches = _batches(_order(fit, rows), fit.view.batch_size)
    losses, site_losses, data_seconds = [], [], 0.0
    said: list[Tensor] = []  # (2, B, T) logits and labels
    fit.model.train()
    _train_mode(fit.network)
    world, rank = fit.fabric.world_size, fit.fabric.global_rank
    for begin in range(0, len(batches), fit.settings.accumulate):
        group = batches[begin : begin + fit.settings.accumulate]
        # Divided by the weight of the whole group, so that several small batches equal a large one.
        total = sum(float(fit.weights.of(fit.data.targets[chosen]).sum()) for chosen in group)
        step_loss = torch.zeros((), device=fit.fabric.device)
        for number, chosen in enumerate(group):
            last = number == len(group) - 1
            mine = chosen[rank::world] if world > 1 and len(chosen) >= 2 * world else chosen
            share = world if mine is not chosen else 1
            with fit.fabric.no_backward_sync(fit.model, enabled=not last and world > 1):
                started = time.perf_counter()
                x, present, labels, targets, weights = _batch(fit, mine, epoch)
                data_seconds += time.perf_counter() - started
                logits = fit.model(x, present)
                if mine is not chosen or rank == 0:  # a chunk that all processes saw counts once
                    said.append(torch.stack([logits.detach().float(), labels]))
                loss = masked_loss(logits, targets, weights, fit.groups)
                loss = loss * (weights.nansum() * share / max(total, 1e-12))
                against = None
                if fit.adversary is not None:
                    against = fit.adversary.loss(chosen, epoch) * (len(chosen) / sum(map(len, group)))
                    site_losses.append(against.detach() * len(group))
                fit.fabric.backward(loss if against is None else loss + against)
            step_loss += loss.detach()
        if fit.settings.clip_norm is not None:
            fit.fabric.clip_gradients(fit.model, fit.optimizer, max_norm=fit.settings.clip_norm)
        fit.optimizer.step()
        fit.optimizer.zero_grad(set_to_none=True)
        if fit.average is not None:
            fit.average.update_parameters(fit.network)
        losses.append(step_loss)
    told, labels = _gathered(fit.fabric, said, fit.data.targets.shape[1])
    of_sites = float(torch.stack(site_losses).mean()) if site_losses else 0.0
    return Passed(float(fit.fabric.all_reduce(torch.stack(losses).mean())), told, labels, of_sites, data_seconds)


def _gathered(fabric: Any, said: Sequence[Tensor], outputs: int) -> np.ndarray:
    """(2, N, T) logits and labels of all processes; places that one has and another has not hold NaN."""
    mine = torch.cat([torch.empty(2, 0, outputs, device=fabric.device), *said], dim=1)
    if fabric.world_size > 1:
        longest = int(fabric.all_reduce(torch.tensor(mine.shape[1], device=fabric.device), reduce_op="max"))
        mine = torch.nn.functional.pad(mine, (0, 0, 0, longest - mine.shape[1]), value=torch.nan)
        mine = torch.cat(list(fabric.all_gather(mine)), dim=1)
    return mine.cpu().numpy()


def _order(fit: Fit, rows: np.ndarray) -> Tensor:
    """Training exams in the order of an epoch."""
    rows_tensor = torch.as_tensor(rows)
    targets = class_codes(fit.data.targets[rows_tensor], fit.groups)
    if fit.codes is not None:
        shares = site_shares(targets, fit.codes[rows_tensor])
    elif fit.settings.balanced_sampling:
        shares = balanced_shares(targets)
    else:
        return rows_tensor[torch.randperm(len(rows))]
    return rows_tensor[torch.multinomial(shares, len(rows), replacement=True)]


def _batch(fit: Fit, chosen: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Augmented input, presence, labels, what is learned in their place and its weights, on the device."""
    device = fit.fabric.device
    present = fit.data.present[chosen].to(device)
    x = to_input(taken(fit.images, chosen).to(device, non_blocking=True), present)
    batch = Batch(x, fit.data.targets[chosen].to(device), tuple(fit.data.names), fit.data.spacing_mm)
    batch = augment(batch, fit.view.augment, fit.seed, epoch, chosen.tolist())
    x, labels = batch.images, batch.targets
    if fit.view.augment:
        x = x * present.view(*present.shape, *[1] * (x.ndim - 2))  # an absent role stays zero whatever was done to it
    weights, targets = fit.weights.of(labels), labels
    if fit.settings.label_smoothing:
        targets = targets * (1 - fit.settings.label_smoothing) + fit.settings.label_smoothing / _choices(fit, labels)
    if fit.settings.mixup and len(chosen) > 1:
        x, present, targets, weights = _mixed(fit, x, present, targets, weights, chosen, epoch)
    return x, present, labels, targets, weights


def _choices(fit: Fit, targets: Tensor) -> Tensor:
    """(T,) how many classes each column's label has been chosen from."""
    counts = torch.full((targets.shape[1],), 2.0, device=targets.device)
    for _, columns in (g for g in fit.groups if g[0] != BCE):
        counts[columns] = len(columns)
    return counts


def _mixed(
    fit: Fit, x: Tensor, present: Tensor, targets: Tensor, weights: Tensor, chosen: Tensor, epoch: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each exam mixed with its neighbour in the batch; a label is known only where both know it.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization".
    """
    draws = Draws(fit.seed, epoch, chosen.tolist(), _MIXUP, x.device)
    share = draws.beta(fit.settings.mixup)  # (B,)
    share = torch.maximum(share, 1 - share)
    wide, thin = share.view(-1, *[1] * (x.ndim - 1)), share.view(-1, 1)

    def mixed(values: Tensor, by: Tensor) -> Tensor:
        return values * by + values.roll(1, 0) * (1 - by)

    present = torch.maximum(present, present.roll(1, 0))
    return mixed(x, wide), present, mixed(targets, thin), mixed(weights, thin)


def _batches(order: Tensor, size: int) -> list[Tensor]:
    """Batches of `size`; a last single exam joins the batch before, as batch statistics need two."""
    parts = list(order.split(size))
    if size > 1 and len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def _aurocs(truth: np.ndarray, logits: np.ndarray) -> list[float | None]:
    """AUROC of each output; None where labels have one class only."""
    values: list[float | None] = []
    for target in range(truth.shape[1]):
        known = ~np.isnan(truth[:, target])
        y = truth[known, target]
        values.append(float(auroc(y, logits[known, target])) if 0 < y.sum() < len(y) else None)
    return values


def _accuracies(truth: np.ndarray, logits: np.ndarray) -> list[float | None]:
    """Share of each output's known labels that a threshold of 0.5 gets right; None where none is known."""
    known = ~np.isnan(truth)
    return [
        float(((z > 0) == y)[k].mean()) if k.any() else None for z, y, k in zip(logits.T, truth.T, known.T, strict=True)
    ]


def _by_target(name: str, values: Sequence[float | None], names: Sequence[str]) -> dict[str, float | None]:
    """Columns of history.csv: the mean over the outputs that have a value, and that of each."""
    told = [v for v in values if v is not None]
    mean = {name: float(np.mean(told)) if told else None}
    return mean | {f"{name}:{output}": v for output, v in zip(names, values, strict=False)}


def _told(progress: Progress, settings: Train) -> str:
    """Epoch, losses, AUROC and the longest time that may be left."""
    row = progress.history[-1]
    pace = float(np.median([r["seconds"] for r in progress.history[-10:]]))
    left = min(settings.epochs - progress.epoch, settings.patience - (progress.epoch - progress.best_epoch))
    shown = "" if row["validation_auroc"] is None else f", AUROC {number_text(row['validation_auroc'])}"
    return (
        f"epoch {progress.epoch}, loss {number_text(row['train_loss'])}, validation "
        f"{number_text(row['validation_loss'])}{shown}, {duration(left * pace)} left if nothing improves, "
        f"{duration((settings.epochs - progress.epoch) * pace)} at most"
    )


def _save(folder: Path, fit: Fit, progress: Progress, better: bool) -> None:
    if better:
        with atomic_path(FitDirectory(folder).best.path) as temporary:
            torch.save(fit.evaluated.state_dict(), temporary)
    state = {
        "model": fit.network.state_dict(),
        "average": None if fit.average is None else fit.average.state_dict(),
        "optimizer": fit.optimizer.state_dict(),
        "schedule": fit.schedule.state_dict(),
        "adversary": None if fit.adversary is None else fit.adversary.state_dict(),
        "progress": vars(progress),
    }
    FitDirectory(folder).history.write(pd.DataFrame(progress.history))
    # Last: a fit goes on after the epoch that last.pt names, so the other files must hold that epoch by then.
    with atomic_path(FitDirectory(folder).last.path) as temporary:
        torch.save(state, temporary)


def _resume(folder: Path, fit: Fit) -> Progress:
    """Load the last epoch of a run that was stopped, if there is one."""
    path = FitDirectory(folder).last.path
    if not path.exists():
        return Progress()
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        torch.load(
            FitDirectory(folder).best.path, weights_only=True, map_location="cpu"
        )  # else the best epoch would be lost
    except Exception:  # a damaged file raises many kinds; the fold then starts anew
        return Progress()
    fit.network.load_state_dict(state["model"])
    if fit.average is not None:
        fit.average.load_state_dict(state["average"])
    if fit.adversary is not None:
        fit.adversary.load_state_dict(state["adversary"])
    fit.optimizer.load_state_dict(state["optimizer"])
    fit.schedule.load_state_dict(state["schedule"])
    return Progress(**state["progress"])
