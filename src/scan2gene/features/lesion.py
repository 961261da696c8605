"""Hand-made features of a lesion: size, form, place, contrast and differences between sequences."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from scan2gene.features.exam import Exam
from scan2gene.features.lesion_shape import SHAPE
from scan2gene.features.lesion_signal import DIFFERENCE, SIGNAL, Signal
from scan2gene.features.regions import body_of, lesion_of, mask_of, oriented, standardised

VERSION = 2


def lesion(exam: Exam, *, mask: str = "", roles: Sequence[str] = (), ring_mm: float = 10.0) -> dict[str, float]:
    """Features of the lesion that a mask marks: some 85 numbers for three roles.

    Geometry is in mm of the grid, also where its slice distance is nominal (`exam.spacing_believed` is False).
    Scaling a role's image or adding a constant to it changes nothing (see `lesion_signal`).

    Args:
        exam: Images and masks on one grid.
        mask: Its role; "" takes the first.
        roles: That are measured, missing ones as NaN; default: those of the exam.
        ring_mm: Width of the surroundings that the lesion is compared with.

    Returns:
        Name -> number: `SHAPE`; for each role `SIGNAL`, such as `t1c_core_minus_rim`; for each pair `DIFFERENCE` of
        the later minus the earlier role, such as `t1c_minus_t1_mean`. NaN where it cannot be computed.
    """
    roles = list(roles) or list(exam.images)
    names = [*SHAPE, *(f"{role}_{name}" for role in roles for name in SIGNAL)]
    pairs = [(later, earlier) for earlier, later in combinations(roles, 2)]
    names += [f"{later}_minus_{earlier}_{name}" for later, earlier in pairs for name in DIFFERENCE]
    out = dict.fromkeys(names, np.nan)
    label = mask_of(exam, mask)
    if label is None or not exam.images:
        return out
    grid, *images = oriented([label, *exam.images.values()])
    body = body_of(image.array for image in images)
    region = lesion_of(grid.array, body, grid, ring_mm)
    if region is None:
        return out
    out |= {name: measure(region) for name, measure in SHAPE.items()}
    signals = {
        role: Signal.of(standardised(image.array, body), body, region)
        for role, image in zip(exam.images, images, strict=True)
        if role in roles
    }
    for role, signal in signals.items():
        out |= {f"{role}_{name}": measure(signal) for name, measure in SIGNAL.items()}
    for later, earlier in pairs:
        if later in signals and earlier in signals:
            signal = Signal.of(signals[later].image - signals[earlier].image, body, region)
            out |= {f"{later}_minus_{earlier}_{name}": measure(signal) for name, measure in DIFFERENCE.items()}
    return out
