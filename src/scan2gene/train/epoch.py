"""One epoch of a fit: batches in order, changed and mixed, and the steps of the optimiser on them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from scan2gene.core.study_runs import Train
from scan2gene.data.augment import Batch, augment
from scan2gene.data.draws import Draws
from scan2gene.data.images import taken, to_input
from scan2gene.data.samples import Samples
from scan2gene.tasks.fit import Fit
from scan2gene.train.loss import BCE, Group, LabelWeights, balanced_shares, class_codes, masked_loss
from scan2gene.train.schedules import EVERY_STEP, after_step
from scan2gene.train.sites import Adversary, site_shares

_MIXUP = 1_000  # number of mixup's random stream, behind those of the augmentation steps


@dataclass
class State:
    """What the training of one fit works with.

    Args:
        fit: The fit.
        fabric: Device, precision, processes.
        network: The bare network, whose weights are saved.
        model: The same, compiled and wrapped for the device.
        average: Running average of the weights, or None.
        optimizer: Over the network's weights.
        schedule: Of the learning rate.
        data: The samples.
        images: Their images where they are used from: on the device when they fit.
        groups: Columns of logits that share a loss.
        weights: Of labels.
        steps: Of the optimiser in an epoch.
        codes: Number of each sample's site, where draws are balanced by it.
        adversary: Names sites from features, or None.
    """

    fit: Fit
    fabric: Any
    network: nn.Module
    model: Any
    average: AveragedModel | None
    optimizer: Any
    schedule: Any
    data: Samples
    images: Any
    groups: list[Group]
    weights: LabelWeights
    steps: int
    codes: Tensor | None = None
    adversary: Adversary | None = None

    @property
    def settings(self) -> Train:
        """Of the optimisation."""
        return self.fit.config.train

    @property
    def evaluated(self) -> nn.Module:
        """The network that validation sees and best.pt keeps."""
        return self.network if self.average is None else self.average.module


@dataclass(frozen=True)
class EpochResult:
    """What one pass over the training samples gives.

    Args:
        loss: Mean per step.
        logits: (N, T) answers in passing, before each step, with dropout and augmentation.
        labels: (N, T) theirs, NaN where unknown.
        site_loss: Of naming sites, 0 without an adversary.
        rate: Learning rate of the last step.
        data_seconds: Spent on data and augmentation.
    """

    loss: float
    logits: np.ndarray
    labels: np.ndarray
    site_loss: float
    rate: float
    data_seconds: float


def run_epoch(state: State, rows: np.ndarray, epoch: int) -> EpochResult:
    """One pass over the training samples.

    Args:
        state: Is changed.
        rows: Of the training part.
        epoch: From 1; seeds the order and dropout.
    """
    torch.manual_seed(state.fit.seed * 100_003 + epoch)  # order, dropout
    batches = _batches(_order(state, rows), state.fit.config.data.batch_size)
    sums = _Sums()
    state.model.train()
    _train_mode(state.network)
    for begin in range(0, len(batches), state.settings.accumulate):
        _step(state, batches[begin : begin + state.settings.accumulate], epoch, sums)
    logits, labels = _gathered(state.fabric, sums.answers, state.data.targets.shape[1])
    loss = float(state.fabric.all_reduce(torch.stack(sums.losses).mean()))
    site_loss = float(torch.stack(sums.site_losses).mean()) if sums.site_losses else 0.0
    return EpochResult(loss, logits, labels, site_loss, sums.rate, sums.data_seconds)


def steps_of_epoch(rows: int, batch_size: int, accumulate: int) -> int:
    """Steps of the optimiser in one pass over so many training samples."""
    return -(-len(_batches(torch.arange(rows), batch_size)) // accumulate)


@dataclass
class _Sums:
    """What an epoch has come to so far: losses, and logits and labels (2, B, T) of each batch."""

    losses: list[Tensor] = field(default_factory=list)
    site_losses: list[Tensor] = field(default_factory=list)
    answers: list[Tensor] = field(default_factory=list)
    rate: float = 0.0
    data_seconds: float = 0.0


def _step(state: State, group: Sequence[Tensor], epoch: int, sums: _Sums) -> None:
    """One step of the optimiser on the gradients of several batches."""
    world, rank = state.fabric.world_size, state.fabric.global_rank
    # Divided by the weight of the whole group, so that several small batches equal a large one.
    total = sum(float(state.weights.of(state.data.targets[chosen]).sum()) for chosen in group)
    step_loss = torch.zeros((), device=state.fabric.device)
    for number, chosen in enumerate(group):
        last = number == len(group) - 1
        mine = chosen[rank::world] if world > 1 and len(chosen) >= 2 * world else chosen
        share = world if mine is not chosen else 1
        with state.fabric.no_backward_sync(state.model, enabled=not last and world > 1):
            started = time.perf_counter()
            x, present, labels, targets, weights = _batch(state, mine, epoch)
            sums.data_seconds += time.perf_counter() - started
            logits = state.model(x, present)
            if mine is not chosen or rank == 0:  # a chunk that all processes saw counts once
                sums.answers.append(torch.stack([logits.detach().float(), labels]))
            loss = masked_loss(logits, targets, weights, state.groups)
            loss = loss * (weights.nansum() * share / max(total, 1e-12))
            against = None
            if state.adversary is not None:
                against = state.adversary.loss(chosen, epoch) * (len(chosen) / sum(map(len, group)))
                sums.site_losses.append(against.detach() * len(group))
            state.fabric.backward(loss if against is None else loss + against)
        step_loss += loss.detach()
    if state.settings.clip_norm is not None:
        state.fabric.clip_gradients(state.model, state.optimizer, max_norm=state.settings.clip_norm)
    state.optimizer.step()
    state.optimizer.zero_grad(set_to_none=True)
    if state.average is not None:
        state.average.update_parameters(state.network)
    sums.losses.append(step_loss)
    sums.rate = state.optimizer.param_groups[0]["lr"]
    if state.settings.schedule.name in EVERY_STEP:
        done = (epoch - 1) * state.steps + len(sums.losses)
        after_step(state.schedule, state.optimizer, done, state.settings.epochs * state.steps)


def _train_mode(network: nn.Module) -> None:
    """Training mode, except for frozen layers: their batch statistics stay as they are too."""
    network.train()
    for module in network.modules():
        own = list(module.parameters())
        if own and not any(p.requires_grad for p in own):
            module.eval()


def _gathered(fabric: Any, said: Sequence[Tensor], outputs: int) -> np.ndarray:
    """(2, N, T) logits and labels of all processes; places that one has and another has not hold NaN."""
    mine = torch.cat([torch.empty(2, 0, outputs, device=fabric.device), *said], dim=1)
    if fabric.world_size > 1:
        longest = int(fabric.all_reduce(torch.tensor(mine.shape[1], device=fabric.device), reduce_op="max"))
        mine = torch.nn.functional.pad(mine, (0, 0, 0, longest - mine.shape[1]), value=torch.nan)
        mine = torch.cat(list(fabric.all_gather(mine)), dim=1)
    return mine.cpu().numpy()


def _order(state: State, rows: np.ndarray) -> Tensor:
    """Training exams in the order of an epoch."""
    rows_tensor = torch.as_tensor(rows)
    targets = class_codes(state.data.targets[rows_tensor], state.groups)
    if state.codes is not None:
        shares = site_shares(targets, state.codes[rows_tensor])
    elif state.settings.balanced_sampling:
        shares = balanced_shares(targets)
    else:
        return rows_tensor[torch.randperm(len(rows))]
    return rows_tensor[torch.multinomial(shares, len(rows), replacement=True)]


def _batch(state: State, chosen: Tensor, epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Augmented input, presence, labels, what is learned in their place and its weights, on the device."""
    device, settings, steps = state.fabric.device, state.settings, state.fit.config.data.augment
    present = state.data.present[chosen].to(device)
    x = to_input(taken(state.images, chosen).to(device, non_blocking=True), present)
    batch = Batch(x, state.data.targets[chosen].to(device), tuple(state.data.names), state.data.spacing_mm)
    batch = augment(batch, steps, state.fit.seed, epoch, chosen.tolist())
    x, labels = batch.images, batch.targets
    if steps:
        x = x * present.view(*present.shape, *[1] * (x.ndim - 2))  # an absent role stays zero whatever was done to it
    weights, targets = state.weights.of(labels), labels
    if settings.label_smoothing:
        targets = targets * (1 - settings.label_smoothing) + settings.label_smoothing / _choices(state, labels)
    if settings.mixup and len(chosen) > 1:
        share = Draws(state.fit.seed, epoch, chosen.tolist(), _MIXUP, device).beta(settings.mixup)  # (B,)
        x, present, targets, weights = _mixed(x, present, targets, weights, torch.maximum(share, 1 - share))
    return x, present, labels, targets, weights


def _choices(state: State, targets: Tensor) -> Tensor:
    """(T,) how many classes each column's label has been chosen from."""
    counts = torch.full((targets.shape[1],), 2.0, device=targets.device)
    for _, columns in (g for g in state.groups if g[0] != BCE):
        counts[columns] = len(columns)
    return counts


def _mixed(
    x: Tensor, present: Tensor, targets: Tensor, weights: Tensor, share: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each exam mixed with its neighbour in the batch; a label is known only where both know it.

    Source: Zhang et al. 2018, "mixup: beyond empirical risk minimization".
    """
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
