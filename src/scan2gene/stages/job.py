"""What the stages share: one study in one run directory, its fits, stores and data."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scan2gene.core.files import value_hash
from scan2gene.core.run_files import File
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.stopwatch import Stopwatch
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import Role
from scan2gene.learners import learner_of, reads_images
from scan2gene.privacy.pseudonyms import Pseudonymiser
from scan2gene.tasks.run_config import RunConfig, resolved

if TYPE_CHECKING:
    from scan2gene.data.samples import Samples

# Raised when a stage writes other files for the same inputs; it is then done again, and so is what reads those files.
# "train" covers the loop, loss, sampling and augmentation; models and steps have a VERSION in their own file.
VERSIONS = {
    "index": 1, "curate": 2, "plan": 2, "split": 1, "split_table": 1, "preprocess": 1, "features": 1, "train": 1,
    "predict": 1, "variants": 1, "altered_features": 1, "embedding-map": 1, "evaluate": 2, "audit": 2, "explain": 1,
    "report": 1,
}  # fmt: skip


class ToDo(Exception):
    """Raised in a dry run where work would begin."""


@dataclass
class Job:
    """One study in one run directory, and what its stages share while they run."""

    study: Study
    out: RunDirectory
    data: dict[Hashable, Samples] = field(default_factory=dict)  # prepared cohorts, by `Learner.data_key`
    pseudonymiser: Pseudonymiser | None = None  # of a study with pseudonyms

    watch: Stopwatch = field(default_factory=Stopwatch)  # of the stage that is running
    worked: bool = False  # it had something to do
    kept: bool = False  # something was done before
    dry: bool = False  # do nothing, stop where work would begin
    minutes: float | None = None  # in which the whole run is to end
    begun: float = field(default_factory=time.monotonic)

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

    @property
    def configs(self) -> list[RunConfig]:
        """Every run of the study."""
        return resolved(self.study)

    def store(self, config: RunConfig) -> StoreDirectory:
        """Of a run."""
        from scan2gene.preprocess.recipe import recipe_hash  # loads every step

        return self.out.store(recipe_hash(config.recipe))

    def paths(self) -> dict[str, str]:
        """Series id, as tables show it -> what `read_volume` opens."""
        if self.pseudonymiser:
            return self.pseudonymiser.paths()
        paths = self.out.series.read().set_index("series_id")["path"].to_dict()
        if any(role.boxes for role in self.study.cohort.roles.values()) and self.out.boxes.exists():
            masks = self.out.boxes.read()
            folder = self.out.box_masks.path.resolve()
            paths |= {identity: str(folder / file) for identity, file in masks.itertuples(index=False)}
        return paths


def stage_key(stage: str, **inputs: Any) -> str:
    """Hash of a stage's version and of all else that its outputs depend on."""
    return value_hash([stage, VERSIONS[stage], inputs])


def stores(job: Job) -> list[tuple[RunConfig, StoreDirectory, dict[str, Role]]]:
    """Each different preprocessing once, those that a search tries too, with the roles that its runs read."""
    from scan2gene.preprocess.recipe import roles_read

    pairs = run_stores(job)
    for config in job.configs:
        pairs += [(tried, job.store(tried)) for tried in config.candidates("preprocess")[1:]]
    found: dict[str, tuple[RunConfig, StoreDirectory, set[str]]] = {}
    for config, store in pairs:
        found.setdefault(store.name, (config, store, set()))[2].update(roles_read(config))
    return [(c, s, {n: r for n, r in c.cohort_roles.items() if n in read}) for c, s, read in found.values()]


def run_stores(job: Job) -> list[tuple[RunConfig, StoreDirectory]]:
    """Each run that reads images, and its store."""
    return [(config, job.store(config)) for config in job.configs if reads_images(config)]


def run_data(job: Job, config: RunConfig) -> Samples:
    """What a run learns from; the data of one run are in memory at a time."""
    learner = learner_of(config)
    key = learner.data_key(config, job.out)
    if key is None:
        return learner.data(config, job.out)
    if key not in job.data:
        job.data.clear()
        job.data[key] = learner.data(config, job.out)
    return job.data[key]
