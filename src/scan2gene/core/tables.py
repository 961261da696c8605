"""Columns of the tables that stages exchange, and reading and writing them whole.

Unknown is null, never 0. Ids are text: a patient '007' stays '007'.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.files import atomic_path, write_text

LABEL_COLUMNS = ("patient_id", "side", "target", "value", "label", "source")
SPLIT_COLUMNS = ("split", "patient_id", "repeat", "fold", "part")
ROLE_COLUMNS = ("patient_id", "exam_id", "role", "series_id", "taken", "reason")
EXCLUSION_COLUMNS = ("stage", "patient_id", "exam_id", "series_id", "reason")
PREDICTION_COLUMNS = (
    "run_id", "split", "repeat", "fold", "part", "variant", "site", "patient_id", "exam_id", "side",
    "unit", "unit_id", "target", "label", "y_true", "logit", "prob", "status", "reason",
)  # fmt: skip
WEIGHT_COLUMNS = ("run_id", "split", "repeat", "fold", "target", "side", "member", "weight", "n", "reason")
INNER_COLUMNS = ("exam_id",)  # and log odds of each output: training exams, by inner folds without them
EMBEDDING_COLUMNS = ("run_id", "split", "repeat", "fold", "part", "patient_id", "exam_id", "embedding")
MEAN = "mean over targets"  # stands where a target's name does; no target can be called so
SLICE_LEVEL = "slice level"  # variant of figures on single slices, which are not for comparison
METRIC_COLUMNS = (
    "run_id", "split", "variant", "target", "metric", "value", "low", "high", "n", "n_units", "n_positive", "n_failed",
    "n_rarer_patients", "reason",
)  # fmt: skip
COMPARISON_COLUMNS = (
    "split", "target", "metric", "best", "run_id", "n", "difference", "low", "high", "p", "p_holm", "reason",
)  # fmt: skip
CONFUSION_COLUMNS = ("run_id", "split", "target", "true", "predicted", "n")
PARTS = ("train", "validation", "test")
EXTERNAL = "external"  # part of patients at sites that a split keeps out of development
_NUMBERS = {"repeat", "fold", "value", "y_true", "logit", "prob", "low", "high", "n", "n_units", "n_positive",
            "n_failed", "n_rarer_patients", "difference", "p", "p_holm"}  # fmt: skip


# what a spreadsheet takes for a formula, in its wide forms too; a quoted cell gets one more quote
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_APOSTROPHE = re.compile(rb"(?:\A(?:\xef\xbb\xbf)?|[,\"\r\n])'")  # a cell of a file begins with one
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?inf")


def harmless(cell: Any) -> Any:
    """A text that a spreadsheet would compute, behind an apostrophe; `as_meant` takes it away.

    Source: OWASP, CSV injection.
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def as_meant(cell: str) -> str:
    """A cell as it was before `harmless`."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def harmless_table(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose cells and column names no spreadsheet computes."""
    return _each_text(table, harmless)


def table_as_meant(table: pd.DataFrame) -> pd.DataFrame:
    """A table as it was before `harmless_table`."""
    return _each_text(table, as_meant)


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    columns = [change(c) if isinstance(c, str) else c for c in table.columns]
    changed = table.set_axis(columns, axis=1) if columns != list(table.columns) else table.copy(deep=False)
    for at, (_, cells) in enumerate(changed.items()):
        others = {text: new for text in _texts(cells) if (new := change(text)) != text}
        if others:
            values = [others.get(c, c) if isinstance(c, str) else c for c in cells]
            changed.isetitem(at, pd.Series(values, index=changed.index, dtype=object))
    return changed


def _texts(cells: pd.Series) -> set[str]:
    if pd.api.types.is_numeric_dtype(cells):
        return set()
    return {c for c in cells.to_numpy(dtype=object) if isinstance(c, str)}  # pandas' own texts are slow to walk


def first_series(cohort: pd.DataFrame) -> pd.Series:
    """The series id of each exam's first role that it has; missing where there are no scans."""
    roles = cohort[[c for c in cohort.columns if c.startswith("role:")]]
    return roles.bfill(axis=1).iloc[:, 0] if roles.shape[1] else pd.Series(None, cohort.index, dtype=object)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV atomically, without an index column and without formulas (see `harmless`)."""
    shown = harmless_table(table)
    text = shown.to_csv(index=False)
    if "\r" in text:  # Python before 3.13 does not quote a carriage return, at which readers begin a new row
        text = shown.to_csv(index=False, quoting=csv.QUOTE_ALL)
    write_text(path, text)


def read_csv(path: Path, columns: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read a table that a stage wrote: text stays text, known number columns are numbers.

    Raises:
        RunError: The file is missing, or lacks one of `columns`.
    """
    if not path.exists():
        raise RunError(f"{path.name} is missing in {path.parent}. Run the stage that writes it first.")
    content = path.read_bytes()
    table = pd.read_csv(BytesIO(content), dtype=str, keep_default_na=False, na_values=[""])
    if _APOSTROPHE.search(content):
        table = table_as_meant(table)
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
