"""Prints of stored volumes, kept so that none is made twice, and the pairs of patients whose images are most alike."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.files import atomic_path
from scan2gene.core.machine import cpus
from scan2gene.imaging.nifti import read_nifti
from scan2gene.imaging.twins import GRID, alike, candidates, print_of

VERSION = 1  # raised when prints are made or kept otherwise
PAIR_COLUMNS = ("role", "one", "two", "likeness", "flip")


def store_pairs(store: Path, manifest: pd.DataFrame, roles: Sequence[str], kept: Path) -> pd.DataFrame:
    """The most alike volumes of different patients in a store, role by role.

    Args:
        store: Prepared volumes.
        manifest: Of the store.
        roles: Of kind intensity.
        kept: File with prints made before; it is brought up to date.

    Returns:
        Columns `PAIR_COLUMNS`, one row per pair of patients and role, `one` and `two` patient ids.
    """
    ready = _ready(manifest, roles)
    return _by_role(_prints(store, ready, kept), ready)


def twins_across(
    stores: Sequence[tuple[Path, pd.DataFrame]], roles: Sequence[str], kept: Sequence[Path]
) -> pd.DataFrame:  # fmt: skip
    """The most alike volumes of several stores, role by role; columns `PAIR_COLUMNS`, patients as "number/id".

    Args:
        stores: Prepared volumes and their manifest.
        roles: Of kind intensity.
        kept: File with prints, for each store.
    """
    ready, prints = [], []
    for number, ((store, manifest), file) in enumerate(zip(stores, kept, strict=True)):
        rows = _ready(manifest, roles)
        ready.append(rows.assign(patient_id=f"{number}/" + rows["patient_id"]))
        prints.append(_prints(store, rows, file))
    return _by_role(np.concatenate(prints), pd.concat(ready, ignore_index=True))


def _ready(manifest: pd.DataFrame, roles: Sequence[str]) -> pd.DataFrame:
    return manifest[(manifest["status"] == "ok") & manifest["role"].isin(roles)].reset_index(drop=True)


def _by_role(prints: np.ndarray, volumes: pd.DataFrame) -> pd.DataFrame:
    """`pairs_of` each role's volumes, whose prints lie in the order of their rows."""
    tables = [pd.DataFrame(columns=list(PAIR_COLUMNS))]
    for role, rows in volumes.groupby("role", sort=False):
        if len(rows) > 1:
            tables.append(pairs_of(prints[rows.index], list(rows["patient_id"])).assign(role=role))
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)[list(PAIR_COLUMNS)]


def pairs_of(prints: np.ndarray, patients: Sequence[str]) -> pd.DataFrame:
    """The most alike of some volumes of different patients.

    Args:
        prints: (N, GRID, GRID, GRID).
        patients: N ids.

    Returns:
        one, two, likeness, flip ("", "i", "j" or "k"); of each pair of patients the most alike.
    """
    told = prints.reshape(len(prints), -1).any(axis=1)  # of one grey value all are alike
    places = np.flatnonzero(told).tolist()
    found = alike(prints[told], candidates(prints[told], [patients[n] for n in places]))
    rows = [
        (*sorted((patients[places[p.one]], patients[places[p.two]])), p.likeness, "".join("ijk"[a] for a in p.flip))
        for p in found
    ]
    table = pd.DataFrame(rows, columns=["one", "two", "likeness", "flip"])
    return table.sort_values("likeness", ascending=False, kind="stable").drop_duplicates(["one", "two"])


def _prints(store: Path, ready: pd.DataFrame, kept: Path) -> np.ndarray:
    """(N, GRID, GRID, GRID) uint8 of stored volumes; those that were made before are read."""
    known: dict[str, np.ndarray] = {}
    try:
        with np.load(kept, allow_pickle=False) as archive:
            if int(archive["format"]) == VERSION:
                known = dict(zip(archive["checksum"].tolist(), archive["prints"], strict=True))
    except (OSError, ValueError, KeyError):  # none yet, or damaged: made anew
        known = {}

    def work(row: tuple[str, str]) -> np.ndarray:
        file, checksum = row
        return known[checksum] if checksum in known else print_of(read_nifti(store / file).array)

    with ThreadPoolExecutor(cpus()) as pool:
        made = list(pool.map(work, ready[["file", "checksum"]].itertuples(index=False, name=None)))
    prints = np.stack(made) if made else np.empty((0, GRID, GRID, GRID), np.uint8)
    if set(ready["checksum"]) - set(known):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(kept) as temporary, temporary.open("wb") as stream:
            np.savez(stream, format=VERSION, checksum=ready["checksum"].to_numpy(str), prints=prints)
    return prints
