"""Embeddings of a network in two dimensions, beside what each exam is: label, site, scanner, error.

A map is looked at, not measured: distances far apart mean little in UMAP. What it is for is to
see whether scanners form clusters that labels do not.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.tables import first_series

MAP_COLUMNS = (
    "run_id", "split", "repeat", "fold", "method", "patient_id", "exam_id", "part", "x", "y", "site", "scanner",
)  # fmt: skip
FOLD = ["run_id", "split", "repeat", "fold"]
AGREEMENT_COLUMNS = (*FOLD, "what", "n", "agreement", "by_chance")
MIN_EXAMS = 10
NEIGHBOURS = 5
MOST_ASKED = 2_000  # exams whose neighbours are looked for
UMAP_EXAMS = 15  # below, neighbours are too few for UMAP
SCANNER = ("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength")


@dataclass(frozen=True)
class Placed:
    """Where N exams lie.

    Args:
        points: (N, 2).
        method: "UMAP" or "PCA".
        explained: Share of the variance that the two axes of PCA hold; None for UMAP.
    """

    points: np.ndarray
    method: str
    explained: float | None = None


def preferred() -> str:
    """UMAP where umap-learn is installed, else PCA; fewer than `UMAP_EXAMS` exams are placed by PCA all the same."""
    return "UMAP" if importlib.util.find_spec("umap") else "PCA"


def placed(embeddings: np.ndarray, seed: int, method: str = "") -> Placed:
    """Two dimensions of N embeddings: UMAP where umap-learn is installed, else PCA.

    Args:
        embeddings: (N, F), standardised here so that no feature outweighs others by its scale.
        seed: Of UMAP.
        method: "UMAP" or "PCA" to have one of them.

    Source: McInnes 2018, "UMAP: uniform manifold approximation and projection".
    """
    spread = embeddings.std(axis=0)
    values = ((embeddings - embeddings.mean(axis=0)) / np.where(spread > 0, spread, 1)).astype(float)
    if not method:
        method = preferred() if len(values) >= UMAP_EXAMS else "PCA"
    if method == "UMAP":
        return Placed(_umap(values, seed), "UMAP")
    left, sizes, right = np.linalg.svd(values, full_matrices=False)
    points = left[:, :2] * sizes[:2]
    points *= np.sign(right[np.arange(len(right[:2])), np.abs(right[:2]).argmax(axis=1)])  # SVD leaves the sign open
    total = float((sizes**2).sum())
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    return Placed(points, "PCA", float((sizes[:2] ** 2).sum() / total) if total > 0 else 0.0)


_UMAP = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
import umap
folder, seed, neighbours = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
points = umap.UMAP(n_components=2, random_state=seed, n_neighbors=neighbours).fit_transform(np.load(folder + "/in.npy"))
np.save(folder + "/out.npy", np.asarray(points, float))
"""


def _umap(values: np.ndarray, seed: int) -> np.ndarray:
    """UMAP in a process of its own: its compiled code changes how networks round in the process that loads it."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/in.npy", values)
        words = [sys.executable, "-c", _UMAP, folder, str(seed), str(min(15, len(values) - 1))]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode != 0:
            raise RunError(
                f"UMAP failed: {done.stderr.strip().splitlines()[-1:]}. Remove umap-learn to have PCA instead."
            )
        return np.load(f"{folder}/out.npy")


def embedding_map(embeddings: pd.DataFrame, cohort: pd.DataFrame, series: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The first network of every run and split, all its exams.

    Networks of different folds share no axes, so one map shows one network: that of the first
    fold of the first repeat.

    Args:
        embeddings: embeddings.parquet.
        cohort: cohort.csv.
        series: series.csv, for the scanner.
        seed: Of UMAP.

    Returns:
        Columns `MAP_COLUMNS`; runs with fewer than ten exams are left out.
    """
    about = cohort.set_index("exam_id")[["site"]].assign(scanner=scanners(cohort, series))
    tables = []
    for first in _first_networks(embeddings):
        found = placed(np.stack(first["embedding"].to_numpy()), seed)
        table = first[[*FOLD, "patient_id", "exam_id", "part"]].assign(
            method=found.method, x=found.points[:, 0].round(4), y=found.points[:, 1].round(4)
        )
        tables.append(table.join(about, on="exam_id"))
    return pd.concat([pd.DataFrame(columns=list(MAP_COLUMNS)), *tables], ignore_index=True)[list(MAP_COLUMNS)]


def agreement(embeddings: np.ndarray, groups: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    """How often an exam's nearest others are of its own group, and how often they would be by chance.

    Args:
        embeddings: (N, F), of exams of a known group.
        groups: (N,).
        patients: (N,); exams of one patient are no neighbours of each other.

    Returns:
        Mean share among the `NEIGHBOURS` nearest, and its mean over random orders; of very many exams, over
        `MOST_ASKED` of them.
    """
    spread = embeddings.std(axis=0)
    values = (embeddings - embeddings.mean(axis=0)) / np.where(spread > 0, spread, 1)
    square = (values**2).sum(axis=1)
    asked = np.linspace(0, len(values) - 1, min(len(values), MOST_ASKED)).round().astype(int)
    share, chance, others = (np.zeros(len(asked)) for _ in range(3))
    for start in range(0, len(asked), 256):
        rows, place = asked[start : start + 256], slice(start, start + 256)
        own = patients[rows, None] == patients[None, :]
        same = (groups[rows, None] == groups[None, :]) & ~own
        far = np.where(own, np.inf, square[rows, None] + square[None, :] - 2 * values[rows] @ values.T)
        near = np.argsort(far, axis=1, kind="stable")[:, :NEIGHBOURS]
        others[place] = (~own).sum(axis=1)
        share[place] = np.take_along_axis(same, near, axis=1).mean(axis=1)
        chance[place] = same.sum(axis=1) / np.maximum(others[place], 1)
    enough = others >= NEIGHBOURS
    if not enough.any():
        return float("nan"), float("nan")
    return float(share[enough].mean()), float(chance[enough].mean())


def agreement_table(
    embeddings: pd.DataFrame, cohort: pd.DataFrame, labels: pd.DataFrame, series: pd.DataFrame
) -> pd.DataFrame:
    """Whether neighbours in the space of a network share label, site or scanner, for the networks of the map.

    Args:
        embeddings: embeddings.parquet.
        cohort: cohort.csv.
        labels: labels.csv.
        series: series.csv.

    Returns:
        Columns `AGREEMENT_COLUMNS`; what has one group only is left out. Networks have seen the
        labels of their training patients, so agreement in label is no measure of skill.
    """
    known = labels.groupby(["patient_id", "target"])["value"].max().unstack()
    about = cohort.set_index("exam_id")[["site"]].assign(scanner=scanners(cohort, series))
    rows = []
    for first in _first_networks(embeddings):
        values = np.stack(first["embedding"].to_numpy()).astype(float)
        told = {f"label {t}": known[t].reindex(first["patient_id"]).to_numpy() for t in known}
        told |= {c: about[c].reindex(first["exam_id"]).replace("", None).to_numpy() for c in about}
        for what, groups in told.items():
            has = ~pd.isna(groups)
            if len(np.unique(groups[has].astype(str))) < 2:
                continue
            found, chance = agreement(values[has], groups[has].astype(str), first["patient_id"].to_numpy()[has])
            name = first.iloc[0]
            rows.append((*(name[c] for c in FOLD), what, int(has.sum()), round(found, 4), round(chance, 4)))
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS)).dropna(subset=["agreement"])


def _first_networks(embeddings: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Rows of the first fold of the first repeat of every run and split with enough exams."""
    for _, rows in embeddings.groupby(["run_id", "split"], sort=False):
        number = rows["repeat"] * (rows["fold"].max() + 1) + rows["fold"]
        first = rows[number == number.min()]
        if len(first) >= MIN_EXAMS:
            yield first


def scanners(cohort: pd.DataFrame, series: pd.DataFrame) -> pd.Series:
    """exam_id -> manufacturer, model and field strength of its first role; empty where the header has none."""
    columns = [c for c in SCANNER if c in series.columns]
    rows = series.set_index("series_id")[columns].fillna("").astype(str).itertuples()
    told = {row[0]: " ".join(" ".join(row[1:]).split()) for row in rows}
    return pd.Series(
        first_series(cohort).map(told).astype(object).fillna("").to_numpy(), index=cohort["exam_id"].to_numpy()
    )
