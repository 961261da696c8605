"""The fits of a study: one run on one fold each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

from scan2gene.core.errors import StudyError
from scan2gene.core.rundir import FitDirectory, fold_name
from scan2gene.core.section import unknown_name, version_of
from scan2gene.core.study import Study, candidates, for_run, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.stages.job import Job, run_stores, stage_key
from scan2gene.tasks.outputs import outputs

FOLD = ["split", "repeat", "fold"]


@dataclass(frozen=True)
class Fit:
    """One run on one fold.

    Args:
        run: Model and what it changes of the study; with a search, before it chose.
        view: The study as the run sees it.
        split: Name of the split.
        repeat: From 0.
        fold: From 0.
        parts: patient_id -> train, validation, test or external.
        folder: Its files.
        key: Hash of everything that decides the result.
    """

    run: Run
    view: Study
    split: str
    repeat: int
    fold: int
    parts: dict[str, str]
    folder: FitDirectory
    key: str

    @property
    def place(self) -> dict[str, Any]:
        """Split, repeat and fold, as columns of tables name them."""
        return {"split": self.split, "repeat": self.repeat, "fold": self.fold}

    @property
    def stage(self) -> str:
        """Name of its training among the stamps."""
        return f"train/{self.folder.name}"

    def as_chosen(self, study: Study) -> Fit:
        """The same with the settings that its search chose; itself where nothing was searched."""
        from scan2gene.train.search import chosen_run

        run = chosen_run(self.run, self.folder.path)
        return self if run is self.run else replace(self, run=run, view=for_run(study, run))


def fits(job: Job) -> Iterator[Fit]:
    """Every fit of the study, run by run."""
    split = job.out.split.read()
    stores = {run.name: store for run, (_, store) in run_stores(job)}
    inputs = [file.hash() for file in (job.out.cohort, job.out.labels, job.out.split)]
    for run in job.study.runs:
        view = for_run(job.study, run)
        store = stores.get(run.name)
        images = store.manifest.hash() if store else None
        weights, versions = _weights_key(job.study, run), model_versions(run)
        for (name, repeat, number), rows in split.groupby(FOLD, sort=False):
            fold = {"split": name, "repeat": int(repeat), "fold": int(number)}
            key = stage_key(
                "train", inputs=inputs, images=images, fold=fold, model=run.model.model_dump(), versions=versions,
                seed=view.seed, data=_data_key(view), train=view.train.model_dump(),
                targets=[astuple(a) for a in outputs(view)], roles=input_roles(view),
                search=run.search and run.search.model_dump(), weights=weights,
            )  # fmt: skip
            parts = dict(zip(rows["patient_id"], rows["part"], strict=True))
            yield Fit(run, view, **fold, parts=parts, folder=job.out.fit(run.name, **fold), key=key)


def fit_called(job: Job, run: str, fold: str) -> Fit:
    """The fit of a run on one fold.

    Args:
        job: The run directory, prepared.
        run: Name of the run.
        fold: Such as "cv-r0-f1" or "cv/1", the first repeat.

    Raises:
        StudyError: With the valid names.
    """
    known = {(f.run.name, name): f for f in fits(job) for name in _names(f)}
    if (run, fold) in known:
        return known[run, fold]
    runs = [r.name for r in job.study.runs]
    if run not in runs:
        raise StudyError(f"run {unknown_name(run, runs)}")
    raise StudyError(f"fold {unknown_name(fold, [name for (r, name) in known if r == run])}")


def _names(fit: Fit) -> list[str]:
    short = [f"{fit.split}/{fit.fold}"] if fit.repeat == 0 else []
    return [*short, f"{fit.split}/{fit.repeat}/{fit.fold}", fold_name(**fit.place)]


def _data_key(view: Study) -> dict[str, Any]:
    """What a fit depends on of `data`; how its slices are fused afterwards is no part of it."""
    return view.data.model_dump() | {"slices": view.data.slices and view.data.slices.per_patient}


def fusion_key(view: Study) -> list[dict[str, Any]]:
    """How a run's slices are fused: it decides predictions, and no fit."""
    return [way.model_dump() for way in view.data.slices.fusion] if view.data.slices else []


def model_versions(run: Run) -> dict[str, int]:
    """The version of a run's model, and of those that its search tries."""
    from scan2gene.models import MODELS
    from scan2gene.radiomics.clinical import CLASSICAL

    names = {tried.model.name for tried in candidates(run, "model")}
    return {name: version_of(CLASSICAL.get(name) or MODELS[name]) for name in names}


def _weights_key(study: Study, run: Run) -> list[Any]:
    """What a run and each candidate of its search start from, by the hash of the file; nothing for random weights."""
    told = []
    for tried in candidates(run, "weights"):
        if not tried.weights:
            continue
        from scan2gene.train.start import start_of

        start = start_of(for_run(study, tried), tried)
        rules = tried.weights and tried.weights.model_dump(include={"freeze", "head", "channels"})
        told.append([start.sha256 if start else "", start.options if start else {}, rules])
    return told
