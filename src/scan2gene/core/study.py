"""The study file: one YAML that says everything a run depends on.

Unknown keys are refused. A run may override any part of `preprocess`, `data` and
`train`, so that one study is a comparison.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from scan2gene.core.files import value_hash


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("YAML reads a bare yes, no, on, off, true or false as a truth value; quote it, such as 'yes'")
    return value


Pattern = Annotated[str, AfterValidator(_compiles)]
LabelValue = Annotated[str | int | float, BeforeValidator(_no_truth_value)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
SIDES = ("L", "R")  # of the patient


class Section(BaseModel):
    """Base of every part of the study file: unknown keys refused, values frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Plugin(Section):
    """A function by its name, with keyword options."""

    name: str
    options: dict[str, Any] = {}


class Role(Section):
    """Which series plays a role in an exam. All patterns must be found (case ignored)."""

    match: dict[str, Pattern] = Field(description="column of series.csv -> regular expression that must be found")
    kind: Literal["intensity", "label"] = Field(
        "intensity", description="label: a mask, resampled by nearest neighbour"
    )
    optional: bool = Field(
        False, description="an exam without this role is kept; its channel is zero and marked absent"
    )


class Dates(Section):
    """When an exam was made, against dates of the label table."""

    reference_column: str | None = Field(None, description="column with the day that counts, such as the biopsy's")
    window_days: tuple[float, float] | None = Field(
        None, description="scan minus reference in days, both ends included: [-90, 0] is at most 90 days before"
    )
    treatment_column: str | None = Field(None, description="column with the day of surgery; later exams are left out")
    scan_column: str | None = Field(None, description="column with the day of the scan; default: StudyDate of the scan")
    written: Literal["dmy", "mdy", "days", "excel"] | None = Field(
        None, description="settles 03/04/2020 (dmy or mdy) and 43924 (days since some event, or Excel's serial number)"
    )

    @model_validator(mode="after")
    def _complete(self) -> Dates:
        if self.window_days and not self.reference_column:
            raise ValueError("window_days needs reference_column, the day from which it counts")
        if self.window_days and self.window_days[0] > self.window_days[1]:
            raise ValueError("window_days is [earliest, latest], such as [-90, 0]")
        return self


class MinLesion(Section):
    """The smallest lesion that is kept, measured in a mask."""

    role: Name = Field(description="a role of kind label")
    volume_mm3: float = Field(gt=0)


class Target(Section):
    """A binary label: which values of a column count as positive and as negative."""

    column: str = Field("", description="default: the target's own name")
    left: str = Field("", description="column of the left side; with `right`, in place of `column`")
    right: str = Field("", description="column of the right side")
    per_side: bool = Field(
        True, description="false: one value per patient, although cohort.side_column gives rows per side"
    )
    positive: list[LabelValue] = Field(
        ["1", "mutated", "mutant"], description="cells; an asterisk at the end stands for anything: 'IDH1 p.*'"
    )
    negative: list[LabelValue] = ["0", "not_mutated", "wildtype", "wild type", "wild-type"]
    unknown: list[LabelValue] = Field(
        ["NOS", "NEC", "NOS/NEC"], description="values that mean 'not known', e.g. Indeterminate"
    )
    genes: list[str] = Field(
        [], description="read from cohort.mutations: positive where one of them is mutated, such as [IDH1, IDH2]"
    )
    hotspots: list[str] = Field(
        [], description="with genes: only these protein changes count: R132H, or R132 for any change of that residue"
    )
    variants: list[str] = Field(
        [],
        description="with genes: the Variant_Classification values that count; default: those that change the protein",
    )

    @model_validator(mode="after")
    def _two_sides(self) -> Target:
        if self.genes and self.left:
            raise ValueError("genes are those of the patient; give genes, or left and right")
        if (self.hotspots or self.variants) and not self.genes:
            raise ValueError("hotspots and variants go with genes")
        if bool(self.left) != bool(self.right):
            raise ValueError("left and right go together, one column each")
        if self.left and self.column:
            raise ValueError("give column, or left and right; not both")
        return self


class Cohort(Section):
    """Where scans and labels lie and how they are joined."""

    scans: list[str] = Field(min_length=1, description="folders or files, relative to the study file")
    labels: str | list[str] = Field(
        "",
        description="CSV, TSV or Excel table, one row per patient, or per side with side_column; of several tables, "
        "cells that disagree are an error",
    )
    mutations: str | None = Field(
        None, description="MAF, cBioPortal data_mutations.txt or annotated VCF, or a folder of them; for targets.genes"
    )
    sequenced: str | None = Field(
        None,
        description="file with the ids of sequenced patients or samples: without mutation they are 0, all others "
        "unknown; default: whoever has a row in `mutations`",
    )
    sequenced_column: str | None = Field(
        None, description="in place of `sequenced`: a column of the label table that says 1 or yes"
    )
    sheet: str | None = Field(None, description="sheet of an Excel table; default: the first")
    header_rows: int | None = Field(
        None, ge=1, le=5, description="rows of the table's header; default: found by itself"
    )
    unknown: list[LabelValue] = Field(
        [], description="cells of the label table that mean 'not known', beside the usual spellings; e.g. NP"
    )
    patient_column: str = "patient_id"
    label_id_pattern: Pattern | None = Field(
        None,
        description="group 1 is the patient id in a cell of patient_column; rows where it is not found are left out",
    )
    patient_pattern: Pattern | None = Field(
        None, description="group 1 is the patient id in a scan's path; needed for NIfTI, which carries none"
    )
    side_column: str | None = Field(
        None, description="column of the label table with the side that a row is about: L, R, left, Right breast, both"
    )
    site_column: str | None = Field(None, description="column of the label table: institution, for splits by site")
    clinical: list[str] = Field([], description="numeric columns kept for clinical baselines, e.g. age")
    include: dict[str, Pattern] = Field({}, description="series are kept only where these patterns are found")
    exclude: dict[str, Pattern] = Field({}, description="series are left out where one of these patterns is found")
    exclude_file: str | None = Field(None, description="CSV with patient_id or series_id and reason")
    pseudonyms: str | None = Field(
        None, description="key file (CSV: patient_id, pseudonym; made if missing); only pseudonyms are then shown"
    )
    roles: dict[Name, Role] = Field(min_length=1)
    dates: Dates | None = Field(None, description="which exams are of the right time")
    min_lesion: MinLesion | None = Field(None, description="exams with a smaller lesion are left out")
    exams: Literal["all", "first", "nearest"] = Field(
        "all", description="of a patient's exams: all, the first, or the one nearest to dates.reference_column"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Cohort:
        if not self.labels and not self.mutations:
            raise ValueError("labels is missing: the table of what is to be predicted (or mutations, for genes)")
        if self.sequenced and self.sequenced_column:
            raise ValueError("give sequenced or sequenced_column, not both")
        if (self.sequenced or self.sequenced_column) and not self.mutations:
            raise ValueError("sequenced and sequenced_column go with mutations")
        needs = {"side_column", "site_column", "clinical", "sequenced_column"} if not self.labels else set()
        for key in sorted(k for k in needs if getattr(self, k)):
            raise ValueError(f"{key} is a column of the label table, and there are no labels")
        if self.exams == "nearest" and not (self.dates and self.dates.reference_column):
            raise ValueError("exams: nearest needs dates.reference_column, the day that it is near to")
        if self.min_lesion:
            masks = [n for n, r in self.roles.items() if r.kind == "label"]
            if self.min_lesion.role not in masks:
                raise ValueError(
                    f"min_lesion.role: {unknown_name(self.min_lesion.role, masks)} It takes a kind: label."
                )
        return self


class Split(Section):
    """How patients are divided; always by patient, stratified over all targets."""

    name: Name
    kind: Literal["holdout", "kfold", "leave_one_site_out"]
    folds: int = Field(5, ge=2, description="kfold only")
    repeats: int = Field(1, ge=1, description="kfold and holdout: repeated with other seeds")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="holdout only")
    validation_fraction: float = Field(0.2, gt=0, lt=1, description="share of what is not test")


class Data(Section):
    """What the network sees."""

    roles: list[Name] = Field([], description="input channels, in this order; default: every intensity role")
    batch_size: int = Field(8, ge=1, description="default: planned from the grid and the memory")
    augment: list[Plugin] = Field(
        [], description="changes of training exams, in order; see the guide; default: planned, [] for none"
    )


class Train(Section):
    """The optimisation. Defaults are those of the BRCA study."""

    epochs: int = Field(100, ge=1)
    patience: int = Field(15, ge=1, description="early stopping: epochs without a better validation loss")
    learning_rate: float = Field(1e-3, gt=0)
    pretrained_rate: float = Field(
        1.0, gt=0, description="factor of the learning rate for layers that start from weights, such as 0.1"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="sgd: with Nesterov momentum 0.9")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Plugin = Field(
        Plugin(name="plateau"), description="plateau, cosine, multistep, cyclic or constant, with options"
    )
    accumulate: int = Field(1, ge=1, description="batches whose gradients are added before a step")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="average the weights with this decay; the average is kept")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: both classes weigh the same")
    target_weights: dict[str, float] = Field({}, description="weight of a target in the loss; default 1")
    balanced_sampling: bool = Field(
        False, description="draw exams so that the classes of every target come equally often"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="0.1 turns 0 and 1 into 0.05 and 0.95")
    mixup: float = Field(0.0, ge=0, description="mix pairs of exams; share drawn from Beta(mixup, mixup)")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1, description="devices of one fit; each takes a part of every batch")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = Field(False, description="torch.compile the network; pays on long runs on a GPU")


class Head(Section):
    """What is trained on a frozen encoder."""

    hidden: int = Field(0, ge=0, description="units of a hidden layer; 0: a linear probe")
    dropout: float = Field(0.0, ge=0, lt=1, description="before the last layer")


class Weights(Section):
    """What a network starts from: a released file by name, any file, or a run of your own."""

    name: str | None = Field(None, description="see `scan2gene weights list`; with `run`, the name of its run")
    file: str | None = Field(None, description="a checkpoint, relative to the study file")
    run: str | None = Field(None, description="a run directory, relative to the study file")
    fold: str | None = Field(None, description="with `run`: which of its fits, such as holdout-r0-f0")
    geometry: str | dict[str, Any] | None = Field(
        None, description="strides, dilations and shortcut that `file` was trained with, by name or written out"
    )
    channels: Literal["adapt"] | None = Field(
        None, description="adapt: fit the first layer of `file` to another number of channels"
    )
    freeze: Literal["all", "none"] | list[str] = Field(
        "none", description="all: embed every exam once and train a head on it; or prefixes of layers"
    )
    head: Head | None = Field(None, description="with `freeze: all`; default: linear")
    other_patients: bool = Field(
        False, description="with `run`: its patients are others than ours, though some ids are the same"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Weights:
        sources = [n for n in ("file", "run") if getattr(self, n)] or (["name"] if self.name else [])
        if len(sources) != 1 or (self.file and self.name):
            raise ValueError("weights need one of name, file and run; with run, name is the name of its run")
        if not self.run and (self.fold or self.other_patients):
            raise ValueError("weights: fold and other_patients go with run")
        if not self.file and (self.geometry or self.channels):
            raise ValueError("weights: geometry and channels go with file; a released file and a run bring theirs")
        if self.head and self.freeze != "all":
            raise ValueError("weights: head goes with freeze: all")
        return self

    @property
    def probes(self) -> bool:
        """True when only a head is trained, on stored embeddings."""
        return self.freeze == "all"


class Predict(Section):
    """What is predicted beside the exams as they are."""

    flips: list[Literal["i", "j", "k"]] = Field(
        [], description="test-time augmentation: logits averaged over copies mirrored along these axes, in all ways"
    )
    swap_axis: Literal["i", "j", "k"] = Field(
        "i", description="the axis from left to right: i after `reorient`; mirrored along it, sides change places"
    )
    swap_targets: list[tuple[Name, Name]] = Field(
        [], description="pairs of targets that mean left and right without being declared so"
    )
    ensembles: dict[Name, list[Name]] = Field({}, description="name -> two or more runs whose logits are averaged")


class Evaluate(Section):
    """Intervals and the ledger."""

    bootstrap: int = Field(2000, ge=100, description="patient-bootstrap draws behind every 95 % interval")
    ledger: str | None = Field(None, description="CSV to which every evaluation of a real cohort is appended")


class Explain(Section):
    """Maps of where each network looks, on test patients."""

    methods: list[Plugin] = Field(
        [Plugin(name="hires_cam"), Plugin(name="grad_cam_pp")],
        min_length=1,
        description="hires_cam, grad_cam, grad_cam_pp, smooth_grad, integrated_gradients, gradient_shap, occlusion, "
        "with options; the report shows the first",
    )
    exams: int = Field(
        2, ge=0, description="surest true and false positives and negatives, so many of each; 0: no maps"
    )
    scored: int = Field(
        20, ge=0, description="test patients, drawn at random, whose maps are held against the lesion mask"
    )
    targets: list[Name] = Field([], description="default: every target")
    splits: list[Name] = Field([], description="default: the first split")
    mask: Name | None = Field(None, description="role of the lesion; default: the first of kind label")
    layer: dict[Name, str] = Field(
        {}, description="run -> layer whose activations the CAM methods weigh; default: the network's own choice"
    )


def _keys_of(section: type[Section]) -> AfterValidator:
    """Check overrides where they stand, so that a mistake is named with its line."""

    def check(values: dict[str, Any]) -> dict[str, Any]:
        section.model_validate(values)
        return values

    return AfterValidator(check)


class Range(Section):
    """Numbers between two ends, both included; whole numbers when both ends are."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="search on a logarithmic scale")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("low must be below high, and above 0 where log is true")
        return self


class Search(Section):
    """Settings that each fold chooses by its own validation part; the test part is never seen."""

    over: dict[str, list[Any] | Range] = Field(
        min_length=1, description="key of the run, such as train.learning_rate -> values to choose from, or a range"
    )
    trials: int = Field(20, ge=1, description="fits per fold")
    score: Literal["loss", "auroc"] = Field("loss", description="validation figure of the best epoch that decides")

    @model_validator(mode="after")
    def _no_paths(self) -> Search:
        for key, values in self.over.items():
            inside = {k for v in values if isinstance(v, dict) for k in v} if isinstance(values, list) else set()
            if key in ("weights.file", "weights.run") or (key == "weights" and inside & {"file", "run"}):
                raise ValueError(f"search.over {key}: files and runs cannot be searched; give each a run of its own")
        return self


class Run(Section):
    """One model, and whatever it changes of the study."""

    name: Name
    model: Plugin
    weights: Weights | None = Field(None, description="what the network starts from; default: random numbers")
    preprocess: list[Plugin] | None = None
    data: Annotated[dict[str, Any], _keys_of(Data)] = Field({}, description="keys of `data` that this run changes")
    train: Annotated[dict[str, Any], _keys_of(Train)] = Field({}, description="keys of `train` that this run changes")
    search: Search | None = Field(None, description="settings chosen inside each fold")
    seed: int | None = Field(None, ge=0, description="of weights, order and augmentation; the split stays the study's")
    targets: list[Name] = Field([], description="those that this run learns; default: all, by one network")


class Study(Section):
    """A whole study: cohort, targets, preprocessing, splits, training, runs."""

    name: Name
    question: str = Field("", description="in plain words; stands at the head of the report")
    seed: int = Field(2026, ge=0)
    cohort: Cohort
    targets: dict[Name, Target] = Field(min_length=1)
    preprocess: list[Plugin] = Field([], description="steps; default: planned from the cohort")
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
    weights_dir: str | None = Field(
        None, description="folder with released weights; default: that of `scan2gene weights fetch`"
    )
    licences: list[str] = Field([], description="licence notes of the data; printed in the report")

    @model_validator(mode="before")
    @classmethod
    def _asked(cls, values: Any) -> Any:
        """A question from the targets, where none is asked."""
        if isinstance(values, dict) and not values.get("question") and isinstance(values.get("targets"), dict):
            return values | {"question": f"Can {', '.join(map(str, values['targets']))} be predicted from the scans?"}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        if not input_roles(self):
            raise ValueError("no role has kind 'intensity', so a network has nothing to look at")
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
            view = for_run(self, run)
            unknown = [r for r in view.data.roles if r not in self.cohort.roles]
            if unknown:
                raise ValueError(f"data.roles of run {run.name!r}: {unknown_name(unknown[0], self.cohort.roles)}")
        return self

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
        for name, members in self.predict.ensembles.items():
            if name in runs:
                raise ValueError(f"predict.ensembles: {name!r} is the name of a run; give the ensemble another one")
            if len(set(members)) < 2 or len(set(members)) < len(members):
                raise ValueError(f"predict.ensembles.{name} needs two different runs at least")
            for member in members:
                if member not in runs:
                    raise ValueError(f"predict.ensembles.{name}: run {unknown_name(member, runs)}")
        for target in (name for pair in self.predict.swap_targets for name in pair):
            if target not in self.targets:
                raise ValueError(f"predict.swap_targets: target {unknown_name(target, self.targets)}")
            if is_sided(self, target):
                raise ValueError(f"predict.swap_targets: the sides of {target} change places by themselves")
        if len(set(self.predict.flips)) < len(self.predict.flips):
            raise ValueError("predict.flips names an axis twice")


def for_run(study: Study, run: Run) -> Study:
    """The study as one run sees it, its overrides applied and checked."""
    train = study.train.model_dump() | run.train
    targets = {n: t for n, t in study.targets.items() if not run.targets or n in run.targets}
    if run.targets and "target_weights" not in run.train:
        train["target_weights"] = {n: w for n, w in train["target_weights"].items() if n in targets}
    return study.model_copy(
        update={
            "seed": study.seed if run.seed is None else run.seed,
            "targets": targets,
            "preprocess": study.preprocess if run.preprocess is None else run.preprocess,
            "data": Data.model_validate(study.data.model_dump() | run.data),
            "train": Train.model_validate(train),
        }
    )


def candidate(run: Run, values: dict[str, Any]) -> Run:
    """A run with some of its keys set, and without its search.

    Args:
        run: The run.
        values: Dotted key, such as train.learning_rate or model.options.dropout -> value.

    Raises:
        ValueError: A key or value that a run cannot have (pydantic names it).
    """
    changed = run.model_dump(exclude={"search"})
    for key, value in values.items():
        here = changed
        *path, last = key.split(".")
        for part in path:
            if here.get(part) is None:
                here[part] = {}
            here = here[part]
        here[last] = value
    return Run.model_validate(changed)


def candidates(run: Run, section: str) -> list[Run]:
    """The run, and what its search makes of it by each single value of a section's keys.

    Args:
        run: With or without a search.
        section: Such as "weights".
    """
    over = run.search.over if run.search else {}
    tried = [
        candidate(run, {key: value})
        for key, values in over.items()
        if key.split(".")[0] == section and isinstance(values, list)
        for value in values
    ]
    return [run, *tried]


def is_sided(study: Study, name: str) -> bool:
    """True where each side of a patient has its own label of this target."""
    target = study.targets[name]
    return bool(target.left) or (study.cohort.side_column is not None and target.per_side and not target.genes)


def label_files(cohort: Cohort) -> list[str]:
    """The label tables, however they are written; none where all targets are read from mutations."""
    files = [cohort.labels] if isinstance(cohort.labels, str) else cohort.labels
    return [file for file in files if file]


def input_roles(study: Study) -> list[str]:
    """Roles that become channels, in channel order."""
    return study.data.roles or [n for n, r in study.cohort.roles.items() if r.kind == "intensity"]


def study_hash(study: Study) -> str:
    """Hash of everything the study file says; of paths only the last part, so that it travels."""
    values = study.model_dump(mode="json")
    cohort = values["cohort"]
    cohort["scans"] = [Path(p).name for p in cohort["scans"]]
    cohort["labels"] = [Path(p).name for p in label_files(study.cohort)]
    for key in ("mutations", "sequenced", "exclude_file"):
        cohort[key] = cohort[key] and Path(cohort[key]).name
    cohort.pop("pseudonyms")  # where the key lies decides nothing
    values["evaluate"].pop("ledger")
    values.pop("weights_dir")
    for run in values["runs"]:
        for source in ("file", "run") if run["weights"] else ():
            run["weights"][source] = run["weights"][source] and Path(run["weights"][source]).name
    values.pop("explain")  # which maps are drawn decides no figure
    return value_hash(values)


def unknown_name(name: str, valid: Any) -> str:
    """'x' is unknown. Valid: ... Did you mean ...?"""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"{name!r} is not known; valid: {', '.join(names)}.{hint}"
