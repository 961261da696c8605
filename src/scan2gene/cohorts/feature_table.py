"""Tables of features that a study brings along: one row per patient, numbers in columns or a vector in a file."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.cohorts.cells import MISSING, decimal_mark, parse_number
from scan2gene.cohorts.label_table import read_table
from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_features import Features
from scan2gene.core.text import listed

VERSION = 1
NOTES = "diagnostics_"  # pyradiomics writes about the run itself in columns that begin so


def read_feature_table(block: Features, name: str, left_out: Collection[str] = ()) -> pd.DataFrame:
    """Numbers (N, F) by patient id.

    Args:
        block: With a `table`.
        name: Of the features, for messages.
        left_out: Columns that are no features, such as labels, in lower case; not where the study names its columns.

    Returns:
        float64, index patient_id, NaN where a cell is blank or infinite.

    Raises:
        CohortError: Unreadable, no such column, two rows of a patient, or a cell of a named column that is no number.
    """
    path = Path(str(block.table))
    if not path.is_file():
        raise CohortError(f"features.{name}: there is no file {path}")
    table = _vectors(path) if path.suffix == ".npz" else _columns(path, block, name, left_out)
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        raise CohortError(
            f"features.{name}: {path.name} has several rows of {listed(sorted(twice), most=5)}; keep one per patient"
        )
    return table.astype(float).replace([np.inf, -np.inf], np.nan)


def _vectors(path: Path) -> pd.DataFrame:
    with np.load(path, allow_pickle=False) as file:
        if not {"patient_id", "vector"} <= set(file.files):
            raise CohortError(f"{path.name} needs the arrays patient_id (N,) and vector (N, F)")
        ids, vectors = file["patient_id"], file["vector"]
    if vectors.ndim != 2 or len(ids) != len(vectors):
        raise CohortError(
            f"{path.name}: vector has shape {vectors.shape} and patient_id {ids.shape}, not (N, F) and (N,)"
        )
    return pd.DataFrame(vectors, [plain_text(str(i)) for i in ids], [f"v{n}" for n in range(vectors.shape[1])])


def _columns(path: Path, block: Features, name: str, left_out: Collection[str]) -> pd.DataFrame:
    table = (
        pd.read_parquet(path) if path.suffix == ".parquet" else read_table(path, patient_column=block.patient_column)
    )
    if block.patient_column not in table.columns:
        raise CohortError(f"features.{name}: patient_column {unknown_name(block.patient_column, table.columns)}")
    for column in block.columns:
        if column not in table.columns:
            raise CohortError(f"features.{name}: column {unknown_name(column, table.columns)}")
    ids = table[block.patient_column].astype(str).map(plain_text)
    table = table[(ids != "").to_numpy()]
    found = {}
    for column in block.columns or table.columns:
        if column == block.patient_column:
            continue
        if not block.columns and (str(column).startswith(NOTES) or str(column).lower() in left_out):
            continue
        values = _numbers(table[column], f"features.{name}: column {column}", named=bool(block.columns))
        if values is not None and values.notna().any():
            found[str(column)] = values.to_numpy()
    if not found:
        raise CohortError(f"features.{name}: {path.name} has no column of numbers")
    return pd.DataFrame(found, index=pd.Index(ids[ids != ""], name="patient_id"))


def _numbers(cells: pd.Series, what: str, named: bool) -> pd.Series | None:
    """The numbers of a column; None where it holds texts and the study does not name it."""
    if not pd.api.types.is_numeric_dtype(cells):
        texts = cells.astype(str).str.strip()
        texts = texts.mask(texts.str.lower().isin(MISSING), "")
        numbers = pd.to_numeric(texts, errors="coerce")
        odd = numbers.isna() & (texts != "")
        if odd.any():
            mark = decimal_mark(texts[texts != ""], what)
            numbers = texts.map(lambda cell: parse_number(cell, mark)).astype(float)
            odd = numbers.isna() & (texts != "")
        if odd.any():
            if named:
                raise CohortError(f"{what}: {texts[odd].iloc[0]!r} is no number")
            return None
        cells = numbers
    return cells.astype(float)
