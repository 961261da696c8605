"""Cells of an Excel sheet as text: what it shows, with merged ranges, and formulas that nobody has computed."""

from __future__ import annotations

import posixpath
import re
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scan2gene.cohorts.cells import NO_STORED_VALUE, readings
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name

Merged = tuple[int, int, int, int]  # first row, last row, first column, last column, counted from 0
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
_WORTH_READING = re.compile(rb"mergeCell |<(?:\w+:)?f[ >/]")


def excel_cells(path: Path, sheet: str | None) -> tuple[list[list[str]], list[Merged]]:
    """Rows of a sheet as text, all of one length, and its merged ranges.

    Args:
        path: .xlsx or .xlsm.
        sheet: Default: the first.

    Returns:
        Cells as they are stored: of a merged range the first holds the value. A formula without a stored value is
        the formula itself with a remark (`NO_STORED_VALUE`); an error such as #VALUE! is no value.

    Raises:
        CohortError: openpyxl is missing, an .xls file, or there is no such sheet.
    """
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped]
    except ImportError:
        raise CohortError(f"{path.name}: Excel tables need `pip install openpyxl`") from None
    if path.suffix.lower() == ".xls":
        raise CohortError(f"{path.name}: save the .xls file as .xlsx")
    book = load_workbook(path, read_only=True, data_only=True)  # read-only: styles can take longer than the cells
    try:
        names = [page.title for page in book.worksheets]
        if sheet is not None and sheet not in names:
            raise CohortError(f"{path.name}: sheet {unknown_name(sheet, names)}")
        page = book[sheet or names[0]]
        page.reset_dimensions()  # what a file says of its own size may be wrong
        rows = [["" if cell.data_type == "e" else _text(cell.value) for cell in row] for row in page.iter_rows()]
        ranges, formulas = _marks(path, page.title)
    finally:
        book.close()
    width = max((j + 1 for row in rows for j, text in enumerate(row) if text), default=0)
    rows = [row[:width] + [""] * (width - len(row)) for row in rows]
    for i, j, formula in formulas:
        if i < len(rows) and j < width:
            rows[i][j] = f"{formula} {NO_STORED_VALUE}"
    while rows and not any(rows[-1]):
        rows.pop()
    return rows, [(i, min(last, len(rows) - 1), j, k) for i, last, j, k in ranges if i < len(rows)]


def _text(value: Any) -> str:
    """A stored value as text; whole numbers without a dot, others without an exponent."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    if value.is_integer():
        return str(int(value))
    text = format(Decimal(repr(value)), "f")
    return f"{text}0" if len(set(readings(text).values())) > 1 else text  # 1.234 is no thousand: 1.2340


def _marks(path: Path, title: str) -> tuple[list[Merged], list[tuple[int, int, str]]]:
    """Merged ranges of a sheet, and (row, column, formula) of cells whose formula has no stored value."""
    from openpyxl.utils.cell import coordinate_to_tuple, range_boundaries  # type: ignore[import-untyped]

    with zipfile.ZipFile(path) as archive:
        name = _page_file(archive, title)
        if not _WORTH_READING.search(archive.read(name)):
            return [], []
        merged, formulas = [], []
        with archive.open(name) as stream:
            for _, element in ElementTree.iterparse(stream):
                tag = element.tag.rpartition("}")[2]
                if tag == "mergeCell":
                    left, top, right, bottom = range_boundaries(element.get("ref", ""))
                    merged.append((top - 1, bottom - 1, left - 1, right - 1))
                elif tag == "c":
                    inner = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
                    # a text that a formula gave may be empty
                    if "f" in inner and not inner.get("v") and element.get("t") != "str" and element.get("r"):
                        row, column = coordinate_to_tuple(element.get("r", ""))
                        formulas.append((row - 1, column - 1, f"={inner['f']}"))
                elif tag == "row":
                    element.clear()
    return sorted(merged), formulas


def _page_file(archive: zipfile.ZipFile, title: str) -> str:
    """Where in the archive a sheet lies."""
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    identity = next(e.get(_RELATION) for e in book.iter() if e.tag.endswith("}sheet") and e.get("name") == title)
    links = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    target = next(e.get("Target", "") for e in links if e.get("Id") == identity)
    return target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")
