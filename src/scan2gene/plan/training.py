"""How the networks of a plan are trained: in optimiser steps, on a fixed schedule, from several seeds.

Measured on 79 patients in five folds: early stopping follows the loss of some 15 validation patients, so that best
epochs lie anywhere, and `plateau` lets the rate fall to nothing; a fixed schedule over all training patients does
better. Single seeds scatter by 0.1 of AUROC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scan2gene.core.section import MAX_SEED
from scan2gene.core.study import Study, mean_of_runs
from scan2gene.core.study_runs import Split

FEWEST_STEPS = 240  # of the optimiser in one fit: 30 epochs of 63 patients in batches of 8
FEWEST_EPOCHS = 20  # in which every training exam is seen
EARLY_STOPPING_FROM = 300  # patients: fewer have no validation part that could choose an epoch
LEARNING_RATE, WEIGHT_DECAY = 1e-3, 0.01
SEEDS = 3
_LEARNED = ("attention", "gated_attention", "late")  # fusions of slices that a validation part decides


def is_fixed(study: Study, patients: int) -> bool:
    """Whether networks that the plan makes are trained on a fixed schedule, so that no validation part is needed."""
    if study.runs or "patience" in study.train.model_fields_set:
        return False
    if study.data.slices and any(way.name in _LEARNED for way in study.data.slices.fusion):
        return False
    return patients < EARLY_STOPPING_FROM or any(not split.has_validation for split in study.splits)


def training(study: Study, splits: Sequence[Split], patients: int, batch: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Keys of `train` for planned networks that the study leaves open, and why; nothing with early stopping.

    Args:
        study: As its file says it.
        splits: With what was planned.
        patients: Of the cohort.
        batch: Exams of an optimiser step; 0 for slices, of which a patient has an unknown number.
    """
    if not is_fixed(study, patients):
        return {}, {}
    trained = min(_trained(split, patients) for split in splits)
    steps = max(1, -(-(trained - 1) // batch)) if batch else FEWEST_STEPS  # a last single exam joins the batch before
    epochs = max(FEWEST_EPOCHS, -(-FEWEST_STEPS // steps))
    counted = f"{epochs * steps} optimiser steps on {trained} patients"
    floor = f"at least {FEWEST_STEPS} steps and {FEWEST_EPOCHS} epochs"
    chosen: dict[str, tuple[Any, str]] = {
        "epochs": (epochs, f"{counted}; {floor}" if batch else f"every slice is seen {epochs} times"),
        "patience": (None, f"no early stopping: with fewer than {EARLY_STOPPING_FROM} patients a validation part is "
                           "too small to choose an epoch"),
        "schedule": ({"name": "one_cycle"}, "the rate rises, then falls to nothing with the last step"),
        "optimizer": ("adamw", "weight decay apart from the gradient"),
        "learning_rate": (LEARNING_RATE, "the highest rate of the schedule"),
        "weight_decay": (WEIGHT_DECAY, "usual for AdamW"),
    }  # fmt: skip
    mine = {key: pair for key, pair in chosen.items() if key not in study.train.model_fields_set}
    return {f"train.{k}": value for k, (value, _) in mine.items()}, {f"train.{k}": why for k, (_, why) in mine.items()}


def _trained(split: Split, patients: int) -> int:
    """Patients in the smallest training part; where sites are left out in turn, half of all at least."""
    share = {"kfold": 1 - 1 / split.folds, "holdout": 1 - split.test_fraction, "leave_one_site_out": 0.5}[split.kind]
    return max(2, int(patients * share * (1 - split.validation_fraction)))


def seeds_of(study: Study, name: str, run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A run from several seeds, and the mean of these under its name.

    Args:
        study: Whose seed is the first.
        name: Of the mean.
        run: Without name and seed.
    """
    members = [f"{name}-{number + 1}" for number in range(SEEDS)]
    seeds = [(study.seed + number) % (MAX_SEED + 1) for number in range(SEEDS)]
    runs = [{"name": member, **run, "seed": seed} for member, seed in zip(members, seeds, strict=True)]
    return [*runs, mean_of_runs(name, members)]
