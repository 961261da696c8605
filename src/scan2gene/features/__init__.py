"""Numbers that describe an exam: tables for learners that need no network.

A kind of features is one function of an `Exam` whose keyword-only parameters are its options. It gives the same
names in the same order for every exam with the same roles; what cannot be computed is NaN.
"""

from __future__ import annotations

from collections.abc import Callable

from scan2gene.features.encoder import encoder
from scan2gene.features.lesion import lesion
from scan2gene.features.radiomics import radiomics
from scan2gene.features.subregions import subregions

KINDS: dict[str, Callable[..., dict[str, float]]] = {
    "encoder": encoder,
    "lesion": lesion,
    "radiomics": radiomics,
    "subregions": subregions,
}
