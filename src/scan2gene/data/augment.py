"""Augmentation on the device, in batches: one function per effect, one line in `AUGMENTATIONS`.

Every function takes a batch and its samples' own random streams, so what happens to an exam
depends on seed, epoch and exam, never on the batch it is in. Amounts of noise and the like are
shares of each exam's grey range, and angles and shifts know the voxel size, so one setting
means the same for any preprocessing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from scan2gene.core.errors import StudyError
from scan2gene.core.geometry import THIN
from scan2gene.core.section import Plugin, check_plugin, unknown_name
from scan2gene.data.draws import Draws
from scan2gene.data.warp import along_axes, warp
from scan2gene.tasks.outputs import mirrored

TENSOR_AXIS = {"k": 2, "j": 3, "i": 4}  # tensors are (B, C, D, H, W) with D = k; slices have D = 1 here


@dataclass(frozen=True)
class Batch:
    """What augmentation changes.

    Args:
        images: (B, C, D, H, W) float32, network input; slices (B, C, H, W) for `augment`.
        targets: (B, T), NaN where unknown.
        names: The T targets; `x.L` and `x.R` are the sides of one.
        spacing_mm: Voxel size along i, j, k.
    """

    images: Tensor
    targets: Tensor
    names: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)


def augment(batch: Batch, steps: Sequence[Plugin], seed: int, epoch: int, samples: Sequence[int]) -> Batch:
    """Do every step in order.

    Args:
        batch: On any device.
        steps: Names out of `AUGMENTATIONS` and their options.
        seed: Of the fold.
        epoch: 1, 2, ...
        samples: Row of each exam in the cohort.
    """
    flat = batch.images.ndim == 4
    if flat:
        batch = replace(batch, images=batch.images[:, :, None])
    elif batch.images.ndim == 5:
        batch = replace(batch, spacing_mm=safe_spacing(batch.images.shape[:1:-1], batch.spacing_mm))
    for number, step in enumerate(steps):
        draws = Draws(seed, epoch, samples, number, batch.images.device)
        batch = AUGMENTATIONS[step.name](batch, draws, **step.options)
    return replace(batch, images=batch.images[:, :, 0]) if flat else batch


def safe_spacing(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Voxel size (i, j, k) in mm to turn, bend and move by; a thin field counts as thick as it is wide.

    A turn by 10 degrees at the spacing of a file whose slice spacing is wrong, or in a thin slab,
    would carry most of the field out of its slices.

    Args:
        shape: Voxels along i, j, k.
        spacing_mm: As stored.
    """
    field = [n * s for n, s in zip(shape, spacing_mm, strict=True)]
    wide = max(field)
    i, j, k = (wide / n if f < THIN * wide else s for n, s, f in zip(shape, spacing_mm, field, strict=True))
    return float(i), float(j), float(k)


def check_augmentation(steps: Sequence[Plugin], targets: Sequence[str]) -> None:
    """Refuse unknown names and options before any work.

    Args:
        steps: The study's list.
        targets: Those without sides.

    Raises:
        StudyError: With the valid ones.
    """
    for step in steps:
        check_plugin(step, AUGMENTATIONS, "data.augment")
        for name in (n for pair in step.options.get("swap_targets", []) for n in pair):
            if name not in targets:
                raise StudyError(
                    f"data.augment, {step.name}: target {unknown_name(str(name), targets)} "
                    "The sides of a target change places by themselves."
                )


def flip(
    batch: Batch,
    draws: Draws,
    axes: Sequence[str] = ("i",),
    probability: float = 0.5,
    swap_targets: Sequence[Sequence[str]] = (),
    swap_axis: str = "i",
) -> Batch:
    """Mirror along each of some voxel axes; left and right labels change places with the sides.

    Args:
        batch: See `Batch`.
        draws: The samples' streams.
        axes: Out of "i", "j", "k".
        probability: Of each axis.
        swap_targets: Pairs of targets without sides that mean left and right all the same, and
            change places when the exam is mirrored along `swap_axis`.
        swap_axis: The axis that runs from left to right; i after `reorient`.
    """
    images, targets = batch.images, batch.targets
    for axis in axes:
        chosen = draws.chance(probability)
        mask = chosen.view(-1, 1, 1, 1, 1)
        if chosen.any():
            images = torch.where(mask, images.flip(TENSOR_AXIS[axis]), images)
        if axis == swap_axis and batch.names:
            order = torch.tensor(mirrored(batch.names, swap_targets), device=targets.device)
            targets = torch.where(chosen.view(-1, 1), targets[:, order], targets)
    return replace(batch, images=images, targets=targets)


def pad_and_crop(batch: Batch, draws: Draws, voxels: int = 4) -> Batch:
    """Pad by `voxels` of the edge on every side and cut the old size out at a random place."""
    steps = draws.whole(-voxels, voxels, 3)  # (B, 3)
    return replace(batch, images=_shifted(batch.images, steps))


def _shifted(images: Tensor, steps: Tensor) -> Tensor:
    """Whole-voxel shifts (B, 3) along D, H, W; edge voxels are repeated."""
    for n, axis in enumerate((2, 3, 4)):
        size = images.shape[axis]
        index = (torch.arange(size, device=images.device) - steps[:, n : n + 1]).clamp(0, size - 1)  # (B, size)
        view = [len(images), 1, 1, 1, 1]
        view[axis] = size
        images = images.gather(axis, index.view(view).expand_as(images))
    return images


def affine(
    batch: Batch,
    draws: Draws,
    rotation_degrees: float = 10.0,
    scale: float = 0.1,
    translation_mm: float = 0.0,
    shear: float = 0.0,
    probability: float = 1.0,
) -> Batch:
    """Turn about all three axes, scale, shear and move, about the centre of the field, trilinear.

    Args:
        batch: Its spacing makes the turn rigid where voxels are not cubes; see `safe_spacing` for thin fields.
        draws: The samples' streams.
        rotation_degrees: Largest angle about each axis.
        scale: Each axis is multiplied by up to 1 +- this.
        translation_mm: Largest shift along each axis.
        shear: Largest shear factor.
        probability: Of an exam being changed at all.
    """
    angles = torch.deg2rad(draws.uniform(-rotation_degrees, rotation_degrees, 3))
    if batch.images.shape[2] == 1:
        angles[:, 1:] = 0  # a slice turns in its plane only
    change = _rotation(angles) @ torch.diag_embed(1 + draws.uniform(-scale, scale, 3))
    lean = draws.uniform(-shear, shear, 3)
    upper = torch.eye(3, device=lean.device).repeat(len(lean), 1, 1)
    upper[:, 0, 1], upper[:, 0, 2], upper[:, 1, 2] = lean[:, 0], lean[:, 1], lean[:, 2]
    change = change @ upper
    move = draws.uniform(-translation_mm, translation_mm, 3)
    spacing = torch.tensor(batch.spacing_mm[::-1], device=change.device)  # D, H, W
    linear = change * spacing / spacing[:, None]  # in voxels
    centre = torch.tensor([(n - 1) / 2 for n in batch.images.shape[2:]], device=change.device)
    matrix = torch.cat([linear, (centre - linear @ centre + move / spacing)[:, :, None]], dim=2)
    matrix = torch.where(draws.chance(probability).view(-1, 1, 1), matrix, _identity(batch))
    return replace(batch, images=warp(batch.images, matrix))


def _rotation(angles: Tensor) -> Tensor:
    """(B, 3) radians about D, H, W -> (B, 3, 3)."""
    result = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
    for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        turn = torch.eye(3, device=angles.device).repeat(len(angles), 1, 1)
        cos, sin = angles[:, axis].cos(), angles[:, axis].sin()
        turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cos, cos, -sin, sin
        result = result @ turn
    return result


def _identity(batch: Batch) -> Tensor:
    return torch.eye(3, 4, device=batch.images.device).repeat(len(batch.images), 1, 1)


def elastic(
    batch: Batch, draws: Draws, amplitude_mm: float = 4.0, control_points: int = 5, probability: float = 1.0
) -> Batch:
    """Bend by a smooth random field.

    Args:
        batch: See `Batch`.
        draws: The samples' streams.
        amplitude_mm: Standard deviation of the shift at a control point.
        control_points: Along each axis; fewer bend more smoothly.
        probability: Of an exam being changed at all.
    """
    points = draws.normal(3, *(control_points,) * 3) * amplitude_mm * draws.chance(probability).view(-1, 1, 1, 1, 1)
    spacing = torch.tensor(batch.spacing_mm[::-1], device=points.device).view(1, 3, 1, 1, 1)
    return replace(
        batch, images=warp(batch.images, _identity(batch), _smooth(points / spacing, batch.images.shape[2:]))
    )


def _smooth(points: Tensor, shape: Sequence[int]) -> Tensor:
    """(B, C, p, p, p) control values -> (B, C, *shape), piecewise cubic along each axis."""
    operators = []
    for size in shape:
        where = torch.linspace(0, points.shape[-1] - 1, size, device=points.device)
        distance = (where[:, None] - torch.arange(points.shape[-1], device=points.device)).abs()
        weights = torch.where(distance < 1, 1 - (3 - 2 * distance) * distance**2, torch.zeros_like(distance))
        operators.append(weights.expand(len(points), -1, -1))
    return along_axes(points, operators)


def noise(batch: Batch, draws: Draws, std: float = 0.02, probability: float = 1.0) -> Batch:
    """Add Gaussian noise of a standard deviation drawn from 0 to `std` of the grey range."""
    amount = draws.uniform(0, std) * draws.chance(probability)
    return replace(batch, images=_with_noise(batch.images, draws, _span(batch, amount)))


def rician_noise(batch: Batch, draws: Draws, std: float = 0.02, probability: float = 1.0) -> Batch:
    """Noise of a magnitude image: the root of two squared Gaussian channels, above the darkest voxel.

    Source: Gudbjartsson and Patz 1995, "The Rician distribution of noisy MRI data".
    """
    amount = _span(batch, draws.uniform(0, std) * draws.chance(probability))
    low = batch.images.amin(dim=(2, 3, 4), keepdim=True)
    real = _with_noise(batch.images - low, draws, amount)
    imaginary = _with_noise(torch.zeros_like(batch.images), draws, amount)
    return replace(batch, images=torch.hypot(real, imaginary) + low)


def _with_noise(images: Tensor, draws: Draws, amount: Tensor) -> Tensor:
    """Images plus noise of a standard deviation `amount` (B, C, 1, 1, 1)."""
    out = torch.empty_like(images)
    for n, noise_field in enumerate(draws.fields(images.shape[1:])):
        torch.addcmul(images[n], noise_field, amount[n], out=out[n])
    return out


def intensity(batch: Batch, draws: Draws, scale: float = 0.1, shift: float = 0.1, probability: float = 1.0) -> Batch:
    """Multiply by 1 +- `scale` about the mean and add +- `shift` of the grey range, per channel."""
    channels = batch.images.shape[1]
    used = draws.chance(probability).view(-1, 1).float()
    factor = _wide(1 + draws.uniform(-scale, scale, channels) * used)
    offset = draws.uniform(-shift, shift, channels) * used
    low, high = _range(batch.images)
    moved = _wide((low + high) / 2) * (1 - factor) + _wide(offset * (high - low))
    return replace(batch, images=torch.addcmul(moved, batch.images, factor))


def gamma(batch: Batch, draws: Draws, log_range: float = 0.3, probability: float = 1.0) -> Batch:
    """Raise to a power between exp(-log_range) and exp(log_range), ends of the grey range kept, per channel."""
    power = draws.uniform(-log_range, log_range, batch.images.shape[1]) * draws.chance(probability).view(-1, 1)
    low, high = _range(batch.images)
    low, span = _wide(low), _wide(high - low).clamp(min=1e-12)
    return replace(batch, images=((batch.images - low) / span).pow(_wide(power.exp())) * span + low)


def bias_field(batch: Batch, draws: Draws, strength: float = 0.3, probability: float = 1.0) -> Batch:
    """Multiply by a smooth field exp(+-strength), as of a receive coil, above the darkest voxel."""
    points = draws.normal(1, 4, 4, 4) * strength * draws.chance(probability).view(-1, 1, 1, 1, 1)
    field = _smooth(points, batch.images.shape[2:]).exp()
    low = batch.images.amin(dim=(2, 3, 4), keepdim=True)
    return replace(batch, images=(batch.images - low) * field + low)


def blur(batch: Batch, draws: Draws, sigma_mm: float = 1.5, probability: float = 1.0) -> Batch:
    """Gaussian blur with a width drawn from 0 to `sigma_mm`."""
    sigma = draws.uniform(0, sigma_mm) * draws.chance(probability)
    operators = []
    for size, spacing in zip(batch.images.shape[2:], batch.spacing_mm[::-1], strict=True):
        at = torch.arange(size, device=sigma.device, dtype=torch.float32)
        width = (sigma / spacing).clamp(min=1e-3).view(-1, 1, 1)
        weights = torch.exp(-0.5 * ((at[:, None] - at) / width) ** 2)
        operators.append(weights / weights.sum(dim=2, keepdim=True))
    return replace(batch, images=along_axes(batch.images, operators))


def low_resolution(
    batch: Batch, draws: Draws, factor: float = 2.0, axes: Sequence[str] = ("k",), probability: float = 1.0
) -> Batch:
    """As if acquired with voxels up to `factor` times as wide along some axes: averaged, then interpolated back."""
    used = draws.chance(probability)
    operators: list[Tensor | None] = [None, None, None]
    for axis in axes:
        size = batch.images.shape[TENSOR_AXIS[axis]]
        wide = torch.where(used, draws.uniform(1, factor), torch.ones_like(used, dtype=torch.float32)).view(-1, 1, 1)
        at = torch.arange(size, device=wide.device, dtype=torch.float32)
        half = wide / 2
        reach = (torch.minimum(at[:, None] + half, at + 0.5) - torch.maximum(at[:, None] - half, at - 0.5)).clamp(min=0)
        operators[TENSOR_AXIS[axis] - 2] = reach / reach.sum(dim=2, keepdim=True)
    return replace(batch, images=along_axes(batch.images, operators))


def ghosting(
    batch: Batch, draws: Draws, strength: float = 0.3, ghosts: int = 4, axis: str = "j", probability: float = 1.0
) -> Batch:
    """Ghosts along the phase-encoding axis, from every `ghosts`-th line of k-space being weaker.

    Args:
        batch: See `Batch`.
        draws: The samples' streams.
        strength: Largest share that those lines lose.
        ghosts: Number of ghosts.
        axis: The phase-encoding axis.
        probability: Of an exam being changed at all.
    """
    size = batch.images.shape[TENSOR_AXIS[axis]]
    lost = draws.uniform(0, strength) * draws.chance(probability)
    lines = torch.arange(size, device=lost.device)
    frequency = torch.minimum(lines, size - lines)
    weaker = ((frequency % ghosts == 0) & (frequency > 0)).float()
    kernel = torch.fft.ifft(1 - lost[:, None] * weaker).real  # (B, size), of a circulant matrix
    operator = kernel[:, (lines[:, None] - lines) % size]
    operators: list[Tensor | None] = [None, None, None]
    operators[TENSOR_AXIS[axis] - 2] = operator
    return replace(batch, images=along_axes(batch.images, operators))


def cutout(batch: Batch, draws: Draws, share: float = 0.25, probability: float = 0.5) -> Batch:
    """Set a random box, `share` of the field along each axis, to the exam's mean.

    Source: DeVries and Taylor 2017, "Improved regularization of convolutional networks with cutout".
    """
    inside = draws.chance(probability).view(-1, 1, 1, 1, 1)
    begin = draws.uniform(0, 1 - share, 3)
    for n, axis in enumerate((2, 3, 4)):
        size = batch.images.shape[axis]
        if size == 1:
            continue  # of a slice the box has the whole thickness
        at = (torch.arange(size, device=begin.device) + 0.5) / size
        view = [len(begin), 1, 1, 1, 1]
        view[axis] = size
        inside = inside & ((at >= begin[:, n : n + 1]) & (at < begin[:, n : n + 1] + share)).view(view)
    mean = batch.images.mean(dim=(2, 3, 4), keepdim=True)
    return replace(batch, images=torch.where(inside, mean, batch.images))


def _wide(values: Tensor) -> Tensor:
    """(B, C) -> (B, C, 1, 1, 1)."""
    return values[:, :, None, None, None]


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Smallest and largest value (B, C) of each channel; `aminmax` uses one thread only."""
    flat = images.flatten(2)
    return flat.amin(dim=2), flat.amax(dim=2)


def _span(batch: Batch, share: Tensor) -> Tensor:
    """A share (B,) of each channel's grey range, (B, C, 1, 1, 1)."""
    low, high = _range(batch.images)
    return _wide(share[:, None] * (high - low))


AUGMENTATIONS: dict[str, Callable[..., Batch]] = {
    "flip": flip,
    "pad_and_crop": pad_and_crop,
    "affine": affine,
    "elastic": elastic,
    "noise": noise,
    "rician_noise": rician_noise,
    "intensity": intensity,
    "gamma": gamma,
    "bias_field": bias_field,
    "blur": blur,
    "low_resolution": low_resolution,
    "ghosting": ghosting,
    "cutout": cutout,
}
