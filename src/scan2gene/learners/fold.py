"""One run on one fold: checked, trained and predicted, whatever learns."""

from __future__ import annotations

import numpy as np

from scan2gene.cohorts.split import parts_of
from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.section import check_plugin, unknown_name
from scan2gene.core.text import listed
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import NetworkOutput
from scan2gene.learners import LEARNERS, learner, learner_of, reads_images
from scan2gene.learners.harmonise import check_harmonise, fit_harmonise, with_harmonised
from scan2gene.predict.aggregate import RULES
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
    _check_validation(config)


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


def _check_validation(config: RunConfig) -> None:
    """Refuse what a validation part decides, where a split of the study has none.

    Raises:
        StudyError: With what to change.
    """
    split = next((s.name for s in config.splits if not s.has_validation), None)
    if split is None:
        return
    slices, epochs = config.data.slices, reads_images(config)
    learned = [way.name for way in slices.fusion if way.name not in RULES] if slices else []
    for given, why in (
        (config.search is not None, "search chooses settings on it: give the split a validation_fraction above 0"),
        (epochs and config.train.patience is not None, "early stopping watches it: set train.patience: null"),
        (epochs and config.train.schedule.name == "plateau",
         "train.schedule plateau follows its loss: set train.schedule: {name: one_cycle}"),
        (bool(learned), f"data.slices.fusion {listed(learned)} learns with it: use {listed(RULES, 'or')}"),
    ):  # fmt: skip
        if given:
            raise StudyError(f"run {config.name}: split {split} has no validation part, and {why}")


def train_fold(fit: Fit, data: Samples) -> None:
    """Fit one model on the training part, choose its checkpoint on the validation part.

    Args:
        fit: Its folder gets the model; what another configuration left there goes.
        data: Of the run's learner.

    Raises:
        CohortError: The training part, or a validation part that the split asks for, has no usable exam.
    """
    config = fit.config
    fit.begin(fit.place | {"model": config.model.model_dump(), "targets": config.output_names})
    part = parts_of(fit, data.table)
    known = ~np.isnan(data.targets.numpy()).all(axis=1)
    train, validation = (np.flatnonzero((part == p) & known) for p in ("train", "validation"))
    wants_validation = fit.rules.has_validation
    if len(train) < 2 or (wants_validation and len(validation) < 1):
        people = [data.table["patient_id"].iloc[rows].nunique() for rows in (train, validation)]
        of_validation = f"and {people[1]} validation " if wants_validation else ""
        raise CohortError(
            f"split {fit.split} fold {fit.fold}: of {people[0]} training {of_validation}patients a "
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
