"""Whether networks fit their own training patients: a figure at chance means something else where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.tasks.outputs import stem_of


def training_aurocs(
    histories: Iterable[tuple[str, Mapping[str, Any], pd.DataFrame]],
) -> dict[tuple[str, str, str], float]:
    """(run, split, target) -> AUROC on training patients at the epoch kept, the median over fits and sides.

    Args:
        histories: (run, fold with its split, history.csv) of every fit; older ones, without that AUROC, count for
            nothing.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for run, fold, table in histories:
        best = table[table["best"] == 1]
        for column in (c for c in table if c.startswith("train_auroc:") and len(best)):
            value = float(best[column].iloc[-1])
            if value == value:
                found.setdefault((run, fold["split"], stem_of(column.partition(":")[2])), []).append(value)
    return {key: float(np.median(values)) for key, values in found.items()}
