"""How much better the validation part looks than the test part, because it chose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scan2gene.evaluate.evaluate import to_patients
from scan2gene.stats.intervals import bca_interval, resample
from scan2gene.stats.resampling import Sample


def optimism(predictions: pd.DataFrame, draws: int, seed: int) -> list[dict[str, Any]]:
    """AUROC of each run on the patients that chose its epoch and settings, less that on test patients.

    With a search, or early stopping alone, the validation part has chosen what it is then asked
    about. The test part has chosen nothing, so the difference is what choosing adds.

    Args:
        predictions: The prediction table.
        draws: Bootstrap draws; a drawn patient counts in both parts.
        seed: Of the draws.

    Returns:
        Rows with run_id, split, target, validation, test, optimism, low, high and reason; figures
        are None where they cannot be estimated.

    Source: Cawley and Talbot 2010, "On over-fitting in model selection".
    """
    patients = to_patients(predictions[predictions["variant"] == "original"])
    known = patients.dropna(subset=["y_true", "prob"])
    rows = []
    for (run, split, target), table in known.groupby(["run_id", "split", "target"]):
        base = {"run_id": run, "split": split, "target": target}
        parts = [Sample(table[table["part"] == part]) for part in ("validation", "test")]
        rows.append(base | _difference(parts[0], parts[1], draws, seed))
    return rows


def _difference(validation: Sample, test: Sample, draws: int, seed: int) -> dict[str, Any]:
    nothing = dict.fromkeys(("validation", "test", "optimism", "low", "high"))
    for sample, part in ((validation, "validation"), (test, "test")):
        if sample.lacking:
            return nothing | {"reason": f"{part}: {sample.lacking.replace('test ', '')}"}
    everybody = Sample(pd.concat([validation.table, test.table]))
    names = np.unique(everybody.table["patient_id"])
    places = [np.searchsorted(names, np.unique(s.table["patient_id"])) for s in (validation, test)]
    counts = everybody.counts(draws, seed)
    first, second = (
        resample(lambda w, s=s, at=at: s.statistic("auroc", w[..., at]), counts)  # type: ignore[misc]
        for s, at in zip((validation, test), places, strict=True)
    )
    found = bca_interval(first - second)
    return {
        "validation": None if np.isnan(first.value) else first.value,
        "test": None if np.isnan(second.value) else second.value,
        "optimism": found.value,
        "low": found.low,
        "high": found.high,
        "reason": found.reason,
    }
