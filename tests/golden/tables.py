"""Which figures of a run are kept as golden tables, where they stand, and how two versions are compared.

This file is the only one that knows names of files and columns; where a file of the run directory changes its form, it
is read anew here, and the golden tables stay as they are. Sentences, times, paths, hashes and versions are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

# Figures are kept to 10 digits; the order of a sum moves them by less than this, and a changed rule by more.
SAME = 1e-8
# Golden voxels: interpolation and iterative steps agree to this between processors; a changed step does not.
VOXELS = 1e-4
# Between processors, kernels add in another order; two epochs of training grow that to a few 1e-6 of a probability
# (seen with other instruction sets on one machine). A changed loss, seed or step moves probabilities by 1e-3 and more.
OTHER_MACHINE = 2e-4


@dataclass(frozen=True)
class Table:
    """One kind of golden table.

    Args:
        read: Run directory -> the table with at least the columns below.
        keys: Columns that name a row. Rows of equal keys keep the order of the file.
        exact: Columns compared as text.
        numbers: Columns compared within `tolerance`; a column that ends in `*` stands for all that begin so.
        bits: Columns compared bit by bit on the machine on which the tables were made.
        tolerance: Relative to the larger of 1 and the value.
        learned: Rests on trained networks, where the study has any: on another machine only rows and `bits` count.
    """

    read: Callable[[Path], pd.DataFrame]
    keys: tuple[str, ...]
    exact: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    bits: tuple[str, ...] = ()
    tolerance: float = SAME
    learned: bool = True


def _csv(pattern: str, run: bool = False) -> Callable[[Path], pd.DataFrame]:
    """Reads all files of a pattern as one table, with column `run_id` from the folder `experiments/<run>/`."""

    def read(folder: Path) -> pd.DataFrame:
        files = sorted(folder.glob(pattern))
        tables = [_read_csv(p) for p in files]
        if run:
            names = [p.relative_to(folder / "experiments").parts[0] for p in files]
            tables = [t.assign(run_id=name) for t, name in zip(tables, names, strict=True)]
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    return read


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False, float_precision="round_trip")
    except pd.errors.EmptyDataError:
        return pd.DataFrame()


def _predictions(name: str, parts: tuple[str, ...] = ("validation", "test", "external", "apply")) -> Callable:
    def read(folder: Path) -> pd.DataFrame:
        table = pd.read_parquet(folder / name)
        return table[table["part"].isin(parts)]

    return read


def _json(name: str, key: str = "") -> Callable[[Path], pd.DataFrame]:
    def read(folder: Path) -> pd.DataFrame:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        return pd.DataFrame(values[key] if key else values)

    return read


def _searches(folder: Path) -> pd.DataFrame:
    rows = []
    for path in sorted(folder.glob("experiments/*/*/search.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for trial in found["trials"]:
            rows.append({"run_id": path.parts[-3], "fit": path.parts[-2], "chosen": trial["trial"] == found["trial"],
                         "values": json.dumps(trial["values"], sort_keys=True), **trial})  # fmt: skip
            rows[-1]["values"] = json.dumps(trial["values"], sort_keys=True)
    return pd.DataFrame(rows)


FIT = ("run_id", "split", "repeat", "fold")
INTERVAL = ("value", "low", "high")
COUNTS = ("n", "n_units", "n_positive", "n_failed", "n_rarer_patients")
OUTSIDE = ("inside", "outside", "single", "drop", "domain", "site", "within", "recall_inside", "recall_outside",
           "specificity_inside", "specificity_outside")  # fmt: skip
UNIT = (*FIT, "part", "variant", "patient_id", "side", "unit", "unit_id", "target", "label")

TABLES: dict[str, Table] = {
    "series": Table(
        _csv("series.csv"), ("series_id",),
        ("patient_id", "exam_id", "format", "status", "shape", "orientation", "plane", "sequence", "n_files"),
        ("spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "origin_x_mm", "origin_y_mm", "origin_z_mm"), learned=False,
    ),
    "roles": Table(_csv("roles.csv"), ("patient_id", "exam_id", "role", "series_id"), ("taken",), learned=False),
    "cohort": Table(
        _csv("cohort.csv"), ("patient_id", "exam_id"), ("site", "date", "role:*", "clinical:*"), learned=False
    ),
    "labels": Table(_csv("labels.csv"), ("patient_id", "target", "side"), ("value",), learned=False),
    "exclusions": Table(_csv("exclusions.csv"), ("patient_id", "exam_id", "series_id"), learned=False),
    "split": Table(_csv("split.csv"), ("split", "repeat", "fold", "patient_id"), ("part",), learned=False),
    "split_table": Table(
        _csv("split_table.csv"), ("split", "repeat", "fold", "target", "class"), ("unit",),
        ("train", "validation", "test", "all", "test_patients"), learned=False,
    ),
    "power": Table(
        _csv("power.csv"), ("split", "target"), ("unit",),
        ("positive", "negative", "positive_patients", "negative_patients", "fewest_train", "fewest_validation",
         "fewest_test", "detectable_auroc"), learned=False,
    ),
    "manifest": Table(
        _csv("store/*/manifest.csv"), ("shape", "spacing_mm", "dtype", "patient_id", "role"), ("exam_id", "status"),
        learned=False,
    ),
    "history": Table(
        _csv("experiments/*/history.csv", run=True), (*FIT, "epoch"), ("best",),
        ("learning_rate", "train_*", "validation_*", "site_*"),
    ),
    "sampling": Table(
        _csv("experiments/*/*/sampling.csv", run=True), ("run_id", "site", "class"), (), ("exams", "draws_per_epoch"),
        learned=False,
    ),
    "predictions": Table(
        _predictions("predictions.parquet"), UNIT, ("site", "y_true", "status"), bits=("logit", "prob")
    ),
    "variants": Table(_predictions("variants.parquet"), UNIT, ("y_true", "status"), bits=("logit", "prob")),
    "fusion_weights": Table(_csv("fusion_weights.csv"), (*FIT, "target", "member"), (), ("weight",)),
    "embedding_map": Table(_csv("embedding_map.csv"), (*FIT, "patient_id"), ("method", "part", "scanner"), ("x", "y")),
    "embedding_agreement": Table(
        _csv("embedding_agreement.csv"), (*FIT, "what"), ("n",), ("agreement", "by_chance")
    ),
    "metrics": Table(
        _csv("metrics.csv"), ("run_id", "split", "variant", "target", "metric"), COUNTS, INTERVAL
    ),
    "thresholds": Table(
        _json("thresholds.json"), (*FIT, "variant", "target"), ("n", "n_positive"), ("threshold",)
    ),
    "comparisons": Table(
        _csv("comparisons.csv"), ("split", "target", "metric", "best", "run_id"), ("n",),
        ("difference", "low", "high", "p", "p_holm"),
    ),
    "calibration": Table(
        _csv("calibration.csv"), ("run_id", "split", "target", "method", "figure"), ("n", "n_fitted"), INTERVAL
    ),
    "decision": Table(
        _csv("decision.csv"), ("run_id", "split", "target", "threshold"), (),
        ("net_benefit", "low", "high", "act_on_all", "act_on_none"),
    ),
    "predictive_values": Table(
        _csv("predictive_values.csv"), ("run_id", "split", "target", "prevalence", "figure"), (), INTERVAL
    ),
    "abstention": Table(
        _csv("abstention.csv"), ("run_id", "split", "target", "coverage"), ("n",), ("error", "low", "high")
    ),
    "conformal": Table(
        _csv("conformal.csv"), ("run_id", "split", "target", "confidence", "figure"),
        ("n", "n_fits", "n_fits_too_small"), INTERVAL,
    ),
    "evidence": Table(
        _csv("evidence.csv"), ("run_id", "split", "target"), ("nested", "fits", "shuffles"),
        ("fits_auroc", "fits_low", "fits_high", "fits_p", "power", "patients_needed", "shuffled_auroc",
         "shuffled_mean", "shuffled_p"),
    ),
    "audit": Table(
        _csv("audit.csv"), ("kind", "split", "target", "run"), ("n", "n_positive"),
        (*INTERVAL, "p", "difference", "difference_low", "difference_high", "p_difference"),
    ),
    "checks": Table(_json("audit.json", "leakage"), ("check",), ("status", "cases")),
    "leaks": Table(
        _csv("leakage.csv"), ("check", "split", "repeat", "fold", "one", "two"), ("part_one", "part_two")
    ),
    "verdicts": Table(_json("verdicts.json"), ("split", "target"), ("run", "kind")),
    "transfer": Table(
        _csv("transfer.csv"), ("run", "split", "target"),
        ("kind", "networks", "n_inside", "positive_inside", "n_outside", "positive_outside", "units_outside"),
        (*(f"{name}{end}" for name in OUTSIDE for end in ("", "_low", "_high")), "p_drop", "p_drop_holm",
         "mean_probability", "share_positive", "commonest_site"),
    ),
    "shift": Table(
        _csv("shift.csv"), ("split", "kind", "what"), ("n_inside", "n_outside"), (*INTERVAL, "p"), learned=False,
    ),
    "scores": Table(
        _csv("scores.csv"), ("run_id", "patient_id", "exam_id", "side", "target"), ("y_true",), bits=("prob",)
    ),
    "search": Table(_searches, ("run_id", "fit", "trial"), ("chosen", "values"), ("score",)),
    "map_scores": Table(
        _csv("explain/scores.csv"), ("run_id", "split", "target", "method", "measure", "step"), ("n",), INTERVAL
    ),
    "maps": Table(
        _csv("explain/maps.csv"), (*FIT, "target", "side", "patient_id", "method", "role"),
        ("kind", "class", "picked", "drawn"),
        ("threshold", "energy", "lesion_fraction", "pointing", "energy_random"),
    ),
    "compared_runs": Table(
        _json("results.json", "runs"), ("file", "target"), ("n", "n_units", "n_positive", "verdict"),
        ("auroc", "auroc_low", "auroc_high", "p_chance", "p_chance_holm", "delong_low", "delong_high"),
    ),
    "compared_pairs": Table(
        _json("results.json", "pairs"), ("a", "b", "target"), ("n",),
        ("difference", "low", "high", "p", "p_holm", "p_delong"),
    ),
    "steps": Table(
        _csv("steps.csv"), ("case",), ("version", "shape", "dtype"), ("a*", "mean", "sd", "v*"), tolerance=VOXELS,
        learned=False,
    ),
    "drafts": Table(
        _csv("drafts.csv"), ("table", "target"), ("column", "positive", "negative", "unknown"), learned=False
    ),
    "curated": Table(_csv("curated.csv"), ("table", "target"), ("one", "zero", "patients", "excluded"), learned=False),
}  # fmt: skip


def golden_form(table: Table, folder: Path, hide: dict[str, str]) -> pd.DataFrame:
    """The table of a run as it is kept: text in every cell, rows in the order of their keys.

    Args:
        table: Its kind.
        folder: Run directory, or what else `table.read` takes.
        hide: Text -> what stands in its place, such as paths.
    """
    given = table.read(folder)
    if given.empty:
        names = (*table.keys, *table.exact, *table.numbers, *table.bits)
        given = pd.DataFrame(columns=[n for n in names if not n.endswith("*")])
    columns = [c for name in (*table.keys, *table.exact, *table.numbers, *table.bits) for c in _named(given, name)]
    digits = {c for name in table.numbers for c in _named(given, name)}
    shown = {c: [_cell(v, 10 if c in digits else 0, hide) for v in given[c]] for c in dict.fromkeys(columns)}
    kept = pd.DataFrame(shown, columns=list(dict.fromkeys(columns)), dtype=str)
    keys = [k for k in table.keys if k in kept]
    return kept.sort_values(keys, kind="stable", ignore_index=True) if keys else kept


def _named(table: pd.DataFrame, name: str) -> list[str]:
    if not name.endswith("*"):
        return [name] if name in table else []
    return [c for c in table.columns if c.startswith(name[:-1])]


def _cell(value: object, digits: int, hide: dict[str, str]) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)) or value == "":
        return ""
    if digits:
        return f"{float(value):.{digits}g}"  # type: ignore[arg-type]
    if isinstance(value, float | np.floating):
        return repr(float(value))
    text = str(value)
    for hidden, shown in hide.items():
        text = text.replace(hidden, shown)
    return text


def differences(
    table: Table, kept: pd.DataFrame, new: pd.DataFrame, here: bool = True, learned: bool = True
) -> list[str]:
    """What differs between the golden table and a new one, a line each; empty where they are equal.

    Args:
        table: Its kind.
        kept: The golden table.
        new: What the code makes of it now.
        here: On the machine on which the golden table was made.
        learned: The study has trained networks.
    """
    if kept.equals(new):
        return []
    if list(kept.columns) != list(new.columns):
        return [f"columns: {sorted(set(kept.columns) ^ set(new.columns)) or 'another order'}"]
    keys = [k for k in table.keys if k in kept]
    kept, new = (t.set_index([*keys, t.groupby(keys).cumcount().rename("again")]) if keys else t for t in (kept, new))
    said = []
    for words, rows in (("gone", kept.index.difference(new.index)), ("new", new.index.difference(kept.index))):
        if len(rows):
            said.append(f"{len(rows)} of {len(kept)} rows {words}, such as {_row(rows[0])}")
    both = kept.index.intersection(new.index)
    free = learned and table.learned and not here
    for column in kept.columns:
        if free and not _is(column, table.bits) and column != "status":
            continue
        one, two = kept.loc[both, column], new.loc[both, column]
        if not (_is(column, table.numbers) or _is(column, table.bits)):
            apart = one != two
            if apart.any():
                at = apart[apart].index[0]
                said.append(
                    f"{column}: {apart.sum()} of {len(both)} changed, such as {one[at]!r} to {two[at]!r} at {_row(at)}"
                )
            continue
        limit = table.tolerance if _is(column, table.numbers) else 0.0 if here else OTHER_MACHINE
        said += _numbers(column, one, two, limit)
    return said


def _is(column: str, names: tuple[str, ...]) -> bool:
    return any(column == n or (n.endswith("*") and column.startswith(n[:-1])) for n in names)


def _numbers(column: str, one: pd.Series, two: pd.Series, limit: float) -> list[str]:
    a, b = (pd.to_numeric(t, errors="coerce").to_numpy(float) for t in (one, two))
    lost = np.isnan(a) != np.isnan(b)
    apart = np.abs(a - b)
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0  # infinities too
    wrong = lost | (apart > limit * np.maximum(1, np.abs(np.nan_to_num(a))))
    if not wrong.any():
        return []
    at = int(np.nanargmax(np.where(lost, np.inf, apart)))
    return [f"{column}: {wrong.sum()} of {len(a)} changed, most from {one.iloc[at] or 'nothing'} to "
            f"{two.iloc[at] or 'nothing'} at {_row(one.index[at])}"]  # fmt: skip


def _row(key: object) -> str:
    return "/".join(map(str, key if isinstance(key, tuple) else (key,)))
