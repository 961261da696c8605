"""Columns of the tables that stages exchange, and reading and writing them whole.

Unknown is null, never 0. Ids are text: a patient '007' stays '007'.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.files import atomic_path

LABEL_COLUMNS = ("patient_id", "side", "target", "value", "source")
SPLIT_COLUMNS = ("split", "patient_id", "repeat", "fold", "part")
EXCLUSION_COLUMNS = ("stage", "patient_id", "exam_id", "series_id", "reason")
PREDICTION_COLUMNS = (
    "run_id", "split", "repeat", "fold", "part", "variant", "site", "patient_id", "exam_id", "side",
    "unit", "unit_id", "target", "label", "y_true", "logit", "prob", "status", "reason",
)  # fmt: skip
EMBEDDING_COLUMNS = ("run_id", "split", "repeat", "fold", "part", "patient_id", "exam_id", "embedding")
MEAN = "mean over targets"  # stands where a target's name does; no target can be called so
METRIC_COLUMNS = (
    "run_id", "split", "variant", "target", "metric", "value", "low", "high", "n", "n_units", "n_positive", "n_failed",
    "n_rarer_patients", "reason",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "split", "target", "metric", "best", "run_id", "n", "difference", "low", "high", "p", "p_holm", "reason",
)  # fmt: skip
PARTS = ("train", "validation", "test")
EXTERNAL = "external"  # part of patients at sites that a split keeps out of development
_NUMBERS = {"repeat", "fold", "value", "y_true", "logit", "prob", "low", "high", "n", "n_units", "n_positive",
            "n_failed", "n_rarer_patients", "difference", "p", "p_holm"}  # fmt: skip


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV atomically, without an index column."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False)


def read_csv(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table that a stage wrote: text stays text, known number columns are numbers.

    Raises:
        RunError: The file is missing, or lacks one of `columns`.
    """
    if not path.exists():
        raise RunError(f"{path.name} is missing in {path.parent}. Run the stage that writes it first.")
    table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise RunError(f"{path} lacks the columns {missing}; it was not written by this version of scan2gene.")
    for column in _NUMBERS & set(table.columns):
        table[column] = pd.to_numeric(table[column])
    return table


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a table as parquet atomically."""
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def without_slices(predictions: pd.DataFrame) -> pd.DataFrame:
    """The prediction table's rows of exams and sides: slices are answers on the way to those."""
    return predictions[predictions["unit"] != "slice"]
