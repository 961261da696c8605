"""Text tables as people have them: whatever the separator and the encoding; each row knows its line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path

import pandas as pd

from scan2gene.core.characters import plain_text
from scan2gene.core.errors import CohortError
from scan2gene.core.tables import as_meant

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # what a text in UTF-16 begins with


def read_text_table(path: Path) -> pd.DataFrame:
    """Cells of a CSV, TSV or ';' table with one header row, letter by letter; the index is the line of a row's begin.

    Raises:
        CohortError: Missing, empty, unreadable, merge-conflict markers inside, or more cells than columns.
    """
    rows, lines = text_rows(path)
    if not any(cell.strip() for row in rows for cell in row):
        raise CohortError(f"{path.name} is empty")
    names = [plain_text(" ".join(cell.split())) for cell in rows[0]]
    while not names[-1]:
        names.pop()
    names = [f"{n}.{names[:j].count(n)}" if n in names[:j] else n for j, n in enumerate(names)]
    return cell_table(path.name, names, rows[1:], lines[1:], str.strip)


def cell_table(
    name: str, header: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[int], tidy: Callable[[str], str]
) -> pd.DataFrame:
    """Rows of cells as a table of text; the index is each row's line.

    Args:
        name: Of the file, for messages.
        header: Names of the columns.
        rows: Cells; short rows are filled up with blanks.
        lines: Of the rows.
        tidy: What each cell goes through.

    Raises:
        CohortError: A row has more cells than columns.
    """
    width = len(header)
    for row, line in zip(rows, lines, strict=True):
        if any(cell.strip() for cell in row[width:]):
            raise CohortError(f"{name}:{line} has more cells than the header; quote text that holds the separator")
    cells = [[tidy(cell) for cell in row[:width]] + [""] * (width - len(row)) for row in rows]
    return pd.DataFrame(cells, columns=list(header), index=lines, dtype=str)


def text_rows(path: Path) -> tuple[list[list[str]], list[int]]:
    """Cells of every row, and the line that each begins in.

    Raises:
        CohortError: Missing, no text, unreadable, or with merge-conflict markers inside.
    """
    if not path.is_file():
        raise CohortError(f"there is no label table {path}")
    text = _decoded(path)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(("<<<<<<<", ">>>>>>>")):
            raise CohortError(f"{path.name}:{number} holds a merge-conflict marker; resolve the conflict first")
    first = text.partition("\n")[0]
    try:
        separator = max(",;\t|", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))
        reader = csv.reader(StringIO(text, newline=""), delimiter=separator, strict=True)
        rows, lines, begin, quoted = [], [], 1, "'" in text
        for cells in reader:
            rows.append([as_meant(cell) for cell in cells] if quoted else cells)
            lines.append(begin)
            begin = reader.line_num + 1  # quoted text may span lines
    except csv.Error as error:
        raise CohortError(f"{path.name} is not a readable table: {error}") from error
    return rows, lines


def _decoded(path: Path) -> str:
    """A text file in UTF-8, in UTF-16 (Excel's "Unicode text"), or in the code page of Western Windows."""
    raw = path.read_bytes()
    if raw.startswith(UTF_16):
        text = raw.decode("utf-16")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("cp1252", errors="replace")
    if "\0" in text:
        raise CohortError(f"{path.name} is no text: save the table as CSV in UTF-8, or as .xlsx")
    return text.replace("\r\n", "\n").replace("\r", "\n")
