"""Activations of a layer, their gradients, and where in the input each of them lies.

A strided 3^3 convolution with padding 1 looks at voxels around 2i, not around 2i + 0.5:
enlarging its output as if it filled the input evenly moves a map by up to half of one
of its cells. So the place is taken from the layers' own strides and paddings.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name
from scan2gene.explain.asked import Asked, differentiable

_WINDOWED = (nn.Conv2d, nn.Conv3d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d)
Grid = list[tuple[float, float]]  # along each axis: input voxels per cell, and the input index of cell 0


def activations(asked: Asked, layer: str | None) -> tuple[Tensor, Tensor, Grid]:
    """Activations (B, K, *s) of a layer, the gradient of the score in them, and their grid.

    Args:
        asked: The question.
        layer: Name as in `named_modules`; default: the model's `cam_layer`.

    Raises:
        StudyError: There is no such layer, or its output is no picture.
    """
    name = str(asked.model.cam_layer if layer is None else layer)
    chosen = layer_of(asked.model, name)
    caught: list[Tensor] = []
    windows: list[tuple[Any, ...]] = []

    def catch(_: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != asked.x.ndim:
            what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
            raise StudyError(f"explain: layer {name} gives {what}, no (batch, channels, space); name another layer")
        caught.append(output.detach().requires_grad_())  # the graph begins here: what lies below is not kept
        return caught[-1].clone()  # a ReLU in place behind it must not change what was caught

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        # A 2D layer in a network of volumes sees slice by slice, and no slice moves.
        slices = tuple(asked.x.shape[2:3]) * (asked.x.ndim - inputs[0].ndim)
        windows.append((slices + tuple(inputs[0].shape[2:]), slices + tuple(output.shape[2:]), module))

    hooks = [m.register_forward_hook(note) for m in asked.model.modules() if isinstance(m, _WINDOWED)]
    hooks.append(chosen.register_forward_hook(catch))
    try:
        with torch.enable_grad(), differentiable(asked.model):
            score = asked.score(asked.x)
            if not caught:
                raise StudyError(f"explain: layer {name} takes no part in the forward pass; name another layer")
            gradient = torch.autograd.grad(score.sum(), caught[-1], allow_unused=True)[0]
    finally:
        for hook in hooks:
            hook.remove()
    found = caught[-1].detach()
    grid = _grid(windows, tuple(asked.x.shape[2:]), tuple(found.shape[2:]))
    return found, torch.zeros_like(found) if gradient is None else gradient, grid


def layer_of(model: nn.Module, name: str) -> nn.Module:
    """The layer of this name.

    Raises:
        StudyError: With the names of the outer layers.
    """
    modules = dict(model.named_modules())
    if name not in modules or not name:
        raise StudyError(f"explain: layer {unknown_name(name, [n for n in modules if n and n.count('.') < 2])}")
    return modules[name]


def _grid(windows: list[tuple[Any, ...]], shape: tuple[int, ...], cells: tuple[int, ...]) -> Grid:
    """Follow the sizes from the input to the layer; shortcuts of the same sizes lie alike."""
    steps: dict[tuple[int, ...], Any] = {}
    for before, after, module in windows:
        if before != after:
            steps.setdefault(before, (after, module))
    grid, current = [(1.0, 0.0)] * len(shape), shape
    while current != cells and current in steps:
        after, module = steps.pop(current)
        grid = [
            (stride * s, offset + stride * (d * (k - 1) / 2 - p))
            for (stride, offset), s, k, p, d in zip(grid, *_window(module, len(shape)), strict=True)
        ]
        current = after
    if current == cells:
        return grid
    even = [n / m for n, m in zip(shape, cells, strict=True)]  # not only windows on the way: spread evenly
    return [(stride, (stride - 1) / 2) for stride in even]


def _window(module: Any, axes: int) -> list[tuple[float, ...]]:
    """Stride, kernel, padding and dilation along each axis; along one that a 2D layer lacks, those of no window."""
    own = 2 if isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) else 3
    values = (module.stride, module.kernel_size, module.padding, getattr(module, "dilation", 1))
    along = [(v,) * own if isinstance(v, int) else tuple(v) for v in values]
    return [(alone,) * (axes - own) + v for alone, v in zip((1, 1, 0, 1), along, strict=True)]


def enlarge(maps: Tensor, grid: Grid, shape: tuple[int, ...]) -> Tensor:
    """Maps (B, *s) on the input's voxels, linear between cells: (B, *shape)."""
    for axis, ((stride, offset), size) in enumerate(zip(grid, shape, strict=True), start=1):
        place = ((torch.arange(size, device=maps.device, dtype=maps.dtype) - offset) / stride).clamp(
            0, maps.shape[axis] - 1
        )
        low = place.floor().long()
        high = (low + 1).clamp_max(maps.shape[axis] - 1)
        weight = (place - low).reshape(-1, *[1] * (maps.ndim - 1 - axis))
        maps = torch.lerp(maps.index_select(axis, low), maps.index_select(axis, high), weight)
    return maps
