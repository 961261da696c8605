"""Compiled loops on plain threads: a volume is cut into slabs, each worked on without the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from scan2gene.core.machine import cpus


def in_slabs(work: Callable[[int, int], Any], length: int) -> list[Any]:
    """Results of `work(start, stop)` over slabs that together cover 0..length-1, in order."""
    workers = cpus()
    edges = np.linspace(0, length, min(4 * workers, length) + 1).astype(int).tolist()
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda ends: work(*ends), pairwise(edges)))


def slices_first(array: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """The array as it lies in memory, slowest axis first, and the order of its axes.

    Returns:
        C-contiguous array; a copy only where the memory has gaps. `array.transpose(order)`
        has its shape, and `restored` undoes the order.
    """
    order = tuple(sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis])))
    return np.ascontiguousarray(array.transpose(order)), order


def restored(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray:
    """Axes back from memory order: the inverse of `slices_first`, without a copy."""
    return array.transpose(np.argsort(order))
