"""The run directory: where each stage's files lie and whether they are still true.

A stage is done when its stamp names the hash of the inputs it was made from and its
outputs still have the size they were written with. Stamps are small JSON files in `stages/`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scan2gene.core.errors import RunError
from scan2gene.core.files import value_hash, write_json


def stage_key(**inputs: Any) -> str:
    """Hash of everything that a stage's outputs depend on."""
    return value_hash(inputs)


def is_done(out: Path, stage: str, key: str) -> bool:
    """True when `stage` was finished for exactly these inputs and its outputs are whole."""
    stamp = read_stamp(out, stage)
    return stamp is not None and stamp["key"] == key and not damaged(out, stamp)


def damaged(out: Path, stamp: dict[str, Any]) -> list[str]:
    """Outputs of a stamp that are missing or no longer have the size they were written with."""
    return [n for n, size in stamp["outputs"].items() if not (out / n).is_file() or (out / n).stat().st_size != size]


def read_stamp(out: Path, stage: str) -> dict[str, Any] | None:
    """The stamp of a stage, or None when it never finished or its stamp is damaged."""
    try:
        stamp = json.loads(_stamp_path(out, stage).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and isinstance(stamp.get("outputs"), dict) and "key" in stamp else None


def mark_done(out: Path, stage: str, key: str, outputs: Iterable[Path], **extra: Any) -> None:
    """Record that `stage` finished for the inputs behind `key`; `extra` is kept beside it."""
    sizes = {str(p.relative_to(out)): p.stat().st_size for p in outputs}
    write_json(_stamp_path(out, stage), {"stage": stage, "key": key, "outputs": sizes, **extra})


@contextlib.contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Hold a run directory for this process; the lock goes with the process, however it ends.

    Raises:
        RunError: Another process works in it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, and no second run is expected
        yield
        return
    with (out / ".lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(f"another run works in {out}. Wait for it, or give another directory with -o.") from None
        yield


def sweep(out: Path) -> None:
    """Delete what a killed run left half-written, for the holder of the directory; a store sees to its own."""
    for folder in (".", "stages", "experiments/*", "experiments/*/*", "store/*/preview"):
        for leftover in out.glob(f"{folder}/.tmp-*"):
            leftover.unlink(missing_ok=True)


def _stamp_path(out: Path, stage: str) -> Path:
    return out / "stages" / f"{stage.replace('/', '__')}.json"
