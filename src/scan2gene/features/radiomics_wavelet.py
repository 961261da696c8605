"""One level of the stationary wavelet transform with coif1, as pyradiomics takes it from PyWavelets.

Source: Daubechies 1992, "Ten lectures on wavelets"; periodic border, an odd axis lengthened by one voxel.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

LOW = (-0.015655728135791993, -0.07273261951252645, 0.3848648468648578, 0.8525720202116004, 0.3378976624574818,
       -0.07273261951252645)  # fmt: skip
HIGH = tuple(tap * (-1) ** (n + 1) for n, tap in enumerate(LOW[::-1]))
GAIN = {"LLL": sum(LOW) ** 3}  # of a constant; the other bands give 0
REACH = len(LOW) // 2  # voxels on either side that a value needs
BANDS = ("LLH", "LHL", "LHH", "HLL", "HLH", "HHL", "HHH", "LLL")  # letters for i, j, k; the order of pyradiomics


def wavelets(array: np.ndarray, box: tuple[slice, ...]) -> Iterator[tuple[str, np.ndarray]]:
    """The eight decompositions within a box, in the order of `BANDS`.

    Args:
        array: (K, J, I), finite.
        box: The part of the array that is returned.

    Yields:
        Letters of the band, and its values in the box, float64.
    """
    part = array
    for axis, (span, size) in enumerate(zip(box, array.shape, strict=True)):
        period = size + size % 2
        index = np.arange(span.start - REACH, span.stop + REACH) % period
        part = part.take(np.where(index < size, index, 0), axis)  # the added voxel repeats the first one
    parts = {"": part.astype(np.float64)}
    for axis in (2, 1, 0):
        halves = {name: _halves(values, axis) for name, values in parts.items()}
        parts = {name + letter: half[letter] for name, half in halves.items() for letter in "LH"}
    for name in BANDS:
        yield name, parts.pop(name)


def _halves(array: np.ndarray, axis: int) -> dict[str, np.ndarray]:
    """Low and high half along one axis, shorter by twice the reach."""
    size = array.shape[axis] - 2 * REACH
    # a tap earlier in the filter meets a voxel further on
    views = [array[(slice(None),) * axis + (slice(len(LOW) - n, len(LOW) - n + size),)] for n in range(len(LOW))]
    taps = {"L": LOW, "H": HIGH}
    return {name: sum(tap * view for tap, view in zip(taps[name], views, strict=True)) for name in taps}
