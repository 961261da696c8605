"""Key files: the only link between a true id and its pseudonym.

A key file is a CSV of two columns, the id and `pseudonym`; a study may bring its own. Pseudonyms
are drawn at random, so nothing leads from one back to an id but the file itself.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from scan2gene.core.errors import CohortError
from scan2gene.core.files import atomic_path
from scan2gene.core.tables import harmless_table
from scan2gene.core.text_table import read_text_table

ALPHABET = "23456789BCDFGHJKMNPQRSTVWXZ"  # no vowels, so no words; nothing that looks like a 0, 1 or I
LENGTH = 6  # 27^6: four hundred million
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*")  # pseudonyms become parts of file names


def pseudonyms(path: Path, column: str, prefix: str, ids: Iterable[str] = ()) -> dict[str, str]:
    """Pseudonyms by id; ids that the file lacks are given one and saved before this returns.

    Args:
        path: The key file; made if missing, always written whole with mode 0600.
        column: Its column of true ids, such as patient_id.
        prefix: What new pseudonyms begin with: "P" gives P-7F3K2Q.
        ids: Ids that need a pseudonym; empty ones are passed over.

    Raises:
        CohortError: The file lacks a column, or an id or pseudonym is blank, unusable or there twice.
    """
    with _locked(path):
        table = _read(path, column)
        known = dict(zip(table[column], table["pseudonym"], strict=True))
        new = sorted(set(ids) - known.keys() - {""})
        if not new:
            return known
        taken = {*known, *known.values(), *new}
        drawn = {}
        for identity in new:
            drawn[identity] = _draw(prefix, taken)
            taken.add(drawn[identity])
        rows = pd.DataFrame({column: list(drawn), "pseudonym": list(drawn.values())})
        write_private(path, pd.concat([table, rows]).fillna(""))
    return known | drawn


def write_private(path: Path, table: pd.DataFrame) -> None:
    """Write a CSV that only its owner may read, whole or not at all, and on the disk when this returns."""
    with atomic_path(path) as temporary:
        # the mode is set before the first byte: not for a moment may others read it
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            harmless_table(table).to_csv(stream, index=False)
            stream.flush()
            os.fsync(stream.fileno())


def _read(path: Path, column: str) -> pd.DataFrame:
    if not path.exists():
        return pd.DataFrame(columns=[column, "pseudonym"], dtype=str)
    table = read_text_table(path).apply(lambda cells: cells.str.strip())
    for needed in (column, "pseudonym"):
        if needed not in table.columns:
            raise CohortError(f"key file {path.name} lacks the column {needed}; it needs {column} and pseudonym")
    for line, identity, pseudonym in table[[column, "pseudonym"]].itertuples(name=None):
        if not identity or not _ALLOWED.fullmatch(pseudonym):
            raise CohortError(
                f"key file {path.name}:{line}: {column} must not be blank, and a pseudonym is made of letters, digits, "
                "'.' and '-'. Mend or delete the line."
            )
    for name in (column, "pseudonym"):
        twice = table.index[table[name].duplicated()]
        if len(twice):
            raise CohortError(f"key file {path.name}:{twice[0]}: this {name} stands in an earlier line. Delete one.")
    crossed = table.index[table["pseudonym"].isin(table[column])]
    if len(crossed):
        raise CohortError(f"key file {path.name}:{crossed[0]}: this pseudonym is also a {column}. Choose another.")
    return table


def _draw(prefix: str, taken: set[str]) -> str:
    while True:
        drawn = f"{prefix}-{''.join(secrets.choice(ALPHABET) for _ in range(LENGTH))}"
        if drawn not in taken:
            return drawn


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Wait for other processes that write this key file: two must not name one patient twice."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, and no second run is expected
        yield
        return
    with path.with_name(f".{path.name}.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
