"""Tables of features that a study brings along: one row per patient, numbers in columns or a vector in a file."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.cohorts.cells import MISSING, decimal_mark, different, parse_number, readings
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.label_table import read_table
from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_features import Features
from scan2gene.core.text import listed

VERSION = 1
NOTES = "diagnostics_"  # pyradiomics writes about the run itself in columns that begin so
FEWEST = 10  # patients in whom a column must repeat a label before it is taken for a copy of it
VECTOR = "vector"
_NUMBER = r"[-+]?[\d.,]+(?:[eE][-+]?\d+)?"
_THOUSANDS = r"[-+]?[1-9]\d{0,2},\d{3}"  # 1,200: a comma that may also group thousands


def read_feature_table(
    block: Features, name: str, left_out: Collection[str] = (), decimal: str | None = None, flow: Flow | None = None
) -> pd.DataFrame:
    """Numbers (N, F) by patient id.

    Args:
        block: With a `table`.
        name: Of the features, for messages.
        left_out: Columns that are no features, such as labels, in lower case; not where the study names its columns.
        decimal: What stands before decimals; None where the cells must tell.
        flow: Gets the rows without an id.

    Returns:
        float64, index patient_id, NaN where a cell is blank or infinite.

    Raises:
        CohortError: Unreadable, no such column, two rows of a patient, or a cell of a named column that is no number.
    """
    path = Path(str(block.table))
    if not path.is_file():
        raise CohortError(f"features.{name}: there is no file {path}")
    cells = read_cells(path, block.patient_column)
    if block.patient_column not in cells.columns:
        columns = [c for c in cells.columns if c]
        raise CohortError(f"features.{name}: patient_column {unknown_name(block.patient_column, columns)}")
    ids = cells[block.patient_column].map(identity)
    blank = f"row without an id in column {block.patient_column}: {path.name}"
    for line in cells.index[ids == ""]:
        (flow or Flow()).leave_out("features", f"{blank}:{line}")
    cells, ids = cells[ids != ""], ids[ids != ""]
    twice = ids[ids.duplicated()].unique()
    if len(twice):
        raise CohortError(
            f"features.{name}: {path.name} has several rows of {listed(sorted(twice), most=5)}; keep one per patient"
        )
    numbers = _numbers(cells, block, f"features.{name}", left_out, decimal)
    if not numbers:
        raise CohortError(f"features.{name}: {path.name} has no column of numbers")
    return pd.DataFrame(numbers, index=pd.Index(ids, name="patient_id")).replace([np.inf, -np.inf], np.nan)


def read_cells(path: Path, patient_column: str = "") -> pd.DataFrame:
    """Every row of a table of features; of a text table as text, the index is its line.

    Raises:
        CohortError: It cannot be read.
    """
    if path.suffix not in (".npz", ".parquet"):
        return read_table(path, patient_column=patient_column)
    try:
        table = _vectors(path) if path.suffix == ".npz" else _parquet(path)
    except CohortError:
        raise
    except Exception as error:  # parsers raise many kinds
        raise CohortError(f"{path.name} is not a readable table: {error}") from error
    return table.set_axis(range(1, len(table) + 1))


def _vectors(path: Path) -> pd.DataFrame:
    with np.load(path, allow_pickle=False) as file:
        if not {"patient_id", VECTOR} <= set(file.files):
            raise CohortError(f"{path.name} needs the arrays patient_id (N,) and vector (N, F)")
        ids, vectors = file["patient_id"], file[VECTOR]
    if vectors.ndim != 2 or ids.shape != vectors.shape[:1]:
        raise CohortError(
            f"{path.name}: vector has shape {vectors.shape} and patient_id {ids.shape}, not (N, F) and (N,)"
        )
    table = pd.DataFrame(vectors, columns=[f"v{n}" for n in range(vectors.shape[1])])
    table.insert(0, "patient_id", ids.astype(str))
    return table


def _parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    if any(table.index.names):
        table = table.reset_index()
    table.columns = [str(column) for column in table.columns]
    if VECTOR not in table or pd.api.types.is_numeric_dtype(table[VECTOR]):
        return table
    lengths = {np.size(cell) for cell in table[VECTOR]}
    if len(lengths) > 1:
        raise CohortError(f"{path.name}: vectors have {listed(sorted(map(str, lengths)))} numbers, not all as many")
    vectors = pd.DataFrame(np.stack([np.asarray(cell, float) for cell in table[VECTOR]]), index=table.index)
    return table.drop(columns=VECTOR).join(vectors.add_prefix("v"))


def identity(cell: object) -> str:
    """A patient id as text; whole numbers are floats where a row of the column is blank."""
    if cell is None or cell != cell:
        return ""
    return plain_text(str(int(cell) if isinstance(cell, float) and cell.is_integer() else cell))


def _numbers(
    cells: pd.DataFrame, block: Features, what: str, left_out: Collection[str], decimal: str | None
) -> dict[str, np.ndarray]:
    """Each column of numbers that has any; columns of other texts are left out, or refused where they are named."""
    for column in block.columns:
        if column not in cells.columns:
            raise CohortError(f"{what}: column {unknown_name(column, cells.columns)}")
    names = block.columns or [
        c for c in cells.columns if c and not c.startswith(NOTES) and c.lower() not in left_out
    ]  # fmt: skip
    names = [c for c in names if c != block.patient_column]
    texts = {c: _texts(cells[c]) for c in names if not pd.api.types.is_numeric_dtype(cells[c])}
    mark = decimal or _mark(texts.values(), what)
    found = {}
    for column in names:
        values = _of_texts(texts[column], mark) if column in texts else cells[column].astype("Float64")
        if values is None and block.columns:
            odd = next(cell for cell in different(texts[column]) if cell and parse_number(cell, mark) is None)
            raise CohortError(f"{what}: column {column}: {odd!r} is no number")
        if values is not None and values.notna().any():
            found[column] = values.to_numpy(float, na_value=np.nan)
    return found


def _texts(cells: pd.Series) -> pd.Series:
    texts = cells.astype(str).str.strip()
    return texts.mask(texts.str.lower().isin(MISSING), "")


def _mark(columns: Iterable[pd.Series], what: str) -> str | None:
    """What stands before the decimals of a whole table: a comma in one column settles it for all."""
    cells: list[str] = []
    for texts in columns:
        numbers = texts[texts.str.fullmatch(_NUMBER)]
        commas = numbers[numbers.str.contains(",")]
        clear = commas[~commas.str.fullmatch(_THOUSANDS)]
        cells += list(numbers if clear.empty and len(commas) else clear[:1])
    marks = {mark for cell in cells for mark in readings(cell) if len(readings(cell)) == 1}
    return marks.pop() if len(marks) == 1 else decimal_mark(cells, what)


def _of_texts(texts: pd.Series, mark: str | None) -> pd.Series | None:
    """The numbers of a column of texts; None where one is no number."""
    if mark == "," and texts.str.contains(".", regex=False).any():
        numbers = texts.map({cell: parse_number(cell, mark) for cell in different(texts)}).astype(float)
    else:
        numbers = pd.to_numeric(texts.str.replace(",", ".") if mark == "," else texts, errors="coerce")
        odd = texts[numbers.isna() & (texts != "")]
        numbers[odd.index] = odd.map({cell: parse_number(cell, mark) for cell in different(odd)}).astype(float)
    return None if (numbers.isna() & (texts != "")).any() else numbers.astype(float)


def joined_to_exams(numbers: pd.DataFrame, exams: pd.DataFrame, name: str) -> pd.DataFrame:
    """A table of features as a run keeps it: patient_id, exam_id, status, reason and the numbers of each exam.

    Args:
        numbers: By patient id.
        exams: With patient_id and exam_id.
        name: Of the features, for reasons.
    """
    values = numbers.reindex(exams["patient_id"]).set_axis(exams.index)
    table = exams[["patient_id", "exam_id"]].assign(status="ok", reason="")
    for lost, reason in (
        (values.isna().all(axis=1), f"no number in the features {name}"),
        (~exams["patient_id"].isin(numbers.index), f"patient is not in the features {name}"),
    ):
        table.loc[lost, ["status", "reason"]] = "failed", reason
    return pd.concat([table, values], axis=1)


def row_numbers(numbers: pd.DataFrame) -> list[str]:
    """Columns that only count the rows of the table: where these are sorted by label, they tell it."""
    if len(numbers) < FEWEST:
        return []
    steps, whole = numbers.diff().iloc[1:], (numbers % 1 == 0).all()
    span = numbers.max() - numbers.min() < 1.2 * len(numbers)
    return list(numbers.columns[whole & (steps > 0).all() & span])


def copies_of_labels(numbers: pd.DataFrame, labels: pd.DataFrame) -> dict[str, str]:
    """Column -> target, of columns whose values stand one to one for the target's known classes.

    Args:
        numbers: (N, F) by patient id.
        labels: patient_id, side, target, value; at least `FEWEST` patients must have both.
    """
    found: dict[str, str] = {}
    for (target, _), rows in labels.dropna(subset=["value"]).groupby(["target", labels["side"].fillna("")]):
        known = rows.drop_duplicates("patient_id").set_index("patient_id")["value"]
        here = numbers.reindex(known.index)
        for column in here.columns[here.nunique() <= known.nunique()]:
            pairs = pd.DataFrame({"number": here[column], "value": known}).dropna()
            kinds = {pairs["number"].nunique(), pairs["value"].nunique(), len(pairs.drop_duplicates())}
            if len(pairs) >= FEWEST and len(kinds) == 1 and kinds != {1}:
                found.setdefault(column, str(target))
    return found
