"""Features without a mask: of the whole body, of a grid of cells of its box, and of left against right."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.lesion_signal import FEW, SIGNAL, Signal
from scan2gene.features.regions import Body, Region, body_of, oriented, standardised
from scan2gene.preprocess.resample import slice_axis

VERSION = 1
# measures of the whole body and of each cell: of a role, whose mean in the body is 0, and of a difference of two
OF_ROLE = (("p10", "p90", "skewness", "entropy", "autocorrelation"), ("mean", "sd", "autocorrelation"))
OF_DIFFERENCE = (("mean", "sd", "p10", "p90", "skewness"), ("mean", "sd"))
SMOOTH = 3  # voxels along each axis, averaged before sides are compared
EXTREME = 0.99


def subregions(
    exam: Exam, *, roles: Sequence[str] = (), grid: Sequence[int] = (3, 3, 3), most_voxels: int = 160
) -> dict[str, float]:
    """First-order and simple texture features of the body and of a grid of cells of its box; no mask is used.

    Images are standardised in the body as for lesions, so that scale and offset of an image change nothing.

    Args:
        exam: Images on one grid.
        roles: That are measured, missing ones as NaN; default: those of the exam.
        grid: Cells from right to left, from back to front, and from low to high.
        most_voxels: Along an axis; of longer ones every second, third ... voxel is taken.

    Returns:
        Name -> number. For each role, and each pair as the later minus the earlier: of the body, such as
        `t1_body_entropy`; of each cell, counted from 1 at the right, back and low end, such as `t1_r1b3l2_mean`; the
        absolute difference of each two cells opposite to each other, such as `t1_sides_r1b3l2_mean`, and the largest
        of these, `t1_sides_largest_mean`. NaN where a cell holds too little of the body.
    """
    roles = list(roles) or list(exam.images)
    images = {
        role: _thinned(image, most_voxels)
        for role, image in zip(exam.images, oriented(exam.images.values()), strict=True)
    }
    body, regions = None, []
    if images:
        body = body_of(image.array for image in images.values())
        regions = _regions(body, next(iter(images.values())), grid)
    values = {role: standardised(image.array, body) for role, image in images.items() if role in roles and body}
    out: dict[str, float] = {}
    for role in roles:
        out |= _named(role, _signals(values.get(role), body, regions), grid, OF_ROLE)
    for a, b in ((later, earlier) for earlier, later in combinations(roles, 2)):
        difference = values[a] - values[b] if a in values and b in values else None
        out |= _named(f"{a}_minus_{b}", _signals(difference, body, regions), grid, OF_DIFFERENCE)
    return out


def _thinned(volume: Volume, most_voxels: int) -> Volume:
    step = [-(-n // most_voxels) for n in volume.shape]
    i, j, k = (slice(None, None, s) for s in step)
    return Volume(volume.array[i, j, k], volume.affine @ np.diag([*step, 1]), volume.kind)


def _regions(body: Body, volume: Volume, grid: Sequence[int]) -> list[Region]:
    """The body in its box, then its part of each cell, the last axis fastest."""
    edges = [
        np.rint(np.linspace(a, b, int(n) + 1)).astype(int) for a, b, n in zip(body.low, body.high, grid, strict=True)
    ]
    boxes = [(body.low, body.high)]
    for cell in product(*(range(int(n)) for n in grid)):
        boxes.append((np.array([e[n] for e, n in zip(edges, cell, strict=True)]),
                      np.array([e[n + 1] for e, n in zip(edges, cell, strict=True)])))  # fmt: skip
    out = []
    for low, high in boxes:
        inside = body.inside[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        out.append(Region(
            inside, inside, low, np.asarray(volume.spacing_mm), slice_axis(volume), body.low, body.high,
            int(body.inside.sum()), 0.0,
        ))  # fmt: skip
    return out


def _signals(image: np.ndarray | None, body: Body | None, regions: Sequence[Region]) -> list[Signal]:
    return [] if image is None or body is None else [Signal.of(image, body, region) for region in regions]


def _named(
    prefix: str, signals: Sequence[Signal], grid: Sequence[int], measures: tuple[tuple[str, ...], tuple[str, ...]]
) -> dict[str, float]:
    """All numbers of one image, NaN without signals."""
    of_body, of_cell = measures
    out = {f"body_{name}": SIGNAL[name](signals[0]) if signals else np.nan for name in of_body}
    out["side_correlation"], out["side_difference_p99"] = _sides(signals[0]) if signals else (np.nan, np.nan)
    cells = np.full((*map(int, grid), len(of_cell)), np.nan)
    for n, signal in enumerate(signals[1:]):
        if signal.values.size >= FEW:
            cells.reshape(-1, len(of_cell))[n] = [SIGNAL[name](signal) for name in of_cell]
    sides = np.abs(cells - cells[::-1])[: len(cells) // 2]
    for kind, table in (("", cells), ("sides_", sides)):
        for r, b, low in np.ndindex(table.shape[:3]):
            for name, value in zip(of_cell, table[r, b, low], strict=True):
                out[f"{kind}r{r + 1}b{b + 1}l{low + 1}_{name}"] = float(value)
    for n, name in enumerate(of_cell):
        some = sides[..., n][np.isfinite(sides[..., n])]
        out[f"sides_largest_{name}"] = float(some.max()) if some.size else np.nan
    return {f"{prefix}_{name}": value for name, value in out.items()}


def _sides(signal: Signal) -> tuple[float, float]:
    """Left against right, mirrored at the middle of the body's box, after averaging over a few voxels.

    Returns:
        Correlation of the image with its mirrored copy; 99th percentile of their absolute difference.
    """
    from scipy.ndimage import uniform_filter

    both = signal.region.inside & signal.region.inside[::-1] & np.isfinite(signal.part) & np.isfinite(signal.part[::-1])
    smooth = uniform_filter(np.nan_to_num(signal.part), SMOOTH)
    here, there = smooth[both], smooth[::-1][both]
    if here.size < FEW or np.ptp(here) == 0:
        return np.nan, np.nan
    return float(np.corrcoef(here, there)[0, 1]), float(np.quantile(np.abs(here - there), EXTREME))
