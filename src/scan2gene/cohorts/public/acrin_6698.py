"""ACRIN-6698: the diffusion substudy of I-SPY2."""

from __future__ import annotations

from dataclasses import replace

from scan2gene.cohorts.public import ispy2

CARD = replace(
    ispy2.CARD,
    title="breast cancer under chemotherapy, 385 patients of I-SPY2: DCE and diffusion at up to four visits",
    page="https://doi.org/10.7937/tcia.kk02-6d95",
    collection="acrin_6698",
)
