"""What features are computed from: the images and masks of one exam on one grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scan2gene.core.volume import Volume


@dataclass(frozen=True)
class Exam:
    """The images and masks of one exam, all on one grid.

    Args:
        images: Role -> volume (I, J, K), float32, intensities as scanned; a role that the exam lacks is absent.
        masks: Role -> label volume (I, J, K); above 0 is inside.
        spacing_believed: False where the slice distance of the header is not real and a nominal one took its place.
    """

    images: Mapping[str, Volume]
    masks: Mapping[str, Volume] = field(default_factory=dict)
    spacing_believed: bool = True
