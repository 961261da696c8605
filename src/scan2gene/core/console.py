"""What a person sees while a stage works: one line per stage, a bar when it takes long."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from scan2gene.core.text import duration

T = TypeVar("T")


def say(stage: str, message: str) -> None:
    """Print one line, stage name first, at once."""
    print(f"{stage:<11}{message}", flush=True)


def live(text: str) -> None:
    """Show one line on a terminal in place of the one before; empty text clears it. Silent in logs and pipes."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)


class Progress:
    """How far a long piece of work is: on a terminal a live line, elsewhere a line every half minute.

    Args:
        what: Such as "m3d-probe: embedding".
        total: Number of pieces.
    """

    EVERY = 30.0  # seconds

    def __init__(self, what: str, total: int):
        self.what, self.total = what, total
        self.began = self.last = time.monotonic()

    def tell(self, done: int) -> None:
        """Say that so many are done, and about how long the rest will take."""
        now = time.monotonic()
        left = (now - self.began) / done * (self.total - done) if done else 0.0
        text = f"{self.what}: {done} of {self.total}" + (f", about {duration(left)} left" if left > 90 else "")
        if sys.stderr.isatty():
            live(text if done < self.total else "")
        elif now - self.last >= self.EVERY:
            self.last = now
            say("", f"  {text}")

    def end(self) -> None:
        """Clear the live line of work that ended early."""
        live("")


def track(items: Iterable[T], stage: str, total: int) -> Iterator[T]:
    """Yield items with a progress bar on a terminal; silent in logs and pipes."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track as bar

    yield from bar(items, f"{stage:<10}", total=total, console=Console(stderr=True), transient=True)
