"""The study file's training, prediction, evaluation, maps, search and runs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from scan2gene.core.section import MAX_SEED, Name, Options, Plugin, Section, reasonable


class Split(Section):
    """How patients are divided, stratified over all targets."""

    name: Name
    kind: Literal["holdout", "kfold", "leave_one_site_out"]
    folds: int = Field(5, ge=2, le=100_000, description="kfold only")
    repeats: int = Field(1, ge=1, le=10_000, description="kfold and holdout: repeated with other seeds")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="holdout only")
    validation_fraction: float = Field(
        0.2, ge=0, lt=1, description="share of what is not test; 0: nobody, which early stopping and searches refuse"
    )
    external: list[str] = Field(
        [],
        description="sites kept out of development: every network of this split is tested on their patients, and "
        "nothing is learned, stopped or chosen on them",
    )
    unit: Literal["patient", "slice"] = Field(
        "patient", description="slice: each patient's slices in every part; refused unless allow_leakage is true"
    )

    @property
    def has_validation(self) -> bool:
        """Whether some patients of each fold are neither trained on nor tested."""
        return self.validation_fraction > 0


class Slices(Section):
    """Exams as their slices: a 2D network sees one at a time, and its answers are fused to one per exam."""

    per_patient: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="at most so many slices of a patient, evenly chosen over roles and places; default: all",
    )
    fusion: list[Plugin] = Field(
        [Plugin(name="mean")],
        min_length=1,
        description="from slices to an exam: mean, max, top_k, noisy_or, attention, gated_attention, or late (roles "
        "weighed by validation); the first is the run's answer, the others stand beside it as variants",
    )

    @model_validator(mode="after")
    def _different(self) -> Slices:
        names = [f.name for f in self.fusion]
        if len(set(names)) < len(names):
            raise ValueError("slices.fusion names one way twice")
        return self


class Data(Section):
    """What the network sees."""

    roles: list[Name] = Field([], description="input channels, in this order; default: every intensity role")
    slices: Slices | None = Field(
        None, description="{} for a 2D network on single slices, of all roles alike; default: whole volumes"
    )
    batch_size: int = Field(8, ge=1, le=100_000, description="default: planned from the grid and the memory")
    augment: list[Plugin] = Field(
        [], description="changes of training exams, in order; see the guide; default: planned, [] for none"
    )
    harmonise: Plugin | None = Field(
        None, description="combat: take sites out of the table that a frozen encoder or clinical columns give"
    )


class SiteAdversary(Section):
    """A small network that names the site from the features, whose gradient reaches them turned round."""

    weight: float = Field(1.0, gt=0, description="largest factor of that gradient")
    rise: int = Field(20, ge=1, le=1_000_000, description="epochs in which the factor rises from 0 to `weight`")
    hidden: int = Field(32, ge=1, le=100_000, description="units of its hidden layer")


class Train(Section):
    """The optimisation. Defaults are those of the BRCA study."""

    epochs: int = Field(100, ge=1, le=1_000_000)
    patience: int | None = Field(
        15,
        ge=1,
        le=1_000_000,
        description="early stopping: epochs in which `monitor` does not improve; null: none, "
        "every epoch is trained and the last weights are kept",
    )
    monitor: str = Field(
        "loss",
        description="validation figure that chooses the epoch: loss, auroc, average_precision, balanced_accuracy or "
        "another metric, the mean over targets; or of one target, such as auroc:malignant, its sides together",
    )
    learning_rate: float = Field(1e-3, gt=0, le=1000)
    pretrained_rate: float = Field(
        1.0, gt=0, le=1000, description="factor of the learning rate for layers that start from weights, such as 0.1"
    )
    optimizer: Literal["adam", "adamw", "sgd"] = Field("adam", description="sgd: with Nesterov momentum 0.9")
    weight_decay: float = Field(0.0, ge=0)
    schedule: Plugin = Field(
        Plugin(name="plateau"), description="plateau, one_cycle, cosine, multistep, cyclic or constant, with options"
    )
    accumulate: int = Field(1, ge=1, le=100_000, description="batches whose gradients are added before a step")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="average the weights with this decay; the average is kept")
    class_weights: Literal["none", "balanced"] = Field("none", description="balanced: both classes weigh the same")
    target_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="weight of a target in the loss; default 1"
    )
    balanced_sampling: bool = Field(
        False, description="draw exams so that the classes of every target come equally often"
    )
    site_sampling: bool = Field(
        False, description="draw exams so that every site, and in it every class, comes equally often"
    )
    site_adversary: SiteAdversary | None = Field(
        None, description="{} to learn features from which the site is hard to name (gradient reversal)"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="0.1 turns 0 and 1 into 0.05 and 0.95")
    mixup: float = Field(0.0, ge=0, description="mix pairs of exams; share drawn from Beta(mixup, mixup)")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    devices: int = Field(1, ge=1, le=1_000, description="devices of one fit; each takes a part of every batch")
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    compile: bool = Field(False, description="torch.compile the network; pays on long runs on a GPU")


class Head(Section):
    """What is trained on a frozen encoder."""

    hidden: int = Field(0, ge=0, le=100_000, description="units of a hidden layer; 0: a linear probe")
    dropout: float = Field(0.0, ge=0, lt=1, description="before the last layer")


class Weights(Section):
    """What a network starts from: a released file by name, any file, or a run of your own."""

    name: str | None = Field(None, description="see `scan2gene weights list`; with `run`, the name of its run")
    file: str | None = Field(None, description="a checkpoint, relative to the study file")
    run: str | None = Field(None, description="a run directory, relative to the study file")
    fold: str | None = Field(None, description="with `run`: which of its fits, such as holdout-r0-f0")
    geometry: str | Options | None = Field(
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


class Ensemble(Section):
    """Several runs as one."""

    members: list[Name] = Field(min_length=1, description="two or more runs; of method standardised also ensembles")
    method: Literal["mean", "mean_logit", "late", "standardised"] = Field(
        "mean",
        description="mean of the probabilities, mean_logit: of the logits; late: logits weighed by validation; "
        "standardised: mean of scores in units of their spread over patients who were left out of training",
    )


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


class Evaluate(Section):
    """Intervals and the ledger."""

    bootstrap: int = Field(2000, ge=100, le=1_000_000, description="patient-bootstrap draws behind every 95 % interval")
    prevalence: dict[Name, Annotated[float, Field(gt=0, lt=1)]] = Field(
        {}, description="target -> share of positives where it is to be used, for predictive values there"
    )
    shuffles: int = Field(
        999, ge=0, le=1_000_000, description="shuffles of the labels within sites, each with its own fit; 0: none"
    )
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
        2, ge=0, le=1_000_000, description="surest true and false positives and negatives, so many of each; 0: no maps"
    )
    scored: int = Field(
        20,
        ge=0,
        le=1_000_000,
        description="test patients, drawn at random, whose maps are held against the lesion mask",
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

    over: dict[str, Annotated[list[Any], AfterValidator(reasonable)] | Range] = Field(
        min_length=1, description="key of the run, such as train.learning_rate -> values to choose from, or a range"
    )
    trials: int = Field(20, ge=1, le=100_000, description="fits per fold")
    score: Literal["loss", "auroc"] = Field("loss", description="validation figure of the best epoch that decides")

    @model_validator(mode="after")
    def _no_paths(self) -> Search:
        for key, values in self.over.items():
            inside = {k for v in values if isinstance(v, dict) for k in v} if isinstance(values, list) else set()
            if key in ("weights.file", "weights.run") or (key == "weights" and inside & {"file", "run"}):
                raise ValueError(f"search.over {key}: files and runs cannot be searched; give each a run of its own")
        return self


MEAN_OF_RUNS = "mean_of_runs"  # the model of a run that is an ensemble of method standardised


class Run(Section):
    """One model, and whatever it changes of the study."""

    name: Name
    model: Plugin
    weights: Weights | None = Field(None, description="what the network starts from; default: random numbers")
    preprocess: list[Plugin] | None = None
    data: Annotated[dict[str, Any], _keys_of(Data)] = Field({}, description="keys of `data` that this run changes")
    train: Annotated[dict[str, Any], _keys_of(Train)] = Field({}, description="keys of `train` that this run changes")
    search: Search | None = Field(None, description="settings chosen inside each fold")
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="of weights, order and augmentation; the split stays the study's"
    )
    targets: list[Name] = Field([], description="those that this run learns; default: all, by one network")

    @property
    def members(self) -> list[str]:
        """Runs whose standardised scores this one is the mean of; none of a run that is fitted."""
        return list(self.model.options.get("members", ())) if self.model.name == MEAN_OF_RUNS else []
