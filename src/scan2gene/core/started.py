"""What the networks of a run started from and how large they are, as their fits say it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RANDOM = "random"


@dataclass(frozen=True)
class Started:
    """Over the fits of one run on one split; a search may choose otherwise in each.

    Args:
        weights: Names; `RANDOM` for a network that began with random numbers; none for a model without layers.
        frozen: "all" or prefixes of layers that did not learn, in words; "" where all learned.
        parameters: Numbers in the network; None where fits differ or do not say.
        trained: How many of these were trained.
    """

    weights: tuple[str, ...] = ()
    frozen: str = ""
    parameters: int | None = None
    trained: int | None = None

    def as_json(self) -> dict[str, Any]:
        """For results.json."""
        return asdict(self)


def started(out: Path, run: str, split: str) -> Started:
    """Read weights.json and network.json of the fits of a run on a split.

    Args:
        out: The run directory.
        run: Name of a run.
        split: Name of a split.
    """
    fits = re.compile(rf"{re.escape(split)}-r\d+-f\d+")
    folders = sorted(p for p in (out / "experiments" / run).glob("*") if fits.fullmatch(p.name))
    records = [_read(folder / "weights.json") for folder in folders]
    sizes = [_read(folder / "network.json") for folder in folders]
    networks = [bool(record) or (folder / "best.pt").exists() for record, folder in zip(records, folders, strict=True)]
    names = [record.get("weights", RANDOM) for record, network in zip(records, networks, strict=True) if network]
    frozen = (record.get("freeze", "none") for record in records)
    told = dict.fromkeys(f if isinstance(f, str) else ", ".join(f) for f in frozen if f != "none")
    return Started(
        tuple(dict.fromkeys(names)),
        " or ".join(told),
        *(_alike([size.get(key) for size in sizes]) for key in ("parameters", "trained")),
    )


def _alike(values: list[int | None]) -> int | None:
    return values[0] if len(set(values)) == 1 else None


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
