"""Maps of a network that sees the two sides apart: each half is asked by itself and put back in its place."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from scan2gene.core.section import Plugin, options_of
from scan2gene.explain import METHODS
from scan2gene.explain.asked import Asked
from scan2gene.models.sides import TwoSides


def sided_map(asked: Asked, method: Plugin) -> Tensor:
    """The map of an answer about one side, or about the whole patient.

    Args:
        asked: Of a `TwoSides` network; its target counts the answers of both sides.
        method: Of `METHODS`; a layer's name may begin with that of the network inside.

    Returns:
        (B, *S), 0 in a half that has no say in the answer; a mirrored half is turned back.
    """
    model = asked.model
    assert isinstance(model, TwoSides)  # for the type checker
    options = dict(method.options)
    if "layer" in options_of(METHODS[method.name]):
        options["layer"] = str(options.get("layer") or model.cam_layer).removeprefix("network.")
    halves = [None, None] if asked.background is None else model.halves(asked.background).chunk(2)
    found = asked.x.new_zeros(asked.x.shape[:1] + asked.x.shape[2:])
    for half, x in enumerate(model.halves(asked.x).chunk(2)):
        weights = model.share[half, :, asked.target]
        if not weights.any():
            continue
        target = int(weights.argmax())
        inner = replace(asked, model=model.network, x=x, target=target, background=halves[half])
        model.put_back(found, half, METHODS[method.name](inner, **options) * weights[target])
    return found


def region(model: TwoSides, shape: tuple[int, ...], target: int) -> Tensor:
    """Which voxels (D, H, W) have a say in an answer."""
    seen = torch.zeros(1, *shape)
    for half, part in enumerate(model.halves(torch.ones(1, 1, *shape)).chunk(2)):
        if model.share[half, :, target].any():
            model.put_back(seen, half, part[:, 0])
    return seen[0] > 0
