"""Learning-rate schedules, stepped once an epoch after validation."""

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
    ReduceLROnPlateau,
    SequentialLR,
)


def plateau(optimizer: Optimizer, epochs: int, factor: float = 0.1, patience: int = 5) -> ReduceLROnPlateau:
    """Multiply by `factor` after `patience` epochs without a better validation loss."""
    return ReduceLROnPlateau(optimizer, factor=factor, patience=patience)


def cosine(optimizer: Optimizer, epochs: int, warmup_epochs: int = 5, final_share: float = 0.01) -> LRScheduler:
    """Rise linearly for some epochs, then fall along half a cosine to `final_share` of the rate."""
    rate = optimizer.param_groups[0]["lr"]
    warm = min(warmup_epochs, max(epochs - 1, 0))
    fall = CosineAnnealingLR(optimizer, max(epochs - warm, 1), eta_min=rate * final_share)
    if not warm:
        return fall
    rise = LinearLR(optimizer, start_factor=1 / (warm + 1), total_iters=warm)
    return SequentialLR(optimizer, [rise, fall], milestones=[warm])


def multistep(
    optimizer: Optimizer, epochs: int, milestones: Sequence[int] = (50, 75), factor: float = 0.1
) -> MultiStepLR:
    """Multiply by `factor` at each of some epochs."""
    return MultiStepLR(optimizer, list(milestones), factor)


def cyclic(optimizer: Optimizer, epochs: int, lowest_share: float = 0.1, period_epochs: int = 10) -> CyclicLR:
    """A triangle between `lowest_share` of the rate and the rate."""
    rate = optimizer.param_groups[0]["lr"]
    up = max(period_epochs // 2, 1)
    return CyclicLR(optimizer, rate * lowest_share, rate, up, max(period_epochs - up, 1), cycle_momentum=False)


def constant(optimizer: Optimizer, epochs: int) -> LambdaLR:
    """The same rate throughout."""
    return LambdaLR(optimizer, _one)


def _one(epoch: int) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[..., LRScheduler | ReduceLROnPlateau]] = {
    "plateau": plateau,
    "cosine": cosine,
    "multistep": multistep,
    "cyclic": cyclic,
    "constant": constant,
}
