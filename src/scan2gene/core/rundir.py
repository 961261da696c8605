"""The run directory: where each stage's files lie and whether they are still true.

A stage is done when its stamp names the hash of the inputs it was made from and its
outputs still have the size they were written with. Stamps are small JSON files in `stages/`.
`format.json` says in which form the files of the directory are written.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scan2gene import __version__
from scan2gene.core.errors import RunError
from scan2gene.core.files import write_json
from scan2gene.core.study import Study

FORMAT = 1  # of a run directory; raised when an older one cannot be read or continued: files, columns, keys


def check_format(out: Path) -> None:
    """Refuse a run directory that was written in another form; a folder that is none passes.

    Raises:
        RunError: It has no format, or another one than `FORMAT`.
    """
    if not (out / "study.json").exists() and not (out / "stages").is_dir():
        return
    try:
        found = json.loads((out / "format.json").read_text(encoding="utf-8"))["format"]
    except (OSError, ValueError, KeyError, TypeError):  # before 0.2 there was none
        found = "none"
    if found != FORMAT:
        raise RunError(
            f"{out} was made by another version of scan2gene (run directory format {found}; this version reads "
            f"{FORMAT}), so nothing in it is used. Repeat the run in a new directory: scan2gene run STUDY -o NEW."
        )


def read_study(out: Path) -> Study:
    """The study of a run directory, as it ran.

    Raises:
        RunError: It is no run directory, or one of another format.
    """
    if not (out / "study.json").is_file():
        raise RunError(f"{out} is no run directory: it holds no study.json. Name one, such as runs/my-study.")
    check_format(out)
    return Study.model_validate(json.loads((out / "study.json").read_text(encoding="utf-8")))


def claim(out: Path) -> None:
    """Check the format of a run directory, and write it into a new one."""
    check_format(out)
    if not (out / "format.json").exists():
        write_json(out / "format.json", {"format": FORMAT})


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
    stamp = {"stage": stage, "key": key, "outputs": sizes, "version": __version__}
    write_json(_stamp_path(out, stage), stamp | extra)


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
