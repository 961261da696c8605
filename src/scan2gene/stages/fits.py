"""The fits of a study: one run on one fold each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple
from typing import Any

from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import fold_name
from scan2gene.core.section import unknown_name, version_of
from scan2gene.learners import learner_of
from scan2gene.stages.job import Job, run_stores, stage_key
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

FOLD = ["split", "repeat", "fold"]


def fits(job: Job) -> Iterator[Fit]:
    """Every fit of the study, run by run."""
    split = job.out.split.read()
    stores = {config.name: store for config, store in run_stores(job)}
    inputs = [file.hash() for file in (job.out.cohort, job.out.labels, job.out.split)]
    for config in job.configs:
        store = stores.get(config.name)
        images = store.manifest.hash() if store else None
        tables = [job.out.features(name).hash() for name in config.model.options.get("features", ())]
        weights, versions, search = _weights_key(config), model_versions(config), config.search
        for (name, repeat, number), rows in split.groupby(FOLD, sort=False):
            fold = {"split": name, "repeat": int(repeat), "fold": int(number)}
            key = stage_key(
                "train", inputs=inputs, images=images, fold=fold, model=config.model.model_dump(), versions=versions,
                seed=config.seed, data=_data_key(config), train=config.train.model_dump(),
                targets=[astuple(a) for a in config.outputs], roles=config.roles,
                search=search and search.model_dump(), weights=weights, **({"features": tables} if tables else {}),
            )  # fmt: skip
            parts = dict(zip(rows["patient_id"], rows["part"], strict=True))
            yield Fit(config, **fold, folder=job.out.fit(config.name, **fold), parts=parts, key=key)


def fit_called(job: Job, run: str, fold: str) -> Fit:
    """The fit of a run on one fold.

    Args:
        job: The run directory, prepared.
        run: Name of the run.
        fold: Such as "cv-r0-f1" or "cv/1", the first repeat.

    Raises:
        StudyError: With the valid names.
    """
    known = {(f.config.name, name): f for f in fits(job) for name in _names(f)}
    if (run, fold) in known:
        return known[run, fold]
    runs = [r.name for r in job.study.runs]
    if run not in runs:
        raise StudyError(f"run {unknown_name(run, runs)}")
    raise StudyError(f"fold {unknown_name(fold, [name for (r, name) in known if r == run])}")


def _names(fit: Fit) -> list[str]:
    short = [f"{fit.split}/{fit.fold}"] if fit.repeat == 0 else []
    return [*short, f"{fit.split}/{fit.repeat}/{fit.fold}", fold_name(**fit.place)]


def _data_key(config: RunConfig) -> dict[str, Any]:
    """What a fit depends on of `data`; how its slices are fused afterwards is no part of it."""
    return config.data.model_dump() | {"slices": config.data.slices and config.data.slices.per_patient}


def fusion_key(config: RunConfig) -> list[dict[str, Any]]:
    """How a run's slices are fused: it decides predictions, and no fit."""
    return [way.model_dump() for way in config.data.slices.fusion] if config.data.slices else []


def model_versions(config: RunConfig) -> dict[str, int]:
    """The version of a run's model, and of those that its search tries."""
    tried = {candidate.model.name: learner_of(candidate) for candidate in config.candidates("model")}
    return {name: version_of(learner.MODELS[name]) for name, learner in tried.items()}


def _weights_key(config: RunConfig) -> list[Any]:
    """What a run and each candidate of its search start from, by the hash of the file; nothing for random weights."""
    entries = []
    for tried in config.candidates("weights"):
        if not tried.weights:
            continue
        from scan2gene.models.start import start_of

        start = start_of(tried)
        rules = tried.weights.model_dump(include={"freeze", "head", "channels"})
        entries.append([start.sha256 if start else "", start.options if start else {}, rules])
    return entries
