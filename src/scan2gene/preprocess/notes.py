"""What a step did to one exam that its options do not say; it ends in the store's manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SEPARATOR = "; "  # between the notes of an exam, in files and tables

_NOTES: ContextVar[list[str] | None] = ContextVar("notes", default=None)


def note(text: str) -> None:
    """Say something about the exam under work, once; without ids or paths. Outside `collected` nobody listens."""
    text = text.replace(SEPARATOR, ", ")
    notes = _NOTES.get()
    if notes is not None and text not in notes:
        notes.append(text)


@contextmanager
def collected() -> Iterator[list[str]]:
    """The notes of what is done inside."""
    notes: list[str] = []
    token = _NOTES.set(notes)
    try:
        yield notes
    finally:
        _NOTES.reset(token)
