"""Which features survive another reader's outline: features under jittered masks, ICC, and a filter of correlation.

Both are used inside a fold, on training patients. The jittered copies need no label, so that `jittered_features` of an
exam may be computed once and read in every fold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd

from scan2gene.core.geometry import bounding_box
from scan2gene.core.volume import Volume
from scan2gene.features.exam import Exam
from scan2gene.features.regions import window
from scan2gene.preprocess.resample import slice_axis

Jitter = Literal["shift", "dilate", "erode", "rotate"]
JITTERS: tuple[Jitter, ...] = ("shift", "dilate", "erode", "rotate")
DEGREES = 5.0  # largest rotation
FEWEST = 3  # exams below which no ICC is given


def stability(
    extract: Callable[[Exam], Mapping[str, float]], exams: Sequence[Exam],
    jitters: Sequence[Jitter] = JITTERS, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """ICC of each feature between the given masks and jittered ones.

    Args:
        extract: A kind of features with its options.
        exams: Of training patients; some 30 are enough.
        jitters: What is done to the masks, each a reader of its own.
        seed: Of directions and angles.

    Returns:
        Columns feature, icc (2,1: absolute agreement) and icc_consistency (3,1); NaN where fewer than 3 exams have
        the feature or it is the same in all.
    """
    read = [jittered_features(extract, exam, jitters, seed + n) for n, exam in enumerate(exams)]
    names = list(dict.fromkeys(name for row in read for reader in row for name in reader))
    values = np.array([[[reader.get(name, np.nan) for name in names] for reader in row] for row in read], float)
    both = [icc(values[:, :, n]) for n in range(len(names))]
    return pd.DataFrame({"feature": names, "icc": [a for a, _ in both], "icc_consistency": [b for _, b in both]})


def jittered_features(
    extract: Callable[[Exam], Mapping[str, float]], exam: Exam, jitters: Sequence[Jitter] = JITTERS, seed: int = 0
) -> list[dict[str, float]]:
    """Features of an exam with its own masks, then with each jitter of them; arguments as in `stability`."""
    out = [dict(extract(exam))]
    for n, jitter in enumerate(jitters):
        masks = {role: jittered(mask, jitter, np.random.default_rng([seed, n])) for role, mask in exam.masks.items()}
        out.append(dict(extract(replace(exam, masks=masks))))  # all masks of an exam move alike
    return out


def jittered(mask: Volume, jitter: Jitter, rng: np.random.Generator) -> Volume:
    """A mask as another reader might have drawn it, slice by slice; as given where nothing would be left.

    Args:
        mask: Labels (I, J, K), above 0 is inside.
        jitter: shift: by one pixel; dilate, erode: by one pixel; rotate: by 1 to 5 degrees about the middle.
        rng: Draws direction and angle.
    """
    from scipy.ndimage import binary_erosion, grey_dilation

    labels = np.nan_to_num(mask.array).astype(np.float32)
    if not (labels > 0).any():
        return mask
    low, high = bounding_box(labels > 0)
    start, stop = low - 2, high + 2
    axis = slice_axis(mask)
    plane = [a for a in range(3) if a != axis]
    if jitter == "rotate":  # corners move outwards
        start[plane], stop[plane] = start[plane] - (high - low).max() // 8, stop[plane] + (high - low).max() // 8
    part = np.nan_to_num(window(labels, start, stop))
    cross = np.zeros((3, 3, 3), bool)
    for a in plane:
        cross[tuple(slice(None) if b == a else 1 for b in range(3))] = True
    sign, which, degrees = int(rng.choice([-1, 1])), int(rng.integers(2)), float(rng.uniform(1, DEGREES))
    if jitter == "shift":
        part = np.roll(part, sign, plane[which])
    elif jitter == "dilate":
        part = np.where(part > 0, part, grey_dilation(part, footprint=cross))
    elif jitter == "erode":
        part = part * binary_erosion(part > 0, cross)
    else:
        part = _turned(part, plane, np.radians(sign * degrees), np.asarray(mask.spacing_mm))
    inner_low, inner_high = np.maximum(start, 0), np.minimum(stop, mask.shape)
    out = np.zeros_like(mask.array)
    out[tuple(slice(a, b) for a, b in zip(inner_low, inner_high, strict=True))] = part[
        tuple(slice(a - s, b - s) for a, b, s in zip(inner_low, inner_high, start, strict=True))
    ]
    return mask.with_array(out) if (out > 0).any() else mask


def _turned(part: np.ndarray, plane: Sequence[int], angle: float, spacing_mm: np.ndarray) -> np.ndarray:
    """Labels turned within slices about their middle, nearest neighbour."""
    from scipy.ndimage import affine_transform

    a, b = plane
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b] = -np.sin(angle) * spacing_mm[b] / spacing_mm[a]
    matrix[b, a] = np.sin(angle) * spacing_mm[a] / spacing_mm[b]
    centre = np.argwhere(part > 0).mean(axis=0)
    return affine_transform(part, matrix, centre - matrix @ centre, order=0)


def icc(values: np.ndarray) -> tuple[float, float]:
    """Intraclass correlations (2,1), absolute agreement, and (3,1), consistency, of single readings.

    Args:
        values: (N, R) of N exams by R readers; exams with a missing value are left out.

    Returns:
        Both, at most 1; NaN where fewer than 3 exams are complete or all values are equal.

    Source: Shrout & Fleiss 1979, Psychological Bulletin 86; McGraw & Wong 1996.
    """
    values = values[np.isfinite(values).all(axis=1)]
    n, readers = values.shape
    if n < FEWEST or readers < 2 or np.ptp(values) == 0:
        return np.nan, np.nan
    values = (values - values.mean()) / np.abs(values - values.mean()).max()  # so that no square is lost
    exam, reader = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    between = readers * (exam**2).sum() / (n - 1)
    of_readers = n * (reader**2).sum() / (readers - 1)
    error = ((values - exam - reader) ** 2).sum() / ((n - 1) * (readers - 1))
    consistent = between + (readers - 1) * error
    absolute = consistent + readers * (of_readers - error) / n
    both = [(between - error) / total if total > 0 else np.nan for total in (absolute, consistent)]
    return float(both[0]), float(both[1])


def uncorrelated(values: pd.DataFrame, threshold: float = 0.95) -> list[str]:
    """Columns that are kept so that no two of them correlate beyond a threshold.

    Args:
        values: Features of training patients, best ones first: of two that correlate the later goes. Missing
            values take the column's median.
        threshold: Largest absolute Pearson correlation of two kept columns.

    Returns:
        Names in the given order; constant and empty columns are left out.
    """
    filled = values.fillna(values.median()).to_numpy(float)
    with np.errstate(invalid="ignore"):
        spread = filled.std(axis=0)
        varies = np.isfinite(spread) & (spread > 1e-9 * np.abs(filled).max(axis=0))
    columns = np.flatnonzero(varies)
    scaled = (filled[:, columns] - filled[:, columns].mean(axis=0)) / spread[columns] / np.sqrt(len(filled))
    left = np.ones(len(columns), bool)
    for n in range(len(columns)):
        if left[n]:
            left[n + 1 :] &= np.abs(scaled[:, n] @ scaled[:, n + 1 :]) <= threshold
    return [str(name) for name in values.columns[columns[left]]]
