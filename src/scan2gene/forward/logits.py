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
class NetworkOutput:
    """What a forward pass over N instances gives.

    Args:
        logits: Variant -> (N, T) float64; "original", and "tta" with test-time augmentation.
        embeddings: (N, F) float32, what the last linear layer sees of the unchanged instance, the
            presence of roles left out; for a network that sees the sides apart, the features of
            the left half and then those of the right one. None for a model without such a layer.
    """

    logits: dict[str, np.ndarray] = field(default_factory=dict)
    embeddings: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> NetworkOutput:
        """Of some instances."""
        embeddings = None if self.embeddings is None else self.embeddings[rows]
        return NetworkOutput({name: logits[rows] for name, logits in self.logits.items()}, embeddings)

    def replaced(self, rows: np.ndarray, other: NetworkOutput) -> NetworkOutput:
        """With the output of another pass in some rows."""
        new = self.take(np.arange(len(self.logits["original"])))  # a copy
        for name, logits in other.logits.items():
            new.logits[name][rows] = logits
        if new.embeddings is not None:
            new.embeddings[rows] = other.embeddings
        return new


def joined(parts: Sequence[NetworkOutput]) -> NetworkOutput:
    """The outputs of several passes, one below the other."""
    logits = {name: np.concatenate([p.logits[name] for p in parts]) for name in parts[0].logits}
    embeddings = [p.embeddings for p in parts if p.embeddings is not None]
    return NetworkOutput(logits, np.concatenate(embeddings) if embeddings else None)


def inputs_of(data: Samples, rows: Sequence[int], images: Images, device: torch.device) -> tuple[Tensor, Tensor]:
    """Network input of some rows of `data.table`, and which roles they have (B, R); on the device."""
    chosen = torch.as_tensor(list(rows))
    present = data.present[chosen].to(device)
    return to_input(taken(images, chosen).to(device), present), present


def output_of(model: nn.Module, x: Tensor, present: Tensor) -> NetworkOutput:
    """Logits and embeddings of one batch of network input, as "original"; the model is in evaluation mode."""
    seen: list[Tensor] = []
    with _watched(model, seen, len(x)):
        logits = model(x, present).cpu().double().numpy()
    return NetworkOutput({"original": logits}, seen[0].numpy() if seen else None)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[torch.device]:
    """Evaluation mode without gradients, and the model's own mode afterwards; gives its device."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield next(model.parameters()).device
    finally:
        model.train(training)


def forward(
    model: nn.Module, data: Samples, rows: Sequence[int], batch_size: int, images: Images | None = None
) -> np.ndarray:
    """Logits of some instances, in evaluation mode.

    Args:
        model: Takes (B, R, D, H, W), or slices (B, 1, H, W), and (B, R); its device is used.
        data: The samples.
        rows: Positions in `data.table`.
        batch_size: Instances per pass.
        images: `data.images` where they are used from; default: where they are.

    Returns:
        (len(rows), T) float64.
    """
    return forward_variants(model, data, rows, batch_size, Predict(), images).logits["original"]


def forward_variants(
    model: nn.Module,
    data: Samples,
    rows: Sequence[int],
    batch_size: int,
    settings: Predict,
    images: Images | None = None,
) -> NetworkOutput:
    """Logits of every variant of some instances, and their embeddings, in evaluation mode.

    Args:
        model: As in `forward`; so are `data`, `rows`, `batch_size` and `images`.
        data: Its names tell which outputs are sides.
        rows: N positions.
        batch_size: Instances per pass; mirrored copies pass one after the other.
        settings: Along which axes the copies of test-time augmentation are mirrored.
        images: See `forward`.
    """
    images = data.images if images is None else images
    nothing = {name: np.empty((0, data.targets.shape[1])) for name in ("original", *["tta"] * bool(settings.flips))}
    parts = [NetworkOutput(nothing)]
    with evaluating(model) as device:
        for start in range(0, len(rows), batch_size):
            x, present = inputs_of(data, rows[start : start + batch_size], images, device)
            output = output_of(model, x, present)
            if settings.flips:
                plain = torch.from_numpy(output.logits["original"])
                copies = [_of_copy(model, x, present, axes, data.names, settings) for axes in _copies(settings)]
                output.logits["tta"] = torch.stack([plain, *copies]).mean(dim=0).numpy()
            parts.append(output)
    return joined(parts)


def _copies(settings: Predict) -> list[tuple[str, ...]]:
    """Axes of every mirrored copy; the instance as it is is none of them."""
    axes = settings.flips
    return [chosen for count in range(1, len(axes) + 1) for chosen in combinations(axes, count)]


def _of_copy(
    model: nn.Module, x: Tensor, present: Tensor, axes: Sequence[str], names: Sequence[str], settings: Predict
) -> Tensor:
    """Logits (B, T) of mirrored instances, each output back in its place."""
    logits = model(x.flip([TENSOR_AXIS[axis] - 5 for axis in axes]), present).cpu().double()
    if settings.swap_axis in axes and names:
        logits = logits[:, mirrored(names, settings.swap_targets)]
    return logits


@contextmanager
def _watched(model: nn.Module, seen: list[Tensor], instances: int) -> Iterator[None]:
    """Keep what the model's last linear layer sees, however its forward comes to it."""
    heads = [module for module in model.modules() if isinstance(module, RoleAwareHead)]
    if len(heads) != 1:
        yield
        return

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(torch.cat(inputs[0].cpu().float().split(instances), dim=1))

    handle = heads[0].register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()
