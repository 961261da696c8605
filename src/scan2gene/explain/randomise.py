"""Does a map depend on what the network learnt? Its layers are made random from the last to the first.

A method whose map survives that shows edges of the picture, not reasons of the network.
Source: Adebayo 2018, "Sanity checks for saliency maps" (cascading randomisation).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import groupby

import numpy as np
from torch import nn

STEPS = 6


def cascade(model: nn.Module, fresh: nn.Module, steps: int = STEPS) -> Iterator[tuple[str, nn.Module]]:
    """Copies of a network with ever more of its last layers random.

    Args:
        model: The trained network; it stays as it is.
        fresh: The same architecture with random weights.
        steps: Networks at most: the last layer first, then equal shares of the rest.

    Yields:
        What is random, such as "2 of 6", counted in layers that hold weights, and the network.
    """
    broken = copy.deepcopy(model)
    random = fresh.state_dict()
    layers = [list(keys) for _, keys in groupby(random, lambda key: key.rpartition(".")[0])][::-1]
    done = 0
    for stop in sorted({1, *np.linspace(1, len(layers), min(steps, len(layers))).round().astype(int).tolist()}):
        keys = [key for layer in layers[done:stop] for key in layer]
        broken.load_state_dict({k: random[k] for k in keys}, strict=False)
        done = stop
        yield f"{stop} of {len(layers)}", broken
