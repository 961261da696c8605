"""The answer of every network to one fixed input, with the VERSION of its family.

`python -m tests.golden.test_models` writes the table anew.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from scan2gene.core.section import version_of
from scan2gene.models import MODELS

TABLE = Path(__file__).with_name("models.csv")
SMALL = {
    "vit3d": {"size": (8, 16, 16), "patch": (4, 8, 8), "width": 48, "depth": 3, "heads": 3},
    "swin3d": {"size": "micro", "window": (4, 3, 3)},
    "alexnet2d": {"hidden": 16, "dropout": 0.0},
    "vision_lstm": {"width": 32, "hidden": 16, "depth": 2},
    "vil": {"image": (64, 64), "width": 32, "depth": 4},
    "vit2d": {"image": (64, 64), "width": 48, "depth": 3, "heads": 3},
}
NAMES = sorted(set(MODELS) - {"resnet18", "resnet34"})  # more blocks of resnet10's kind
SHAPE = {2: (64, 80), 3: (16, 24, 32)}


def wave(shape: tuple[int, ...], phase: int) -> torch.Tensor:
    """Numbers between -1 and 1 that need no random generator, which may change between versions of torch."""
    return torch.sin(0.37 * torch.arange(math.prod(shape), dtype=torch.float64) + phase).reshape(shape)


def logits(name: str) -> list[float]:
    network = MODELS[name](2, 2, **SMALL.get(name, {})).double().eval()
    with torch.inference_mode():
        for k, (key, parameter) in enumerate(network.named_parameters()):
            if parameter.ndim > 1:
                parameter.copy_(wave(parameter.shape, k) * (2 / parameter[0].numel()) ** 0.5)
            else:
                parameter.copy_(0.1 * wave(parameter.shape, k) + key.endswith("weight"))
        return network(wave((1, 2, *SHAPE[network.spatial_dims]), 0), torch.tensor([[1.0, 0.0]]).double())[0].tolist()


def golden() -> dict[str, dict[str, str]]:
    with TABLE.open(newline="") as stream:
        return {row["model"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize("name", NAMES)
def test_logits_move_only_with_the_version(name):
    row, version = golden()[name], version_of(MODELS[name])
    same = logits(name) == pytest.approx([float(row["logit_1"]), float(row["logit_2"])], rel=1e-4, abs=1e-6)
    again = "make the table anew: python -m tests.golden.test_models"
    assert version == int(row["version"]), f"{name} has VERSION {version}, the table {row['version']}; {again}"
    assert same, f"the logits of {name} moved: raise VERSION in its file, and {again}"


if __name__ == "__main__":
    with TABLE.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["model", "version", "logit_1", "logit_2"])
        writer.writerows([n, version_of(MODELS[n]), *(f"{v:.9g}" for v in logits(n))] for n in NAMES)
