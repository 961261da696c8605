"""What an unfinished index has read so far, so that the next one goes on there."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from scan2gene.imaging.frame import Frame, kept_of
from scan2gene.imaging.sources import Source

VERSION = 4  # of what is kept; another one is not read
_KEPT = [name for name in Frame.__slots__ if name not in ("source", "header")]  # `header` repeats the file's header


class Progress:
    """A small SQLite file; without a path, nothing is kept.

    Args:
        path: The file, made when missing. One that is damaged or of another version is begun anew.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._base: sqlite3.Connection | None = None

    def __enter__(self) -> Progress:
        if self._path is not None:
            try:
                self._open(self._path)
            except sqlite3.DatabaseError:
                self._begin_anew()
        return self

    def __exit__(self, *_: object) -> None:
        if self._base is not None:
            self._base.close()
            self._base = None

    def _open(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds ids and paths
        self._base = sqlite3.connect(path)
        self._base.execute("PRAGMA synchronous=OFF")  # a kill loses nothing, a power cut only this file
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError
        self._base.execute("CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INT, mtime INT, found TEXT)")
        self._base.execute(f"PRAGMA user_version={VERSION}")

    def _begin_anew(self) -> None:
        self.remove()
        if self._path is not None:
            self._open(self._path)

    def known(self, sources: Iterable[Source]) -> dict[Source, Any]:
        """What was found in those sources that have not changed since."""
        found: dict[Source, Any] = {}
        if self._base is None:
            return found
        try:
            for source in sources:
                row = self._base.execute("SELECT size, mtime, found FROM files WHERE path=?", (source.path,)).fetchone()
                if row and row[:2] == (source.size, source.mtime_ns):
                    found[source] = _decoded(json.loads(row[2]), source)
        except (sqlite3.DatabaseError, ValueError, TypeError):  # damaged further in: what was read so far is whole
            self._begin_anew()
        return found

    def keep(self, found: Mapping[Source, Any]) -> None:
        """Add what was found in some sources."""
        if self._base is None or not found:
            return
        rows = [(s.path, s.size, s.mtime_ns, json.dumps(_encoded(f))) for s, f in found.items()]
        try:
            self._base.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
            self._base.commit()
        except sqlite3.DatabaseError:  # damaged, or the disk is full: the index itself goes on
            self._begin_anew()

    def remove(self) -> None:
        """Delete the file: the index is complete."""
        self.__exit__()
        if self._path is not None:
            with suppress(FileNotFoundError):
                self._path.unlink()


def _encoded(found: Any) -> Any:
    if not isinstance(found, tuple):
        return found
    header, frames = found
    return {"header": header, "frames": [[getattr(f, name) for name in _KEPT] for f in frames]}


def _decoded(stored: Any, source: Source) -> Any:
    if not isinstance(stored, dict):
        return stored
    kept = kept_of(stored["header"])
    frames = []
    for values in stored["frames"]:
        own: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in zip(_KEPT, values, strict=True)}
        frames.append(Frame(source, header=kept, **own))
    return stored["header"], frames
