"""The run directory: where each stage's files lie and whether they are still true.

A stage is done when its stamp names the hash of the inputs it was made from and its
outputs still exist. Stamps are small JSON files in `stages/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scan2gene.core.files import value_hash, write_json


def stage_key(**inputs: Any) -> str:
    """Hash of everything that a stage's outputs depend on."""
    return value_hash(inputs)


def is_done(out: Path, stage: str, key: str) -> bool:
    """True when `stage` was finished for exactly these inputs and its outputs exist."""
    stamp = read_stamp(out, stage)
    return stamp is not None and stamp["key"] == key and all((out / f).exists() for f in stamp["outputs"])


def read_stamp(out: Path, stage: str) -> dict[str, Any] | None:
    """The stamp of a stage, or None when it never finished."""
    path = _stamp_path(out, stage)
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def mark_done(out: Path, stage: str, key: str, outputs: Iterable[Path], **extra: Any) -> None:
    """Record that `stage` finished for the inputs behind `key`; `extra` is kept beside it."""
    names = [str(p.relative_to(out)) for p in outputs]
    write_json(_stamp_path(out, stage), {"stage": stage, "key": key, "outputs": names, **extra})


def _stamp_path(out: Path, stage: str) -> Path:
    return out / "stages" / f"{stage.replace('/', '__')}.json"
