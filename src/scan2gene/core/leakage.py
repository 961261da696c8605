"""What a study that splits by slice says of itself on everything it writes."""

from __future__ import annotations

import pandas as pd

from scan2gene.core.study import Study, is_leaky

LEAKY = (
    "LEAKY: slices of one patient stand in training and in test, so no figure here says how a new patient would fare"
)


def stamp_of(study: Study) -> str:
    """`LEAKY` for a study with a split by slice, else empty."""
    return LEAKY if is_leaky(study) else ""


def stamped(table: pd.DataFrame, study: Study) -> pd.DataFrame:
    """The table, with a column `leaky` that says so where its study leaks."""
    return table.assign(leaky=LEAKY) if is_leaky(study) else table
