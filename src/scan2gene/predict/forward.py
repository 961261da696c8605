"""Networks to logits, and to the features behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
import torch
from torch import Tensor, nn

from scan2gene.core.study_runs import Predict
from scan2gene.data.augment import TENSOR_AXIS
from scan2gene.data.images import Images, taken, to_input
from scan2gene.data.samples import Samples
from scan2gene.models.head import RoleAwareHead
from scan2gene.tasks.outputs import mirrored


@dataclass(frozen=True)
class Passed:
    """What one forward pass over N exams gives.

    Args:
        logits: Variant -> (N, T) float64; "original", and "tta" where it was asked for.
        embeddings: (N, F) float32, what the last linear layer sees of the unchanged exam, the
            presence of roles left out; for a network that sees the sides apart, the features of
            the left half and then those of the right one. None for a model without such a layer.
    """

    logits: dict[str, np.ndarray] = field(default_factory=dict)
    embeddings: np.ndarray | None = None


def forward(
    model: nn.Module,
    data: Samples,
    rows: Sequence[int],
    batch_size: int,
    images: Images | None = None,
) -> np.ndarray:
    """Logits of some exams, in evaluation mode.

    Args:
        model: Takes (B, R, D, H, W), or slices (B, 1, H, W), and (B, R); its device is used.
        data: The cohort.
        rows: Positions in `data.table`.
        batch_size: Exams per pass.
        images: `data.images` where they are used from; default: where they are.

    Returns:
        (len(rows), T) float64.
    """
    return forward_variants(model, data, rows, batch_size, Predict(), images).logits["original"]


@torch.inference_mode()
def forward_variants(
    model: nn.Module,
    data: Samples,
    rows: Sequence[int],
    batch_size: int,
    settings: Predict,
    images: Images | None = None,
) -> Passed:
    """Logits of every variant of some exams, and their embeddings, in evaluation mode.

    Args:
        model: As in `forward`; so are `data`, `rows`, `batch_size` and `images`.
        data: Its names tell which outputs are sides.
        rows: N positions.
        batch_size: Exams per pass; mirrored copies pass one after the other.
        settings: Along which axes the copies of test-time augmentation are mirrored.
        images: See `forward`.
    """
    device = next(model.parameters()).device
    images = data.images if images is None else images
    training = model.training
    model.eval()
    plain: list[Tensor] = []
    averaged: list[Tensor] = []
    seen: list[Tensor] = []
    for start in range(0, len(rows), batch_size):
        chosen = torch.as_tensor(list(rows[start : start + batch_size]))
        present = data.present[chosen].to(device)
        x = to_input(taken(images, chosen).to(device), present)
        with _watched(model, seen, len(chosen)):
            plain.append(model(x, present).cpu().double())
        copies = [_of_copy(model, x, present, axes, data.names, settings) for axes in _copies(settings)]
        averaged.append(torch.stack([plain[-1], *copies]).mean(dim=0))
    model.train(training)
    empty = np.empty((0, data.targets.shape[1]))
    logits = {"original": torch.cat(plain).numpy() if plain else empty}
    if settings.flips:
        logits["tta"] = torch.cat(averaged).numpy() if averaged else empty
    return Passed(logits, torch.cat(seen).numpy() if seen else None)


def _copies(settings: Predict) -> list[tuple[str, ...]]:
    """Axes of every mirrored copy; the exam as it is is none of them."""
    axes = settings.flips
    return [chosen for count in range(1, len(axes) + 1) for chosen in combinations(axes, count)]


def _of_copy(
    model: nn.Module, x: Tensor, present: Tensor, axes: Sequence[str], names: Sequence[str], settings: Predict
) -> Tensor:
    """Logits (B, T) of mirrored exams, each output back in its place."""
    logits = model(x.flip([TENSOR_AXIS[axis] - 5 for axis in axes]), present).cpu().double()
    if settings.swap_axis in axes and names:
        logits = logits[:, mirrored(names, settings.swap_targets)]
    return logits


@contextmanager
def _watched(model: nn.Module, seen: list[Tensor], exams: int) -> Iterator[None]:
    """Keep what the model's last linear layer sees, however its forward comes to it."""
    heads = [module for module in model.modules() if isinstance(module, RoleAwareHead)]
    if len(heads) != 1:
        yield
        return

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(torch.cat(inputs[0].cpu().float().split(exams), dim=1))

    handle = heads[0].register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()
