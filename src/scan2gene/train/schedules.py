"""Learning-rate schedules: those of `EVERY_STEP` after each step of the optimiser, the others after each epoch.

A builder gets the optimiser, the number of epochs and the number of optimiser steps of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)


def plateau(optimizer: Optimizer, epochs: int, steps: int, factor: float = 0.1, patience: int = 5) -> ReduceLROnPlateau:
    """Multiply by `factor` after `patience` epochs without a better validation loss."""
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)


def one_cycle(
    optimizer: Optimizer,
    epochs: int,
    steps: int,
    rise_share: float = 0.3,
    start_share: float = 0.04,
    final_share: float = 4e-6,
) -> OneCycleLR:
    """Rise from `start_share` of the rate for `rise_share` of all steps, then fall to `final_share`: half cosines.

    Momentum falls from 0.95 to 0.85 and rises again. Source: Smith and Topin 2019, "Super-convergence"; torch's
    defaults.
    """
    rate = optimizer.param_groups[0]["lr"]
    return OneCycleLR(
        optimizer, rate, max(epochs * steps, 2), pct_start=rise_share, div_factor=1 / start_share,
        final_div_factor=start_share / final_share,
    )  # fmt: skip


def cosine(
    optimizer: Optimizer, epochs: int, steps: int, warmup_epochs: int = 5, final_share: float = 0.01
) -> LRScheduler:
    """Rise linearly for some epochs, then fall along half a cosine to `final_share` of the rate in the last step."""
    rate = optimizer.param_groups[0]["lr"]
    warm = min(warmup_epochs, max(epochs - 1, 0)) * steps
    fall = CosineAnnealingLR(optimizer, max(epochs * steps - warm - 1, 1), eta_min=rate * final_share)
    if not warm:
        return fall
    rise = LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    return SequentialLR(optimizer, [rise, fall], milestones=[warm])


def multistep(
    optimizer: Optimizer, epochs: int, steps: int, milestones: Sequence[int] = (50, 75), factor: float = 0.1
) -> MultiStepLR:
    """Multiply by `factor` at each of some epochs."""
    return MultiStepLR(optimizer, list(milestones), factor)


def cyclic(
    optimizer: Optimizer, epochs: int, steps: int, lowest_share: float = 0.1, period_epochs: int = 10
) -> CyclicLR:
    """A triangle between `lowest_share` of the rate and the rate."""
    rate = optimizer.param_groups[0]["lr"]
    up = max(period_epochs // 2, 1)
    return CyclicLR(optimizer, rate * lowest_share, rate, up, max(period_epochs - up, 1), cycle_momentum=False)


def constant(optimizer: Optimizer, epochs: int, steps: int) -> LambdaLR:
    """The same rate throughout."""
    return LambdaLR(optimizer, _one)


def _one(epoch: int) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[..., LRScheduler | ReduceLROnPlateau]] = {
    "plateau": plateau,
    "one_cycle": one_cycle,
    "cosine": cosine,
    "multistep": multistep,
    "cyclic": cyclic,
    "constant": constant,
}
EVERY_STEP = ("one_cycle", "cosine")


def after_step(schedule: LRScheduler, optimizer: Optimizer, done: int, total: int) -> None:
    """Move a schedule of `EVERY_STEP` on by one step of the optimiser; after the last one nothing is to come.

    Args:
        schedule: From `SCHEDULES`.
        optimizer: Its optimiser.
        done: Steps so far.
        total: Steps of the whole training.
    """
    if done < total:
        schedule.step()
        follow_rates(optimizer)


def follow_rates(optimizer: Optimizer) -> None:
    """Keep every group's rate at its factor of the first one's; schedules know of one rate only."""
    first = optimizer.param_groups[0]
    for group in optimizer.param_groups[1:]:
        group["lr"] = first["lr"] * group["factor"] / first.get("factor", 1.0)
