"""Kinds of learning: one file each, which has what `Learner` asks for, and one line here.

This file is imported without torch, for the stages before training. The others import `scan2gene.train` inside
functions that train or check, so that new exams are predicted without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from scan2gene.stats.table_models import MODELS
from scan2gene.tasks.run_config import RunConfig

if TYPE_CHECKING:
    from scan2gene.learners.protocol import Learner

LEARNERS: dict[str, tuple[str, ...]] = {  # file -> its models, where these read no images
    "network": (),
    "probe": (),
    "tabular": ("clinical", *MODELS),
}


def learner(name: str) -> Learner:
    """A key of `LEARNERS` -> its file."""
    return cast("Learner", import_module(f"scan2gene.learners.{name}"))


def learner_of(config: RunConfig) -> Learner:
    """Of a run: a network, a head on a frozen encoder, or what reads no images."""
    without_images = (name for name, models in LEARNERS.items() if config.model.name in models)
    return learner(next(without_images, "probe" if config.probes else "network"))


def reads_images(config: RunConfig) -> bool:
    """False where a run learns from a table: columns of the label table, or features."""
    return not any(config.model.name in models for models in LEARNERS.values())
