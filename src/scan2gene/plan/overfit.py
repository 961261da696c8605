"""Whether a planned network can learn a few patients by heart, before hours are spent on all of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from scan2gene.core.errors import Scan2GeneError
from scan2gene.data.images import to_input
from scan2gene.imaging.index import read_volume
from scan2gene.models.networks import build_network
from scan2gene.preprocess.recipe import apply_recipe, roles_read
from scan2gene.stats.metrics import auroc
from scan2gene.tasks.outputs import output_values
from scan2gene.tasks.run_config import RunConfig
from scan2gene.train.loss import loss_groups, masked_loss

PER_CLASS = 8  # patients
STEPS = 120  # of the optimiser, at most; sixteen patients take about ten
BATCH = 8
EVERY = 4  # steps between two looks at the AUROC
SECONDS = 30.0  # at most


@dataclass(frozen=True)
class Overfit:
    """What a few patients showed.

    Args:
        patients: How many were learned; 0 where it was not tried.
        steps: Of the optimiser.
        auroc: On the same patients in evaluation mode.
    """

    patients: int = 0
    steps: int = 0
    auroc: float = float("nan")

    @property
    def is_whole(self) -> bool:
        """Whether the patients were learned, or all steps done: not ended by the time."""
        return self.patients > 0 and (self.auroc == 1.0 or self.steps >= STEPS)


def overfit(
    config: RunConfig, cohort: pd.DataFrame, labels: pd.DataFrame, paths: dict[str, str], until: float
) -> Overfit:
    """Train the run's network on sixteen patients without augmentation until it knows them, or steps or time are over.

    Args:
        config: Of a network on whole volumes.
        cohort: cohort.csv.
        labels: labels.csv.
        paths: series_id -> what `read_volume` opens.
        until: Value of `time.monotonic` at which it ends.

    Returns:
        With 0 patients where no output has eight of each class that can be prepared on one grid in time.
    """
    cohort = cohort.drop_duplicates("patient_id")
    targets = output_values(labels, cohort["patient_id"], config.outputs)
    for column in range(targets.shape[1]):
        classes = [np.flatnonzero(targets[:, column] == value) for value in (0, 1)]
        if min(map(len, classes)) >= PER_CLASS:
            chosen = np.concatenate([rows[:PER_CLASS] for rows in classes])
            images, present = _images(config, cohort.iloc[chosen], paths, until)
            if images is None:
                return Overfit()
            return _train(config, images, present, torch.from_numpy(targets[chosen]).float(), column, until)
    return Overfit()


def _images(
    config: RunConfig, exams: pd.DataFrame, paths: dict[str, str], until: float
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Network input (N, R, D, H, W) and presence (N, R) of some exams; None where they lack a common grid or time."""
    roles = {n: config.cohort_roles[n] for n in roles_read(config)}
    optional = [n for n, role in roles.items() if role.optional]
    prepared: list[dict[str, np.ndarray]] = []
    none = None, torch.zeros(0)
    for exam in exams.to_dict("records"):
        if time.monotonic() > until:
            return none
        there = {n: role for n, role in roles.items() if isinstance(exam[f"role:{n}"], str)}
        try:
            volumes = {n: read_volume(paths[exam[f"role:{n}"]], r.kind, r.threshold) for n, r in there.items()}
            made = apply_recipe(volumes, config.recipe, optional, {})
        except Scan2GeneError:  # preparing the cohort will say why
            return none
        prepared.append({n: made[n].array.transpose(2, 1, 0) for n in config.roles if n in made})
    arrays = [array for exam in prepared for array in exam.values()]
    if len({(array.shape, array.dtype) for array in arrays}) != 1:
        return none
    nothing = np.zeros_like(arrays[0])
    stacked = np.stack([[exam.get(n, nothing) for n in config.roles] for exam in prepared])
    present = torch.tensor([[float(n in exam) for n in config.roles] for exam in prepared])
    return to_input(torch.from_numpy(stacked), present), present


def _train(
    config: RunConfig, images: torch.Tensor, present: torch.Tensor, targets: torch.Tensor, column: int, until: float
) -> Overfit:
    torch.manual_seed(config.seed)
    network, groups = build_network(config), loss_groups(config.outputs)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.train.learning_rate)
    value, step = float("nan"), 0
    while step < STEPS and value != 1.0 and time.monotonic() < until:
        for rows in torch.randperm(len(images)).split(BATCH):
            network.train()
            loss = masked_loss(network(images[rows], present[rows]), targets[rows], groups=groups)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        if step % EVERY == 0:
            network.eval()
            with torch.inference_mode():
                answers = [network(*pair) for pair in zip(images.split(BATCH), present.split(BATCH), strict=True)]
            value = float(auroc(targets[:, column].numpy(), torch.cat(answers)[:, column].numpy()))
    return Overfit(len(images), step, value)
