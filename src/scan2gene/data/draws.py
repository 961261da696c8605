"""Random numbers that belong to a sample, not to the batch that it happens to be in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

_BANK = 1 << 22  # standard normals that every noise field is cut from


class Draws:
    """One stream per sample, fixed by seed, epoch, sample and step.

    Args:
        seed: Of the fold.
        epoch: 1, 2, ...
        samples: Row of each sample in the cohort.
        step: Position of the augmentation in the list, so that adding one changes no other.
        device: Where results go.
    """

    def __init__(self, seed: int, epoch: int, samples: Sequence[int], step: int, device: torch.device | str = "cpu"):
        self._streams = [np.random.Generator(np.random.Philox([seed, epoch, int(s), step])) for s in samples]
        self.device = torch.device(device)

    def uniform(self, low: float, high: float, *size: int) -> Tensor:
        """(B, *size) uniform in low..high."""
        return self._stacked([stream.uniform(low, high, size) for stream in self._streams])

    def normal(self, *size: int) -> Tensor:
        """(B, *size) standard normal; for parameters, not for fields of voxels."""
        return self._stacked([stream.standard_normal(size) for stream in self._streams])

    def beta(self, alpha: float) -> Tensor:
        """(B,) from Beta(alpha, alpha)."""
        return self._stacked([np.asarray(stream.beta(alpha, alpha)) for stream in self._streams])

    def chance(self, probability: float, *size: int) -> Tensor:
        """(B, *size) True with a probability."""
        return self.uniform(0, 1, *size) < probability

    def whole(self, low: int, high: int, *size: int) -> Tensor:
        """(B, *size) int64, low to high, both included."""
        values = np.stack([stream.integers(low, high + 1, size) for stream in self._streams])
        return torch.from_numpy(values).to(self.device)

    def fields(self, shape: Sequence[int]) -> list[Tensor]:
        """A normal field of noise per sample, cut from a fixed bank at a random place; not to be written to.

        Drawing a normal per voxel costs more than all other augmentation; a bank of four
        million and a place in it per sample are enough for noise.
        """
        count = int(np.prod(shape))
        bank = _bank(self.device)
        found = []
        for stream in self._streams:
            begin = int(stream.integers(_BANK))
            part = bank[begin : begin + count]
            if len(part) < count:  # round the end, as often as needed
                whole, rest = divmod(count - len(part), _BANK)
                part = torch.cat([part, *[bank] * whole, bank[:rest]])
            found.append(part.reshape(*shape))
        return found

    def _stacked(self, values: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(values).astype(np.float32)).to(self.device)


@lru_cache(maxsize=2)
def _bank(device: torch.device) -> Tensor:
    values = np.random.default_rng(0).standard_normal(_BANK, dtype=np.float32)
    return torch.from_numpy(values).to(device)
