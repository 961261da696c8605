"""One run on one fold: checked, trained and predicted, whatever learns."""

from __future__ import annotations

import numpy as np

from scan2gene.cohorts.split import parts_of
from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.section import check_plugin, unknown_name
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput
from scan2gene.learners import LEARNERS, learner, learner_of
from scan2gene.learners.harmonise import check_harmonise, fit_harmonise, with_harmonised
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig


def check_run(config: RunConfig) -> None:
    """Refuse a run, or one candidate of its search, that cannot be trained, before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    models = {name: build for file in LEARNERS for name, build in learner(file).MODELS.items()}
    check_plugin(config.model, models, f"run {config.name}: model")
    check_harmonise(config)
    learner_of(config).check(config)
    _check_training(config)


def _check_training(config: RunConfig) -> None:
    from scan2gene.data.augment import check_augmentation
    from scan2gene.train.monitor import check_monitor
    from scan2gene.train.schedules import SCHEDULES

    check_augmentation(config.data.augment, [output.target for output in config.outputs if not output.side])
    check_plugin(config.train.schedule, SCHEDULES, "train.schedule")
    check_monitor(config.train.monitor, config.targets)
    for name in config.train.target_weights:
        if name not in config.targets:
            raise StudyError(f"train.target_weights: target {unknown_name(name, config.targets)}")


def train_fold(fit: Fit, data: Samples) -> None:
    """Fit one model on the training part, choose its checkpoint on the validation part.

    Args:
        fit: Its folder gets the model; what another configuration left there goes.
        data: Of the run's learner.

    Raises:
        CohortError: The training or validation part has no usable exam.
    """
    config = fit.config
    fit.begin(fit.place | {"model": config.model.model_dump(), "targets": config.output_names})
    part = parts_of(fit, data.table)
    known = ~np.isnan(data.targets.numpy()).all(axis=1)
    train, validation = (np.flatnonzero((part == p) & known) for p in ("train", "validation"))
    if len(train) < 2 or len(validation) < 1:
        people = [data.table["patient_id"].iloc[rows].nunique() for rows in (train, validation)]
        raise CohortError(
            f"split {fit.split} fold {fit.fold}: of {people[0]} training and {people[1]} validation patients a "
            "target is known and an exam could be prepared; that is too few to train. See split_table.csv and the "
            "store's manifest.csv."
        )
    fit_harmonise(fit, data, train)
    learner_of(config).fit(fit, with_harmonised(fit, data), train, validation)


def predict_fold(fit: Fit, data: Samples) -> NetworkOutput:
    """Every row of `data`, in its order, by the model of a fit.

    Args:
        fit: Finished, with the settings that its search chose; its `predict` says which variants.
        data: Of the run's learner.
    """
    return learner_of(fit.config).predict(fit, with_harmonised(fit, data))
