"""Label tables as people have them: CSV, TSV or Excel, with one header row or several, read as text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.cells import NO_STORED_VALUE, different
from scan2gene.cohorts.excel import Merged, excel_cells
from scan2gene.cohorts.flow import Flow
from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name
from scan2gene.core.study_cohort import Cohort, label_files
from scan2gene.core.text import counted
from scan2gene.core.text_table import cell_table, text_rows

EXCEL = (".xlsx", ".xlsm", ".xls")
MAX_HEADER_ROWS = 4
NO_ID = "label row without an id"
# cells that name nobody: "as above", and what Excel shows where a formula failed
_NOBODY = frozenset({'"', "''", "\u3003", "\u2033", "\u201d", "\u201e", '-"-', "ditto", "dito", "idem", "#n/a", "#ref!",
                     "#value!", "#name?"})  # fmt: skip
_SPARSE = 0.3  # a row of groups leaves at least this share of the columns without a cell


def read_label_table(
    path: Path,
    patient_column: str,
    sheet: str | None = None,
    header_rows: int | None = None,
    flow: Flow | None = None,
) -> pd.DataFrame:
    """Read a label table as text.

    Args:
        path: .csv, .tsv, .txt (separator found by itself, BOM allowed) or .xlsx.
        patient_column: Must be one of its columns; rows without an id are left out.
        sheet: Of an Excel file; default: the first.
        header_rows: How many; default: found by itself (see `join_header`).
        flow: Gets the rows without an id.

    Returns:
        All columns as stripped text; the index is the line of the file or sheet.

    Raises:
        CohortError: Unreadable, no such column, no row, more cells than columns, or
            merge-conflict markers inside.
    """
    table = read_table(path, sheet, header_rows, patient_column)
    if patient_column not in table.columns:
        columns = [c for c in table.columns if c]
        raise CohortError(
            f"{path.name}: patient_column {unknown_name(patient_column, columns)}{_other_sheets(path, sheet)}"
        )
    check_formulas(table, [patient_column], path.name)
    blank = table[patient_column].isin({i for i in different(table[patient_column]) if not i or i.lower() in _NOBODY})
    if blank.all():
        raise CohortError(f"{path.name} holds no row with a {patient_column}")
    if blank.any():
        filled = table[blank].drop(columns=patient_column).ne("").any(axis=1)
        for line in filled.index[filled]:
            (flow or Flow()).leave_out("label table", f"{NO_ID} in column {patient_column}: {path.name}:{line}")
    return table[~blank]


def read_labels(rules: Cohort, flow: Flow | None = None) -> pd.DataFrame:
    """All label tables of a study below each other; of one alone, as `read_label_table` gives it.

    Args:
        rules: Which tables, and how they are read.
        flow: Gets the rows without an id.

    Returns:
        Columns of all; what a table lacks is empty. Of several tables the index is file:line; of none there is
        the patient column only.

    Raises:
        CohortError: As `read_label_table`.
    """
    files = [Path(file) for file in label_files(rules)]
    tables = [read_label_table(f, rules.patient_column, rules.sheet, rules.header_rows, flow) for f in files]
    if not tables:
        return pd.DataFrame(columns=[rules.patient_column], dtype=str)
    if len(tables) == 1:
        return tables[0]
    names = [f.name if [g.name for g in files].count(f.name) == 1 else f"{f.parent.name}/{f.name}" for f in files]
    placed = [t.set_axis([f"{name}:{line}" for line in t.index]) for name, t in zip(names, tables, strict=True)]
    return pd.concat(placed).fillna("")


def read_table(
    path: Path,
    sheet: str | None = None,
    header_rows: int | None = None,
    patient_column: str = "",
) -> pd.DataFrame:
    """Every row of a table as text; arguments and errors as in `read_label_table`."""
    if not path.is_file():
        raise CohortError(f"there is no label table {path}")
    merged: list[Merged] = []
    try:
        if path.suffix.lower() in EXCEL:
            rows, merged = excel_cells(path, sheet)
            lines = list(range(1, len(rows) + 1))
        else:
            rows, lines = text_rows(path)
    except CohortError:
        raise
    except Exception as error:  # parsers raise many kinds
        raise CohortError(f"{path.name} is not a readable table: {error}") from error
    if not any(cell.strip() for row in rows for cell in row):
        raise CohortError(f"{path.name} is empty")
    depth = header_depth(rows, patient_column) if header_rows is None else header_rows
    width = max((j + 1 for row in rows[:depth] for j, cell in enumerate(row) if cell.strip()), default=0)
    if path.suffix.lower() in EXCEL:  # remarks beside a sheet's table are common and shift nothing
        width = max(map(len, rows), default=0)
    header = join_header(rows[:depth], width)
    _fill(rows, merged, depth, header.index(patient_column) if patient_column in header else None)
    return cell_table(path.name, header, rows[depth:], lines[depth:], plain_text)


def _fill(rows: list[list[str]], merged: Sequence[Merged], depth: int, identity: int | None) -> None:
    """Give every cell of a merged range the range's value, as the sheet shows it.

    Headers are joined by `join_header`. A range over the id and other columns, such as a heading between rows, is
    no value of the others.
    """
    for top, bottom, left, right in merged:
        if top < depth:
            continue
        last = left if identity is not None and left <= identity < right else right
        for row in rows[top : bottom + 1]:
            row[left : last + 1] = [rows[top][left]] * (min(last, len(row) - 1) - left + 1)


def check_formulas(table: pd.DataFrame, columns: Iterable[str], source: str) -> None:
    """Refuse formulas without a stored value, whose cells look empty, in columns that a study reads.

    Raises:
        CohortError: There is one; of each column the first is named.
    """
    troubles = []
    for column in dict.fromkeys(columns):
        cells = table[column] if column in table.columns else pd.Series(dtype=str)
        bad = cells[cells.isin({cell for cell in different(cells) if cell.endswith(NO_STORED_VALUE)})]
        if len(bad):
            place = bad.index[0] if isinstance(bad.index[0], str) else f"{source}:{bad.index[0]}"
            troubles.append(
                f"{place}: column {column} holds {counted(len(bad), 'formula')} without a stored value, first "
                f"{bad.iloc[0].removesuffix(NO_STORED_VALUE).strip()}. Open and save the file in Excel or LibreOffice, "
                "or paste the values."
            )
    if troubles:
        raise CohortError("\n".join(troubles))


def sheets(path: Path) -> list[str]:
    """Names of an Excel file's sheets; none for any other file."""
    if path.suffix.lower() not in EXCEL:
        return []
    with pd.ExcelFile(path) as book:
        return [str(name) for name in book.sheet_names]


def header_depth(rows: Sequence[Sequence[str]], patient_column: str = "") -> int:
    """How many rows the header has.

    One row is a header unless the table itself shows more: a first row of group names leaves
    many columns empty that the next row names, and a row of value codes below the names has no
    id. Neither holds a number or a text that occurs again further down in its column.

    Args:
        rows: Cells of the whole table.
        patient_column: A row that holds it as its name is no group row.
    """
    if len(rows) < 3:
        return min(len(rows), 1)
    first, second = rows[0], rows[1]
    unnamed = [j for j, cell in enumerate(second) if cell.strip() and not (j < len(first) and first[j].strip())]
    named = bool(patient_column) and patient_column in [c.strip() for c in first]
    grouped = len(unnamed) >= max(2, _SPARSE * len(second)) and not named
    depth = 2 if grouped and _is_heading(rows, 1) else 1
    names = [plain_text(" ".join(cell.split())) for cell in rows[depth - 1]]
    identity = names.index(patient_column) if patient_column and patient_column in names else 0
    while depth < min(MAX_HEADER_ROWS, len(rows) - 1):
        row = rows[depth]
        if (identity < len(row) and row[identity].strip()) or not any(c.strip() for c in row):
            break
        if not _is_heading(rows, depth):
            break
        depth += 1
    return depth


def _is_heading(rows: Sequence[Sequence[str]], at: int) -> bool:
    """True for a row without numbers whose texts do not occur again below, as values would."""
    for j, cell in enumerate(rows[at]):
        text = cell.strip()
        if not text:
            continue
        if re.fullmatch(r"[-+]?[\d.,]+(e[-+]?\d+)?", text.lower()):
            return False
        if any(j < len(row) and row[j].strip() == text for row in rows[at + 1 :]):
            return False
    return True


def join_header(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """One readable name for each of `width` columns.

    The fullest row holds the names. A column that it leaves empty takes the text below, after the name to
    its left: 'Tumor Grade: Tumor Grade(N) (Nuclear)'. A name that occurs twice gets its group in front
    ('US features: Shape'), and where that is not enough a number.
    """
    if not rows:
        return []
    grid = [[plain_text(" ".join(cell.split())) for cell in row[:width]] + [""] * (width - len(row)) for row in rows]
    at = max(range(len(grid)), key=lambda i: (sum(map(bool, grid[i])), -i))
    groups = _filled(grid[at - 1]) if at else [""] * width
    below = [next((row[j] for row in grid[at + 1 :] if row[j]), "") for j in range(width)]
    left = _filled(grid[at])
    names = [
        name or (f"{left[j]}: {below[j]}" if below[j] else groups[j] if at and grid[at - 1][j] else "")
        for j, name in enumerate(grid[at])
    ]
    seen = Counter(names)
    names = [f"{g}: {n}" if n and seen[n] > 1 and g else n for g, n in zip(groups, names, strict=True)]
    return [f"{n}.{names[:j].count(n)}" if n in names[:j] else n for j, n in enumerate(names)]


def _filled(cells: Sequence[str]) -> list[str]:
    """Empty cells take what stands to their left, as merged cells are meant."""
    held, found = "", []
    for cell in cells:
        held = cell or held
        found.append(held)
    return found


def _other_sheets(path: Path, sheet: str | None) -> str:
    others = [name for name in sheets(path) if name != sheet]
    return f" The file has the sheets {', '.join(sheets(path))}; see cohort.sheet." if len(others) > 1 else ""
