"""One file of a folder, with its reader and writer. A folder's class lists its files as class attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol, Self

import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash, write_json
from scan2gene.core.tables import read_csv, write_csv, write_parquet


class Folder(Protocol):
    """What holds files."""

    @property
    def path(self) -> Path:
        """Where it lies."""


class File:
    """A file that may not be there yet.

    As an attribute of a folder's class it has a name only; of a folder, `run.cohort`, its whole path.

    Args:
        path: Name, or whole path.
        columns: A table must have these.
    """

    def __init__(self, path: str | Path, columns: tuple[str, ...] = ()) -> None:
        self.path = Path(path)
        self.columns = columns

    def __get__(self, folder: Folder | None, owner: type | None = None) -> Self:
        return self if folder is None else type(self)(folder.path / self.path, self.columns)

    def __fspath__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        """True where it was written."""
        return self.path.exists()

    def hash(self) -> str:
        """Hash of its bytes (see `file_hash`)."""
        return file_hash(self.path)


class Csv(File):
    """A table as text; a missing file or column is a RunError."""

    def read(self) -> pd.DataFrame:
        """The table (see `read_csv`)."""
        return read_csv(self.path, self.columns)

    def write(self, table: pd.DataFrame) -> None:
        """Write it atomically."""
        write_csv(self.path, table)


class Parquet(File):
    """A table with types."""

    def read(self, columns: list[str] | None = None, filters: list[tuple] | None = None) -> pd.DataFrame:
        """Some columns, of the rows that pass the filters (see `pandas.read_parquet`)."""
        return pd.read_parquet(self.path, columns=columns, filters=filters)

    def read_or_empty(self) -> pd.DataFrame:
        """The table, or one without rows where there is no file."""
        return self.read() if self.exists() else pd.DataFrame(columns=list(self.columns))

    def write(self, table: pd.DataFrame) -> None:
        """Write it atomically."""
        write_parquet(self.path, table)


class Json(File):
    """Plain values; a missing file without a default is a RunError."""

    def read(self, default: Any = None) -> Any:
        """What it holds; where it is not there and a default is given, that."""
        if not self.exists():
            if default is None:
                where = f"{self.path.name} is missing in {self.path.parent}"
                raise RunError(f"{where}. Run the stage that writes it first.")
            return default
        return json.loads(self.path.read_text(encoding="utf-8"))

    def write(self, value: Any) -> None:
        """Write it atomically."""
        write_json(self.path, value)
