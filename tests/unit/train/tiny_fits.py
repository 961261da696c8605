"""Fits of tiny networks on twenty planted volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tests.bare_fit import bare_fit
from torch import nn

from scan2gene.core.section import Plugin
from scan2gene.core.study_runs import Data, Train
from scan2gene.data.samples import Samples
from scan2gene.models import MODELS
from scan2gene.train.loop import fit_network


def tiny_cohort(n: int = 20) -> Samples:
    generator = torch.Generator().manual_seed(3)
    y = (torch.arange(n) % 2).float()
    images = torch.randint(0, 200, (n, 1, 8, 8, 8), generator=generator).float()
    images[y == 1, :, 2:6, 2:6, 2:6] += 55  # easily learned
    targets = torch.stack([y, 1 - y], dim=1)
    targets[::5, 1] = torch.nan
    exams = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "exam_id": [f"E{i}" for i in range(n)]})
    return Samples(exams, images.clamp(0, 255).byte(), torch.ones(n, 1), targets, {})


def tiny_fit(folder: Path, build=None, **settings) -> pd.DataFrame:
    data = tiny_cohort()
    parts = settings.pop("parts", (np.arange(14), np.arange(14, 20)))
    view = Data(batch_size=4, augment=[Plugin(name="flip"), Plugin(name="pad_and_crop", options={"voxels": 1})])
    train = Train(**({"epochs": 6, "device": "cpu"} | settings))
    build = build or (lambda: MODELS["light_cnn"](1, 2))
    fit_network(bare_fit(folder, view, train, 5), build, data, *parts)
    return pd.read_csv(folder / "history.csv")


class Started(nn.Module):
    """A network of which the first block is frozen and the others start from weights."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Sequential(nn.Conv3d(1, 4, 3, 2, padding=1), nn.BatchNorm3d(4))
        self.old = nn.Sequential(nn.Conv3d(4, 4, 3, 2, padding=1), nn.BatchNorm3d(4), nn.ReLU())
        self.new = nn.Linear(4, 2)
        self.frozen.requires_grad_(False)
        for parameter in [*self.frozen.parameters(), *self.old.parameters()]:
            parameter.pretrained = True

    def forward(self, x, present=None):
        return self.new(self.old(self.frozen(x)).mean(dim=(2, 3, 4)))
