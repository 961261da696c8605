"""What the training exams of a run looked like, measured once and kept, and whether new exams look alike.

Only files of the run directory are read: the index, the cohort, the split and the prepared volumes.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.errors import RunError
from scan2gene.core.files import value_hash
from scan2gene.core.machine import cpus
from scan2gene.core.run_files import Json
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.study_cohort import Role
from scan2gene.evaluate.ood import GREY_MEASURES, LEAST_EXAMS, NUMBERS, Ranges, judge, learn
from scan2gene.imaging.measures import geometry_measures, grey_measures, reduced
from scan2gene.imaging.nifti import read_nifti
from scan2gene.tasks.run_config import RunConfig

VERSION = 1  # raised when a measure changes


@dataclass(frozen=True)
class Familiar:
    """What training exams look like: their ranges, and role -> mean reduced volume."""

    ranges: Ranges
    means: dict[str, np.ndarray]


def of_training(run: RunDirectory, split: str, store: StoreDirectory, roles: Mapping[str, Role]) -> Familiar:
    """Learn from a run's training exams, or read what was learned from the same files before.

    Args:
        run: The run directory.
        split: Patients in a training part of one of its folds count.
        store: Prepared volumes.
        roles: Those that count, by name.

    Raises:
        RunError: No training exam is prepared.
    """
    key = value_hash([VERSION, split, *(f.hash() for f in (run.series, run.cohort, run.split, store.manifest))])
    name = "/".join([split, store.name, *sorted(roles)])
    entries = _entries(run.training_ranges)
    if entries.get(name, {}).get("key") == key:
        return _of_json(entries[name])
    table = run.split.read()
    trained = table[(table["split"] == split) & (table["part"] == "train")]["patient_id"]
    cohort = run.cohort.read()
    cohort = cohort[cohort["patient_id"].isin(trained)]
    measured, small = measure(cohort, run.series.read(), store.path, store.manifest.read(), roles)
    measured = measured[measured["status"] == "ok"]
    if measured.empty:
        raise RunError(f"{store.path} holds no prepared volume of a training exam, so nothing can be compared with it.")
    means = {}
    for role in measured["role"].unique():
        rows = measured["role"] == role
        likeness, mean = _left_out_likeness([small.get((e, role)) for e in measured.loc[rows, "exam_id"]])
        if mean is not None:
            measured.loc[rows, "likeness"] = likeness
            means[role] = mean
    found = Familiar(learn(measured), means)
    run.training_ranges.write(entries | {name: {"key": key, **_as_json(found)}})
    return found


def reasons_against(
    exams: pd.DataFrame, series: pd.DataFrame, store: Path, manifest: pd.DataFrame, roles: Mapping[str, Role],
    training: Familiar,
) -> dict[str, list[str]]:  # fmt: skip
    """Why exams are unlike those of training: exam_id -> reasons, empty where there is none.

    Args:
        exams: Rows like cohort.csv's.
        series: Their index.
        store: Their prepared volumes.
        manifest: Of the store.
        roles: Those that count, by name.
        training: What training exams look like.
    """
    measured, small = measure(exams, series, store, manifest, roles)
    measured["likeness"] = [
        _correlation(small.get((e, r)), training.means.get(r))
        for e, r in measured[["exam_id", "role"]].itertuples(index=False, name=None)
    ]
    found = {}
    for exam, rows in measured.groupby("exam_id", sort=False):
        ready = rows[rows["status"] == "ok"]
        # of an exam that could not be prepared the geometry still says something
        found[str(exam)] = judge(rows if ready.empty else ready, training.ranges)
    return found


def measure(
    exams: pd.DataFrame, series: pd.DataFrame, store: Path, manifest: pd.DataFrame, roles: Mapping[str, Role]
) -> tuple[pd.DataFrame, dict[tuple[str, str], np.ndarray]]:
    """Measures of every role of some exams.

    Returns:
        One row per exam and role: exam_id, role, status as the manifest has it, and measures;
        and (exam_id, role) -> reduced volume, of intensity roles.
    """
    index = series.fillna("").set_index("series_id")
    chosen = exams.set_index("exam_id")
    rows = [r for r in manifest.to_dict("records") if r["exam_id"] in chosen.index and r["role"] in roles]

    def work(row: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
        exam, role, kind = row["exam_id"], row["role"], roles[row["role"]].kind
        found: dict[str, Any] = {"exam_id": exam, "role": role, "status": row["status"]}
        identity = chosen.at[exam, f"role:{role}"]
        if kind == "intensity" and identity in index.index:
            found |= geometry_measures(index.loc[identity])
        if row["status"] != "ok":
            return found, None
        volume = read_nifti(store / row["file"], kind)
        return found | grey_measures(volume), reduced(volume.array) if kind == "intensity" else None

    with ThreadPoolExecutor(cpus()) as pool:
        made = list(pool.map(work, rows))
    small = {(row["exam_id"], row["role"]): array for row, array in made if array is not None}
    table = pd.DataFrame([row for row, _ in made], columns=None if made else ["exam_id", "role", "status"])
    for column in ("plane", "orientation", "sequence"):
        if column in table:
            table[column] = table[column].fillna("")
    return table, small


def grey_table(cohort: pd.DataFrame, series: pd.DataFrame, store: Path, config: RunConfig) -> pd.DataFrame:
    """Grey-value measures of prepared volumes by patient_id, a column for each role and measure; exams are averaged.

    Args:
        cohort: cohort.csv, or rows like it.
        series: Their index.
        store: Prepared volumes, with their manifest.
        config: Of a run, whose input roles are measured.
    """
    manifest = StoreDirectory(store).manifest.read()
    manifest = manifest[manifest["role"].isin(config.roles)]
    found, _ = measure(cohort, series, store, manifest, config.cohort_roles)
    found = found[found["status"] == "ok"]
    wide = found.pivot(index="exam_id", columns="role", values=[m for m in GREY_MEASURES if m in found])
    wide.columns = pd.Index([f"{role} {NUMBERS[m][0]}" for m, role in wide.columns])
    patient = cohort.set_index("exam_id")["patient_id"]
    return wide.groupby(patient.reindex(wide.index).to_numpy()).mean()


def _left_out_likeness(arrays: list[np.ndarray | None]) -> tuple[list[float], np.ndarray | None]:
    """Correlation of every volume with the mean of the others, and the mean of all; None where shapes differ."""
    known = [a for a in arrays if a is not None]
    if len(known) < LEAST_EXAMS or len({a.shape for a in known}) > 1:
        return [], None
    total = np.sum(known, axis=0)
    others = [None if a is None else (total - a) / (len(known) - 1) for a in arrays]
    return [_correlation(a, o) for a, o in zip(arrays, others, strict=True)], total / len(known)


def _correlation(one: np.ndarray | None, other: np.ndarray | None) -> float:
    """Pearson's, NaN where there is none."""
    if one is None or other is None or one.shape != other.shape:
        return float("nan")
    a, b = one - one.mean(), other - other.mean()
    size = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")


def _entries(kept: Json) -> dict[str, Any]:
    try:
        entries = kept.read({})
    except ValueError:
        return {}
    return entries if isinstance(entries, dict) else {}


def _as_json(found: Familiar) -> dict[str, Any]:
    # one line per mean volume: indented, each voxel would have its own
    means = {r: {"shape": list(m.shape), "values": " ".join(f"{v:.6g}" for v in m.ravel())}
             for r, m in found.means.items()}  # fmt: skip
    return {"ranges": found.ranges.as_json(), "means": means}


def _of_json(entry: Mapping[str, Any]) -> Familiar:
    means = {r: np.array(m["values"].split(), float).reshape(m["shape"]) for r, m in entry["means"].items()}
    return Familiar(Ranges.of_json(entry["ranges"]), means)
