"""What one kind of learning has to offer, so that stages and commands ask nothing about its kind."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

import numpy as np

from scan2gene.core.rundir import RunDirectory
from scan2gene.data.samples import Samples
from scan2gene.evaluate.stability import Features
from scan2gene.forward.logits import NetworkOutput
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig


class Learner(Protocol):
    """A file of `scan2gene.learners`.

    Args:
        MODELS: Names -> functions that build or fit a model; their keyword-only parameters are its options.
        TRAINS_ON_IMAGES: Images pass the whole model in every epoch, so that they are augmented, and altered copies of
            them say what it looks at.
    """

    MODELS: Mapping[str, Callable[..., Any]]
    TRAINS_ON_IMAGES: bool

    def check(self, config: RunConfig) -> None:
        """Refuse a run that cannot be trained, before any work starts."""

    def data_key(self, config: RunConfig, out: RunDirectory) -> Hashable:
        """What decides `data`, so that it is kept for the next fit; None where it is read in no time."""

    def data(self, config: RunConfig, out: RunDirectory) -> Samples:
        """What a run learns from, of a run directory."""

    def fit(self, fit: Fit, data: Samples, train: np.ndarray, validation: np.ndarray) -> None:
        """Learn from training rows, choose by validation rows, and write the model into the folder of the fit."""

    def predict(self, fit: Fit, data: Samples) -> NetworkOutput:
        """Answers about all rows."""

    def load(self, fit: Fit) -> Any:
        """The model of a finished fit; a network is whole, from image to logits."""

    def describe(self, fit: Fit, out: RunDirectory) -> dict[str, int]:
        """Parameters of a finished fit, and how many of them were trained."""

    def prepare(self, fit: Fit, images: Samples, kept: dict[str, Samples]) -> Samples:
        """New exams as `predict` takes them; `kept` is for what several fits share."""

    def refit(self, config: RunConfig, out: RunDirectory) -> Features:
        """What `evaluate.stability` fits again on other parts of the cohort."""
