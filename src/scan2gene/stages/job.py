"""What the stages share: one study in one run directory, its fits, stores and data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scan2gene.core.console import say
from scan2gene.core.files import value_hash
from scan2gene.core.run_files import File
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study, candidate, for_run
from scan2gene.core.study_cohort import Role
from scan2gene.core.study_runs import Run
from scan2gene.privacy.pseudonyms import Pseudonymiser
from scan2gene.tasks.outputs import output_values, outputs

# Raised when a stage writes other files for the same inputs; it is then done again, and so is what reads those files.
# "train" covers the loop, loss, sampling and augmentation; models and steps have a VERSION in their own file.
VERSIONS = {
    "index": 1, "curate": 2, "plan": 1, "split": 1, "split_table": 1, "preprocess": 1, "train": 1, "predict": 1,
    "variants": 1, "embedding-map": 1, "evaluate": 1, "audit": 1, "explain": 1, "report": 1,
}  # fmt: skip


class ToDo(Exception):
    """Raised in a dry run where work would begin."""


@dataclass
class Job:
    """One study in one run directory, and what its stages share while they run."""

    study: Study
    out: RunDirectory
    tensors: dict[tuple, Any] = field(default_factory=dict)  # prepared cohorts, by store and roles
    veil: Pseudonymiser | None = None  # of a study with pseudonyms

    watch: Stopwatch = field(default_factory=Stopwatch)  # of the stage that is running
    worked: bool = False  # it had something to do
    kept: bool = False  # something was done before
    dry: bool = False  # do nothing, stop where work would begin

    def is_done(self, stage: str, key: str) -> bool:
        """True when a stage was finished for these inputs; in a dry run, work to do ends it."""
        done = self.out.is_done(stage, key)
        if self.dry and not done:
            raise ToDo
        self.kept |= done
        return done

    def done(self, stage: str, key: str, files: Iterable[Path | File]) -> None:
        """Stamp a stage with its inputs' hash, its files and what it cost."""
        self.worked = True
        self.out.mark_done(stage, key, files, **self.watch.stamp())

    def store(self, view: Study) -> StoreDirectory:
        """Of a study as a run sees it."""
        from scan2gene.preprocess.recipe import recipe_hash  # loads every step

        return self.out.store(recipe_hash(view.preprocess))

    def paths(self) -> dict[str, str]:
        """Series id, as tables show it -> what `read_volume` opens."""
        if self.veil:
            return self.veil.paths()
        return self.out.series.read().set_index("series_id")["path"].to_dict()


def stage_key(stage: str, **inputs: Any) -> str:
    """Hash of a stage's version and of all else that its outputs depend on."""
    return value_hash([stage, VERSIONS[stage], inputs])


def stores(job: Job) -> list[tuple[Study, StoreDirectory, dict[str, Role]]]:
    """Each different preprocessing once, those that a search tries too, with the roles that its runs read."""
    from scan2gene.preprocess.recipe import roles_read

    views = [(view, store) for _, (view, store) in run_stores(job)]
    for one in job.study.runs:
        for steps in one.search.over.get("preprocess", []) if one.search else []:
            view = for_run(job.study, candidate(one, {"preprocess": steps}))
            views.append((view, job.store(view)))
    found: dict[str, tuple[Study, StoreDirectory, set[str]]] = {}
    for view, store in views:
        found.setdefault(store.name, (view, store, set()))[2].update(roles_read(view))
    return [(v, s, {n: r for n, r in v.cohort.roles.items() if n in read}) for v, s, read in found.values()]


def run_stores(job: Job) -> list[tuple[Run, tuple[Study, StoreDirectory]]]:
    """Each run that is a network, its study and its store."""
    from scan2gene.radiomics.clinical import CLASSICAL  # the stages before training need no torch

    views = [(one, for_run(job.study, one)) for one in job.study.runs if one.model.name not in CLASSICAL]
    return [(one, (view, job.store(view))) for one, view in views]


def run_data(job: Job, one: Run, view: Study) -> tuple[Any, np.ndarray]:
    """What a run learns from, and the labels (N, T) of its exams for each output."""
    from scan2gene.train.fold import is_classical, probes

    cohort, labels = job.out.cohort.read(), job.out.labels.read()
    if is_classical(one):
        return cohort, output_values(labels, cohort["patient_id"], outputs(view))
    from scan2gene.data.load import load_samples
    from scan2gene.data.samples import sampling_of

    store = job.store(view).path
    if probes(one):
        return _embedded(job, one, view, store)
    where = (store, sampling_of(view))
    if where not in job.tensors:
        job.tensors.clear()  # one prepared cohort in memory at a time
        manifest = job.store(view).manifest.read()
        job.tensors[where] = load_samples(store, manifest, cohort, labels, sampling_of(view))
        say("", f"  {one.name}: {job.tensors[where].description()}")
    data = job.tensors[where]
    return data, data.targets.numpy()


def _embedded(job: Job, one: Run, view: Study, store: Path) -> tuple[Any, np.ndarray]:
    """What a frozen encoder gives of every exam, in place of images, and the labels."""
    from scan2gene.train.embedded import embedded_cohort, embeddings_key

    where = (embeddings_key(store, view, one), tuple(outputs(view)))
    if where not in job.tensors:
        job.tensors.clear()
        cohort, labels = job.out.cohort.read(), job.out.labels.read()
        job.tensors[where] = embedded_cohort(job.out.path / "embeddings", store, cohort, labels, view, one)
    data = job.tensors[where]
    return data, data.targets.numpy()
