"""How weights lie in memory."""

from __future__ import annotations

import torch
from torch import nn


def channels_last(network: nn.Module) -> None:
    """Lay the weights of convolutions out with their channels together, as fast kernels of a GPU want them.

    Layer by layer: of a whole network, torch can do that only where all of its convolutions have the same
    number of axes.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # as torch documents it
        elif isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
