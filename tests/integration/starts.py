"""Runs that start from weights, and what their fits record."""

from __future__ import annotations

import json
from pathlib import Path

import torch

FOLD = "holdout-r0-f0"


def run_of(name: str, model: str = "resnet10", **keys) -> dict:
    return {"name": name, "model": {"name": model}, **keys}


def best_of(out: Path, run: str) -> dict[str, torch.Tensor]:
    return torch.load(out / "experiments" / run / FOLD / "best.pt", weights_only=True)


def record_of(out: Path, run: str) -> dict:
    return json.loads((out / "experiments" / run / FOLD / "weights.json").read_text())
