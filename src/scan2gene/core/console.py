"""What a person sees while a stage works: one line per stage, a bar when it takes long."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def say(stage: str, message: str) -> None:
    """Print one line, stage name first, at once."""
    print(f"{stage:<11}{message}", flush=True)


def live(text: str) -> None:
    """Show one line on a terminal in place of the one before; empty text clears it. Silent in logs and pipes."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)


def track(items: Iterable[T], stage: str, total: int) -> Iterator[T]:
    """Yield items with a progress bar on a terminal; silent in logs and pipes."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, f"{stage:<10}", total=total, console=Console(stderr=True), transient=True)
