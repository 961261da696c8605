"""Which test exams are explained: the surest of each kind for the eye, a random sample for the scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.files import value_hash

FOLD = ["run_id", "split", "repeat", "fold"]
KINDS = ("TP", "FP", "TN", "FN")
CHOSEN_COLUMNS = (
    *FOLD, "target", "side", "patient_id", "exam_id", "y_true", "prob", "threshold", "kind", "class", "picked", "drawn",
)  # fmt: skip


def chosen_exams(
    predictions: pd.DataFrame,
    thresholds: Sequence[Mapping[str, Any]],
    runs: Sequence[str],
    splits: Sequence[str],
    targets: Sequence[str],
    exams: int,
    scored: int,
    seed: int,
) -> pd.DataFrame:
    """Test exams to explain, of the first repeat, each by the network that never saw its patient.

    Args:
        predictions: The prediction table.
        thresholds: thresholds.json.
        runs: Networks.
        splits: Names.
        targets: Names.
        exams: Of each kind, those with the largest probability (positive decisions) or the
            smallest (negative ones); one exam of a patient.
        scored: Patients drawn at random; their first exam counts, and of two sides one at random.
        seed: Of the drawing; the same patients for every run.

    Returns:
        Columns `CHOSEN_COLUMNS`; `picked` for the eye, `drawn` for the scores; `class` is the
        decision, which is what the map explains.
    """
    table = (
        predictions[
            predictions["run_id"].isin(runs)
            & predictions["split"].isin(splits)
            & predictions["target"].isin(targets)
            & (predictions["part"] == "test")
            & (predictions["repeat"] == 0)
            & (predictions["variant"] == "original")
        ]
        .dropna(subset=["prob", "y_true"])
        .fillna({"side": ""})
    )
    own = [t for t in thresholds if t.get("variant", "original") == "original"]
    cuts = pd.DataFrame(own, columns=[*FOLD, "target", "threshold"])
    table = table.merge(cuts, on=[*FOLD, "target"], how="inner").sort_values(
        ["target", "exam_id", "side"], kind="stable"
    )
    positive = table["prob"] >= table["threshold"]
    right = positive == (table["y_true"] == 1)
    kind = np.where(positive, np.where(right, "TP", "FP"), np.where(right, "TN", "FN"))
    table = table.assign(kind=kind, **{"class": np.where(positive, "positive", "negative")})
    parts = [
        _of_one(group, exams, scored, [seed, int(value_hash([split, target]), 16) % 2**31])
        for (_, split, target), group in table.groupby(["run_id", "split", "target"], sort=False)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(CHOSEN_COLUMNS))


def _of_one(group: pd.DataFrame, exams: int, scored: int, seed: list[int]) -> pd.DataFrame:
    """Of one run, split and target."""
    sure = np.where(group["class"] == "positive", -group["prob"], group["prob"])
    surest = group.assign(sure=sure).sort_values("sure", kind="stable").drop_duplicates(["kind", "patient_id"])
    picked = surest.groupby("kind").head(exams).index
    first = group.drop_duplicates(["patient_id", "side"]).sort_values(["patient_id", "side"])
    order = first.iloc[np.random.default_rng(seed).permutation(len(first))].drop_duplicates("patient_id")
    marked = group.assign(picked=group.index.isin(picked), drawn=group.index.isin(order.index[:scored]))
    return marked.loc[marked["picked"] | marked["drawn"], list(CHOSEN_COLUMNS)]
