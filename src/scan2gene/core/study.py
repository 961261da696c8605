"""The study file: one YAML that says everything a run depends on.

Unknown keys are refused. A run may override any part of `preprocess`, `data` and
`train`, so that one study is a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from scan2gene.core.files import value_hash
from scan2gene.core.section import MAX_SEED, Name, Plugin, Section, unknown_name
from scan2gene.core.study_cohort import Cohort, Target, label_files
from scan2gene.core.study_features import Features
from scan2gene.core.study_runs import (
    MEAN_OF_RUNS,
    Data,
    Ensemble,
    Evaluate,
    Explain,
    Predict,
    Run,
    Split,
    Train,
)

SIDES = ("L", "R")  # of the patient


class Study(Section):
    """A whole study: cohort, targets, preprocessing, splits, training, runs."""

    name: Name
    question: str = Field("", description="in plain words; stands at the head of the report")
    seed: int = Field(2026, ge=0, le=MAX_SEED)
    cohort: Cohort
    targets: dict[Name, Target] = Field(min_length=1)
    preprocess: list[Plugin] = Field([], description="steps; default: planned from the cohort")
    features: dict[Name, Features] = Field(
        {}, description="tables of numbers about every exam, for models that read a table; default: planned"
    )
    splits: list[Split] = Field(
        [Split(name="cv", kind="kfold")],
        min_length=1,
        description="default: k-fold, as many as the rarest class allows",
    )
    data: Data = Data()
    train: Train = Train()
    predict: Predict = Predict()
    evaluate: Evaluate = Evaluate()
    explain: Explain = Explain()
    runs: list[Run] = Field([], description="models to compare; default: planned from the cohort")
    ensembles: dict[Name, Ensemble] = Field(
        {}, description="name -> members, two or more runs joined fold by fold, and method: mean, mean_logit or late"
    )
    weights_dir: str | None = Field(
        None, description="folder with released weights; default: that of `scan2gene weights fetch`"
    )
    allow_leakage: bool = Field(
        False, description="for teaching: permits splits by slice; everything the run writes is stamped LEAKY"
    )
    licences: list[str] = Field([], description="licence notes of the data; printed in the report")

    @model_validator(mode="before")
    @classmethod
    def _ensembles_of_before(cls, values: Any) -> Any:
        """Study files of 0.2 have `predict.ensembles`, where a list is a mean of logits, and `predict.late_fusion`."""
        predict = values.get("predict") if isinstance(values, dict) else None
        if not isinstance(predict, dict) or not {"ensembles", "late_fusion"} & set(predict):
            return values
        moved = dict(values.get("ensembles") or {})
        for key, method in (("ensembles", "mean_logit"), ("late_fusion", "late")):
            for name, given in (predict.get(key) or {}).items():
                if name in moved:
                    raise ValueError(f"predict.{key}: there is another ensemble called {name!r}")
                moved[name] = {"members": given, "method": method} if isinstance(given, list) else given
        kept = {k: v for k, v in predict.items() if k not in ("ensembles", "late_fusion")}
        return values | {"predict": kept, "ensembles": moved}

    @model_validator(mode="before")
    @classmethod
    def _standardised_as_runs(cls, values: Any) -> Any:
        """An ensemble of method standardised is a run: it stands in every table as the runs that are its members."""
        if not isinstance(values, dict) or not isinstance(values.get("ensembles"), dict):
            return values
        kept, runs = {}, list(values.get("runs") or [])
        for name, given in values["ensembles"].items():
            if isinstance(given, dict) and given.get("method") == "standardised":
                runs.append(mean_of_runs(str(name), given.get("members") or []))
            else:
                kept[name] = given
        return values | {"ensembles": kept, "runs": runs}

    @model_validator(mode="before")
    @classmethod
    def _asked(cls, values: Any) -> Any:
        """A question from the targets, where none is asked."""
        if isinstance(values, dict) and not values.get("question") and isinstance(values.get("targets"), dict):
            return values | {"question": f"Can {', '.join(map(str, values['targets']))} be predicted from the scans?"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if self.cohort.scans and not input_roles(self):
            raise ValueError("no role has kind 'intensity', so a network has nothing to look at")
        if not self.cohort.scans and not any(block.table for block in self.features.values()):
            raise ValueError("cohort.scans is missing; a study without scans needs features with a table")
        strange = [r for r in self.data.roles if r not in self.cohort.roles]
        if strange:
            raise ValueError(f"data.roles: {unknown_name(strange[0], self.cohort.roles)}")
        for name in self.targets:
            if name.endswith(tuple(f".{side}" for side in SIDES)):
                raise ValueError(
                    f"target {name!r}: names ending in .L and .R are those of a target's two sides; "
                    f"call it {name[:-2]!r} and give its columns as left and right, or name it otherwise"
                )
        for what, names in (("runs", [r.name for r in self.runs]), ("splits", [s.name for s in self.splits])):
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{what} must have different names; {sorted(twice)} appear twice")
        self._check_predict()
        self._check_genes()
        for target in self.evaluate.prevalence:
            if target not in self.targets:
                raise ValueError(f"evaluate.prevalence: {unknown_name(target, self.targets)}")
        self._check_leakage()
        masks = [n for n, r in self.cohort.roles.items() if r.kind == "label"]
        named = [
            ("targets", self.explain.targets, list(self.targets)),
            ("splits", self.explain.splits, [s.name for s in self.splits]),
            ("mask", [self.explain.mask] if self.explain.mask else [], masks),
            ("layer", list(self.explain.layer), [r.name for r in self.runs]),
        ]
        for key, given, known in named:
            for name in given:
                if name not in known and (known or key == "mask"):  # runs and splits may still be planned
                    raise ValueError(f"explain.{key}: {unknown_name(name, known)}")
        for run in self.runs:
            for name in run.targets:
                if name not in self.targets:
                    raise ValueError(f"targets of run {run.name!r}: {unknown_name(name, self.targets)}")
            unknown = [r for r in _data_of(self, run).roles if r not in self.cohort.roles]
            if unknown:
                raise ValueError(f"data.roles of run {run.name!r}: {unknown_name(unknown[0], self.cohort.roles)}")
        return self

    def _check_leakage(self) -> None:
        for split in self.splits:
            if split.unit == "patient":
                continue
            if not self.allow_leakage:
                raise ValueError(
                    f"splits: {split.name!r} divides slices, so a network is tested on patients it was trained on, and "
                    "the figure says nothing about new ones. Use unit: patient; to show the effect on purpose, set "
                    "allow_leakage: true, which stamps everything LEAKY"
                )
            if split.external:
                raise ValueError(f"splits: {split.name!r} keeps sites apart, which is by patient; unit: slice is not")
            if split.kind == "leave_one_site_out":
                raise ValueError(f"splits: {split.name!r} leaves sites out, which is by patient; unit: slice is not")
            seen = [_data_of(self, run) for run in self.runs] or [self.data]
            whole = next((n for n, data in enumerate(seen) if data.slices is None), None)
            if whole is not None:
                name = f"run {self.runs[whole].name!r}" if self.runs else "data"
                raise ValueError(f"splits: {split.name!r} divides slices, and {name} has no data.slices")

    def _check_genes(self) -> None:
        by_gene = [name for name, target in self.targets.items() if target.genes]
        if by_gene and not self.cohort.mutations:
            raise ValueError(f"targets.{by_gene[0]}.genes needs cohort.mutations, the file to read them from")
        others = [name for name in self.targets if name not in by_gene]
        if others and not self.cohort.labels:
            raise ValueError(f"targets.{others[0]} needs cohort.labels with its column, or genes: [{others[0]}]")
        if self.cohort.mutations and not by_gene:
            raise ValueError("cohort.mutations is read for targets with genes, such as IDH: {genes: [IDH1, IDH2]}")

    def _check_predict(self) -> None:
        runs = [run.name for run in self.runs]
        for name, ensemble in self.ensembles.items():
            members = ensemble.members
            if name in runs:
                raise ValueError(f"ensembles: {name!r} is the name of a run; give the ensemble another one")
            if len(set(members)) < 2 or len(set(members)) < len(members):
                raise ValueError(f"ensembles.{name} needs two different runs at least")
            for member in members:
                if member not in runs:
                    raise ValueError(f"ensembles.{name}: run {unknown_name(member, runs)}")
        for run in self.runs:
            for member in run.members:
                if member not in runs:
                    raise ValueError(f"ensembles.{run.name}: run {unknown_name(member, runs)}")
            if run.model.name == MEAN_OF_RUNS and len(set(run.members)) < max(len(run.members), 1):
                raise ValueError(f"ensembles.{run.name} needs runs as members, each once")
        refuse_circles(standardised(self))
        for target in (name for pair in self.predict.swap_targets for name in pair):
            if target not in self.targets:
                raise ValueError(f"predict.swap_targets: target {unknown_name(target, self.targets)}")
            if is_sided(self, target):
                raise ValueError(f"predict.swap_targets: the sides of {target} change places by themselves")
        for left, right in self.predict.swap_targets:
            if list(self.targets[left].classes) != list(self.targets[right].classes):
                raise ValueError(f"predict.swap_targets: {left} and {right} need the same classes")
        if len(set(self.predict.flips)) < len(self.predict.flips):
            raise ValueError("predict.flips names an axis twice")


def _data_of(study: Study, run: Run) -> Data:
    """What a run's network sees."""
    return Data.model_validate(study.data.model_dump() | run.data)


def mean_of_runs(name: str, members: list[str]) -> dict[str, Any]:
    """A run, as a study file has it, that is the mean of other runs' standardised scores."""
    return {"name": name, "model": {"name": MEAN_OF_RUNS, "options": {"members": members}}}


IMAGE, BEST = "image", "best"  # planned means: of what reads the images, and of that with what the clinic knows


def headline(study: Study) -> str:
    """The run that was fixed beforehand as the study's answer; empty where the study names its models itself."""
    return BEST if BEST in standardised(study) else ""


def clinical_half(study: Study) -> str:
    """The run on clinical columns that is a member of the headline: what scans must add to; empty where none is."""
    members = standardised(study).get(headline(study), ())
    return next((run.name for run in study.runs if run.name in members and run.model.name == "clinical"), "")


def headline_first(study: Study) -> list[Run]:
    """Runs in the order in which figures show them: the study's answer, then the others as the study lists them."""
    return sorted(study.runs, key=lambda run: run.name != headline(study))


def standardised(study: Study) -> dict[str, list[str]]:
    """Runs that are means of other runs' standardised scores -> their members."""
    return {run.name: run.members for run in study.runs if run.members}


def members_by(study: Study, method: str) -> dict[str, list[str]]:
    """Names of the ensembles of a method -> their members."""
    return {name: ensemble.members for name, ensemble in study.ensembles.items() if ensemble.method == method}


def refuse_circles(members: Mapping[str, Sequence[str]]) -> None:
    """Refuse ensembles that are members of each other.

    Raises:
        ValueError: With one such circle.
    """
    try:
        TopologicalSorter(members).prepare()
    except CycleError as error:
        raise ValueError(f"ensembles: {' of '.join(error.args[1])} are members of each other") from None


def is_sided(study: Study, name: str) -> bool:
    """True where each side of a patient has its own label of this target."""
    target = study.targets[name]
    return bool(target.left) or (study.cohort.side_column is not None and target.per_side and not target.genes)


def input_roles(study: Study) -> list[str]:
    """Roles that become channels, in channel order."""
    return study.data.roles or [n for n, r in study.cohort.roles.items() if r.kind == "intensity"]


def is_leaky(study: Study) -> bool:
    """True where slices of one patient may stand in several parts."""
    return any(split.unit == "slice" for split in study.splits)


def study_hash(study: Study) -> str:
    """Hash of everything the study file says; of paths only the last part, so that it travels."""
    values = study.model_dump(mode="json")
    cohort = values["cohort"]
    cohort["scans"] = [Path(p).name for p in cohort["scans"]]
    cohort["labels"] = [Path(p).name for p in label_files(study.cohort)]
    for key in ("mutations", "sequenced", "exclude_file"):
        cohort[key] = cohort[key] and Path(cohort[key]).name
    for role in cohort["roles"].values():
        role["boxes"] = role["boxes"] and Path(role["boxes"]).name
    cohort.pop("pseudonyms")  # where the key lies decides nothing
    values["evaluate"].pop("ledger")
    values.pop("weights_dir")
    for run in values["runs"]:
        for source in ("file", "run") if run["weights"] else ():
            run["weights"][source] = run["weights"][source] and Path(run["weights"][source]).name
    values.pop("explain")  # which maps are drawn decides no figure
    return value_hash(values)
