"""One run of a study with everything set: all that training, prediction and maps know of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from scan2gene.core.section import Plugin
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import Role
from scan2gene.core.study_features import Features
from scan2gene.core.study_runs import Data, Predict, Run, Search, Split, Train, Weights
from scan2gene.tasks.outputs import Output, names_of, outputs, stem_of


@dataclass(frozen=True)
class RunConfig:
    """A run of a study, what it changes of the study applied and checked.

    Args:
        run: As the study file has it.
        model: Name and options.
        weights: What the network starts from; None for random numbers.
        seed: Of weights, order and augmentation.
        study_seed: Of splits and searches.
        outputs: What the network answers, in order.
        recipe: Steps of the preprocessing.
        data: What the network sees.
        train: The optimisation.
        predict: What is predicted beside the exams as they are.
        splits: All of the study.
        cohort_roles: All of the study, by name.
        clinical: Columns of cohort.csv that a model may read.
        features: Tables of features that a model may read, by name.
        has_sites: Whether the site of a patient is a column of the label table.
        weights_dir: Folder with released weights; None for the usual one.
        layer: Whose activations maps weigh; None for the network's own choice.
    """

    run: Run
    model: Plugin
    weights: Weights | None
    seed: int
    study_seed: int
    outputs: tuple[Output, ...]
    recipe: tuple[Plugin, ...]
    data: Data
    train: Train
    predict: Predict
    splits: tuple[Split, ...]
    cohort_roles: Mapping[str, Role]
    clinical: tuple[str, ...]
    features: Mapping[str, Features]
    has_sites: bool
    weights_dir: str | None
    layer: str | None

    @property
    def name(self) -> str:
        """Of the run."""
        return self.run.name

    @property
    def search(self) -> Search | None:
        """Settings that each fit chooses; a candidate of a search has none."""
        return self.run.search

    @property
    def roles(self) -> list[str]:
        """Roles that the network sees, in order."""
        return self.data.roles or [n for n, r in self.cohort_roles.items() if r.kind == "intensity"]

    @property
    def channels(self) -> list[str]:
        """Names of the network's input channels: the roles, or one slice of any of them."""
        return ["slice"] if self.is_slices else self.roles

    @property
    def targets(self) -> list[str]:
        """Names of the targets that the network learns."""
        return list(dict.fromkeys(output.target for output in self.outputs))

    @property
    def output_names(self) -> list[str]:
        """Names of the network's columns of logits."""
        return names_of(self.outputs)

    @property
    def num_logits(self) -> int:
        """Columns that a network needs for the whole patient, or for one side of one."""
        return len({stem_of(name) for name in self.output_names})

    @property
    def has_sides(self) -> bool:
        """True where a target is known per side."""
        return any(output.side for output in self.outputs)

    @property
    def is_slices(self) -> bool:
        """True where the network sees single slices."""
        return self.data.slices is not None

    @property
    def probes(self) -> bool:
        """True where a head is trained on stored embeddings of a frozen encoder."""
        return self.weights is not None and self.weights.probes

    @property
    def is_leaky(self) -> bool:
        """True where slices of one patient may stand in several parts."""
        return any(split.unit == "slice" for split in self.splits)

    def with_values(self, values: Mapping[str, Any]) -> RunConfig:
        """A candidate of the run's search, which has none itself.

        Args:
            values: Key of the run, such as train.learning_rate or model.options.dropout -> value.

        Raises:
            ValueError: A key or value that a run cannot have (pydantic names it).
        """
        changed = self.run.model_dump(exclude={"search"})
        for key, value in values.items():
            here = changed
            *path, last = key.split(".")
            for part in path:
                if here.get(part) is None:
                    here[part] = {}
                here = here[part]
            here[last] = value
        return self._changed_by(Run.model_validate(changed))

    def candidates(self, section: str) -> list[RunConfig]:
        """The run itself, and each value that its search tries of a section's keys, such as "weights"."""
        over = self.search.over if self.search else {}
        keys = [key for key, values in over.items() if key.split(".")[0] == section and isinstance(values, list)]
        return [self, *(self.with_values({key: value}) for key in keys for value in over[key])]

    def _changed_by(self, run: Run) -> RunConfig:
        train = self.train.model_dump() | run.train
        if run.targets and "target_weights" not in run.train:
            train["target_weights"] = {n: w for n, w in train["target_weights"].items() if n in run.targets}
        return replace(
            self,
            run=run,
            model=run.model,
            weights=run.weights,
            seed=self.seed if run.seed is None else run.seed,
            outputs=tuple(o for o in self.outputs if not run.targets or o.target in run.targets),
            recipe=self.recipe if run.preprocess is None else tuple(run.preprocess),
            data=Data.model_validate(self.data.model_dump() | run.data),
            train=Train.model_validate(train),
        )


def resolve(study: Study, run: Run) -> RunConfig:
    """A run of a study."""
    config = RunConfig(
        run, run.model, run.weights, study.seed, study.seed, tuple(outputs(study)), tuple(study.preprocess), study.data,
        study.train, study.predict, tuple(study.splits), study.cohort.roles, tuple(study.cohort.clinical),
        study.features, bool(study.cohort.site_column), study.weights_dir, study.explain.layer.get(run.name),
    )  # fmt: skip
    return config._changed_by(run)


def resolved(study: Study) -> list[RunConfig]:
    """Every run of a study that is fitted: means of other runs are not."""
    return [resolve(study, run) for run in study.runs if not run.members]
