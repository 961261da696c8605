"""Whether networks were trained at all: a figure at chance means something else where they were not.

Three findings on the fits of a run in a split: "undertrained", even training patients are not told apart; "stopped by
noise", few validation patients chose an early epoch; "rate collapsed", the learning rate fell to nothing before the
training patients were fitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.text import count_range, listed, number_text
from scan2gene.tasks.outputs import stem_of

UNDERTRAINED = 0.7  # AUROC on training patients, in evaluation mode; below, hardly anything was learned
FITTED = 0.9  # of this AUROC a fit may well be over
FEW_VALIDATION = 30  # patients, whose loss is mostly noise
EARLY_SHARE = 0.5  # of the epochs that were trained: the epoch kept came before
COLLAPSED = 0.02  # of the first learning rate
PLANNED_TO_FALL = ("one_cycle", "cosine")  # schedules that end near zero by design

History = tuple[str, Mapping[str, Any], pd.DataFrame]  # run, fold with split, repeat and number, history.csv


@dataclass(frozen=True)
class TrainingFinding:
    """What looks wrong about the fits of a run in a split.

    Args:
        run: Its name.
        split: Where it was trained.
        kind: "undertrained", "stopped by noise" or "rate collapsed".
        sentence: What was found, with numbers.
        cases: Fits.
    """

    run: str
    split: str
    kind: str
    sentence: str
    cases: int


def training_findings(
    histories: Iterable[History], validation: Mapping[tuple[str, int, int], int], schedules: Mapping[str, str]
) -> list[TrainingFinding]:
    """What looks wrong about the training of each run and split.

    Args:
        histories: Of every fit; older ones lack columns and count for nothing.
        validation: (split, repeat, fold) -> patients of the validation part.
        schedules: Run -> name of its schedule.
    """
    fits: dict[tuple[str, str], list[_Fit]] = {}
    for run, fold, table in histories:
        if "last_rate" in table and (table["best"] == 1).any():
            patients = validation.get((fold["split"], int(fold["repeat"]), int(fold["fold"])), 0)
            fits.setdefault((run, fold["split"]), []).append(_fit(table, patients))
    return [found for (run, split), own in fits.items() for found in _findings(run, split, own, schedules.get(run, ""))]


@dataclass(frozen=True)
class _Fit:
    kept: int
    epochs: int
    rates: tuple[float, float]
    learned: float
    validation: int


def _fit(table: pd.DataFrame, validation: int) -> _Fit:
    kept = table[table["best"] == 1].iloc[-1]
    learned = float(kept["final_train_auroc"]) if pd.notna(kept.get("final_train_auroc")) else float("nan")
    rates = float(table["learning_rate"].max()), float(table["last_rate"].iloc[-1])
    return _Fit(int(kept["epoch"]), len(table), rates, learned, validation)


def _findings(run: str, split: str, fits: list[_Fit], schedule: str) -> Iterator[TrainingFinding]:
    known = [fit.learned for fit in fits if fit.learned == fit.learned]
    if known and np.median(known) < UNDERTRAINED:
        yield TrainingFinding(
            run, split, "undertrained",
            "Undertrained: on their own training patients the networks kept have a median AUROC of "
            f"{number_text(float(np.median(known)), 2)} (evaluation mode, {len(known)} fits). Train longer or "
            "otherwise before anything is concluded.", len(known),
        )  # fmt: skip
    noisy = [f for f in fits if 0 < f.validation < FEW_VALIDATION and f.kept <= EARLY_SHARE * f.epochs]
    if 2 * len(noisy) > len(fits):
        epochs, patients = listed(str(f.kept) for f in noisy), count_range([f.validation for f in noisy])
        yield TrainingFinding(
            run, split, "stopped by noise",
            f"Stopped by noise: in {len(noisy)} of {len(fits)} fits {patients} validation patients chose an early "
            f"epoch ({epochs} of {count_range([f.epochs for f in noisy])}), and so few say little. A fixed schedule "
            "needs none: train.patience: null.", len(noisy),
        )  # fmt: skip
    fallen = [f for f in fits if f.rates[1] <= COLLAPSED * f.rates[0] and f.learned < FITTED]
    if schedule not in PLANNED_TO_FALL and 2 * len(fallen) > len(fits):
        yield TrainingFinding(
            run, split, "rate collapsed",
            f"Rate collapsed: in {len(fallen)} of {len(fits)} fits the learning rate fell to "
            f"{max(f.rates[1] for f in fallen):.2g} or less while the AUROC on training patients was below {FITTED}.",
            len(fallen),
        )  # fmt: skip


def training_aurocs(histories: Iterable[History]) -> dict[tuple[str, str, str], float]:
    """(run, split, target) -> AUROC on training patients of the network kept, the median over fits and sides.

    In evaluation mode; of older fits, which did not keep that, in passing at the epoch kept.

    Args:
        histories: Of every fit.
    """
    found: dict[tuple[str, str, str], list[float]] = {}
    for run, fold, table in histories:
        best = table[table["best"] == 1]
        prefix = "final_train_auroc:" if any(c.startswith("final_train_auroc:") for c in table) else "train_auroc:"
        for column in (c for c in table if c.startswith(prefix) and len(best)):
            value = float(best[column].iloc[-1])
            if value == value:
                found.setdefault((run, fold["split"], stem_of(column.partition(":")[2])), []).append(value)
    return {key: float(np.median(values)) for key, values in found.items()}


def validation_patients(split: pd.DataFrame) -> dict[tuple[str, int, int], int]:
    """(split, repeat, fold) -> patients of its validation part, from split.csv."""
    rows = split[split["part"] == "validation"]
    counts = rows.groupby(["split", "repeat", "fold"])["patient_id"].nunique()
    return {(str(name), int(repeat), int(fold)): int(n) for (name, repeat, fold), n in counts.items()}
