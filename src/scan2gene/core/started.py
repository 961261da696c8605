"""What the networks of a run started from and how large they are, as their fits say it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from scan2gene.core.rundir import RunDirectory

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


def started(out: RunDirectory, run: str, split: str) -> Started:
    """Read weights.json and network.json of the fits of a run on a split.

    Args:
        out: The run directory.
        run: Name of a run.
        split: Name of a split.
    """
    fits = out.fits(run, split)
    records = [fit.weights.read({}) for fit in fits]
    sizes = [fit.network.read({}) for fit in fits]
    networks = [bool(record) or fit.best.exists() for record, fit in zip(records, fits, strict=True)]
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
