"""Altered copies of exams whose masks stay as they are: what an audit of models on features compares with the original.

The copies are those of networks, by the same functions (`data.perturb`), on each exam's own grid. A lesion is filled
within the part of the grid around it. For `background` the box is that of the exam's own lesion, whose size features
read from the mask anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from scan2gene.core.errors import ScanError
from scan2gene.core.files import value_hash
from scan2gene.core.geometry import bounding_box
from scan2gene.data.perturb import common_box, filled, hole_of, noisy, normal, with_box
from scan2gene.features.compute import Alter
from scan2gene.features.exam import Exam
from scan2gene.features.regions import body_of, mask_of

VERSION = 1
AROUND = 20  # voxels around what is filled that it is filled from; the boxes of `filled` reach 16


@dataclass(frozen=True)
class Alterations:
    """How exams are altered.

    Args:
        mask: Role of the lesion's mask; "" takes the first.
        seed: Of noise; each exam has its own.
        lender: Gives the exam, prepared alike, that lends its surroundings to every lesion; None where none can.
    """

    mask: str
    seed: int
    lender: Callable[[], Exam | None]

    def of(self, variant: str) -> Alter:
        """The function of a key of `VARIANTS`."""
        return partial(VARIANTS[variant], self)


def lesion_of(exam: Exam, mask: str) -> np.ndarray:
    """(I, J, K) bool.

    Raises:
        ScanError: The exam has no lesion marked.
    """
    label = mask_of(exam, mask)
    inside = np.zeros(1, bool) if label is None else np.nan_to_num(label.array) > 0
    if not inside.any():
        raise ScanError("no lesion is marked")
    return inside


def without_lesion(how: Alterations, exam: Exam, exam_id: str) -> Exam:
    """The exam with its lesion, and the voxels that touch it, filled from around it."""
    return _with_filled(exam, torch.from_numpy(lesion_of(exam, how.mask)), _seed(how, exam_id), grown=True)


def _background(how: Alterations, exam: Exam, exam_id: str) -> Exam:
    inside = torch.from_numpy(lesion_of(exam, how.mask))
    box = common_box([inside], inside.shape)
    if box is None:
        raise ScanError("the lesion fills most of the field, so there is no background")
    return _with_filled(exam, with_box(inside, box), _seed(how, exam_id), grown=False)


def _noise(how: Alterations, exam: Exam, exam_id: str) -> Exam:
    images = {}
    for number, (role, image) in enumerate(exam.images.items()):
        x = torch.from_numpy(np.nan_to_num(image.array))[None, None]
        images[role] = image.with_array(noisy(x, normal(x, [*_seed(how, exam_id), number]))[0, 0].numpy())
    return replace(exam, images=images)


def _only_lesion(how: Alterations, exam: Exam, exam_id: str) -> Exam:
    """The lesion in the lender's surroundings, which are stretched to the exam's grid and range of grey values."""
    lender = how.lender()
    if lender is None:
        raise ScanError("no exam of the sample has a lesion and every role")
    inside, images = lesion_of(exam, how.mask), {}
    here, there = (body_of(image.array for image in e.images.values()).inside for e in (exam, lender))
    for role, image in exam.images.items():
        if role in lender.images:
            other = lender.images[role].array
            (middle, spread), (mean, sd) = (_range(a, body) for a, body in ((image.array, here), (other, there)))
            scene = (_stretched(other, image.shape) - mean) / sd * spread + middle
            images[role] = image.with_array(np.where(inside, image.array, scene).astype(np.float32))
    return replace(exam, images=images)


def _range(array: np.ndarray, body: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation in the body."""
    values = array[body]
    values = values[np.isfinite(values)].astype(np.float64)
    return (float(values.mean()), float(values.std()) or 1.0) if values.size else (0.0, 1.0)


def _stretched(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array on a grid of another shape, nearest neighbour."""
    for axis, length in enumerate(shape):
        at = ((np.arange(length) + 0.5) * array.shape[axis] / length).astype(int)
        array = array.take(at, axis)
    return array


def _with_filled(exam: Exam, inside: torch.Tensor, seed: list[int], grown: bool) -> Exam:
    """With a part of every image filled from around it.

    Args:
        exam: The exam.
        inside: (I, J, K) bool, the part.
        seed: Of the noise in what is filled.
        grown: Also fill the voxels that touch the part, which partial volume has coloured.
    """
    low, high = bounding_box(inside.numpy())
    part = tuple(slice(max(int(a) - AROUND, 0), int(b) + AROUND) for a, b in zip(low, high, strict=True))
    x = torch.from_numpy(np.stack([np.nan_to_num(image.array[part]) for image in exam.images.values()]))[None]
    hole = hole_of([inside[part]], x) if grown else inside[part][None, None].to(x.dtype)
    new = filled(x, hole, normal(x, seed))[0].numpy()
    images = {}
    for channel, (role, image) in enumerate(exam.images.items()):
        array = image.array.copy()
        array[part] = new[channel]
        images[role] = image.with_array(array)
    return replace(exam, images=images)


def _seed(how: Alterations, exam_id: str) -> list[int]:
    return [how.seed, int(value_hash(exam_id), 16)]


VARIANTS = {"erased": without_lesion, "background": _background, "only_lesion": _only_lesion, "noise": _noise}
