"""Sentences about networks, what they started from, training, and the division of patients."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from scan2gene.core.started import RANDOM, started
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import PARTS
from scan2gene.core.text import count_range, counted, listed, percent
from scan2gene.report.inputs import Inputs, baseline_columns, monitor_text
from scan2gene.report.statements import Statement
from scan2gene.stats.table_models import MODELS as TABLE_MODELS
from scan2gene.tasks.run_config import resolve

# model -> what it is, and what it cites
MODELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "light_cnn": ("a 3D convolutional network of five layers", ()),
    "attention_cnn": ("a 3D convolutional network of five layers with gated attention over cells", ("Ilse2018",)),
    "light_cnn2d": ("a 2D convolutional network of five layers", ()),
    "resnet10": ("a 3D residual network of 10 layers", ("He2016", "Hara2018")),
    "resnet18": ("a 3D residual network of 18 layers", ("He2016", "Hara2018")),
    "resnet34": ("a 3D residual network of 34 layers", ("He2016", "Hara2018")),
    "resnet50": ("a 3D residual network of 50 layers", ("He2016", "Hara2018")),
    "resnet25d": ("a 2D residual network of 18 layers that saw every slice and pooled them", ("He2016", "Ilse2018")),
    "vit3d": ("a 3D vision transformer", ("Dosovitskiy2021", "Bai2024")),
    "swin3d": ("a 3D transformer with shifted windows", ("Liu2022",)),
    "alexnet2d": ("AlexNet in one column", ("Krizhevsky2012",)),
    "se_resnet50": ("a 2D residual network of 50 layers with squeeze and excitation", ("He2016", "Hu2018")),
    "convnextv2": ("ConvNeXt V2", ("Woo2023",)),
    "convnextv2_plain": ("six ConvNeXt blocks of 96 channels without response normalisation", ("Woo2023",)),
    "vision_lstm": ("bidirectional LSTM layers over patches", ()),
    "vil": ("a Vision-LSTM", ("Alkin2024",)),
    "vit2d": ("a vision transformer", ("Dosovitskiy2021",)),
}
OPTIMIZERS = {
    "adam": ("Adam", ("Kingma2015",)),
    "adamw": ("AdamW", ("Loshchilov2019",)),
    "sgd": ("stochastic gradient descent with Nesterov momentum 0.9", ()),
}
STARTS = {"medicalnet": "Chen2019", "kinetics-": "Hara2018", "m3d": "Bai2024", "kinetics400": "Liu2022"}


def networks(inputs: Inputs) -> Iterator[Statement]:
    """Each run: what it is, how large, what it started from."""
    for run in inputs.study.runs:
        columns = baseline_columns(run)
        if columns:
            names = listed([inputs.hide(c) for c in columns])
            yield Statement(
                "model", f"The run {run.name} was a ridge logistic regression on {names}.", "study.yaml, runs"
            )
            continue
        if run.members:
            yield Statement(
                "model",
                f"The run {run.name} was the mean of the scores of {listed(run.members)}, each in units of its spread "
                "over training patients whom inner folds left out; nothing was chosen or weighed.",
                "study.yaml, runs; ensembles.csv",
            )
            continue
        tables = run.model.options.get("features", ())
        read = [*(f"the features {name}" for name in tables), *run.model.options.get("columns", ())]
        if read:
            words = first_clause(TABLE_MODELS[run.model.name])
            yield Statement(
                "model", f"The run {run.name} read {inputs.hide(listed(read))}: {words}.", "study.yaml, runs"
            )
            continue
        words, cites = MODELS[run.model.name]
        begun = started(inputs.files, run.name, inputs.study.splits[0].name)
        options = _options(run.model.options)
        size = f", {begun.parameters:,} parameters" if begun.parameters is not None else ""
        yield Statement(
            "model",
            f"The run {run.name} was {words} ({run.model.name}{options}{size}).",
            "study.yaml, runs; experiments/*/*/network.json",
            cites,
        )
    yield from _starts(inputs)


def first_clause(model: Callable[..., Any]) -> str:
    """What a model on tables is, from the first words of its docstring."""
    words = str(model.__doc__).partition("\n")[0].partition(";")[0].partition(",")[0].rstrip(".")
    return words[0].lower() + words[1:]


def _options(options: dict[str, Any]) -> str:
    shown = {k: v for k, v in options.items() if isinstance(v, int | float | str) and "/" not in str(v)}
    return "".join(f", {k} {v}" for k, v in shown.items())


def _starts(inputs: Inputs) -> Iterator[Statement]:
    """What networks started from; those that began with random numbers in one sentence for each seed."""
    split = inputs.study.splits[0].name
    begun = {run.name: started(inputs.files, run.name, split) for run in inputs.study.runs}
    seeds: dict[int, list[str]] = {}
    for run in inputs.study.runs:
        if begun[run.name].weights == (RANDOM,):
            seeds.setdefault(resolve(inputs.study, run).seed, []).append(run.name)
    for seed, names in seeds.items():
        yield Statement(
            "start",
            f"{listed(names)} started from random weights (seed {seed}).",
            "experiments/*/*/best.pt; study.yaml, seed",
        )
    for name, start in begun.items():
        if not start.weights or start.weights == (RANDOM,):
            continue
        cites = (key for weights in start.weights for head, key in STARTS.items() if weights.startswith(head))
        frozen = "; its encoder stayed frozen" if start.frozen == "all" else ""
        frozen = frozen or (f"; the layers {start.frozen} stayed frozen" if start.frozen else "")
        named = listed([inputs.hide(weights) for weights in start.weights], "or")
        yield Statement(
            "start",
            f"{name} started from {named}{frozen}.",
            "experiments/*/*/weights.json",
            tuple(dict.fromkeys(cites)),
        )


def weight_records(inputs: Inputs) -> list[dict[str, str]]:
    """Run, weights, licence, training data and page of what networks started from, as their fits kept it."""
    found = []
    for run in inputs.study.runs:
        for fit in inputs.files.fits(run.name):
            kept = fit.weights.read({})
            row = {"run": run.name, "weights": inputs.hide(str(kept.get("weights") or ""))}
            row |= {key: str(kept.get(key) or "") for key in ("licence", "training_data", "page")}
            if row not in found and row["weights"] not in ("", RANDOM):
                found.append(row)
    return found


def training(inputs: Inputs) -> Iterator[Statement]:
    """How each group of runs with the same settings was trained, and how long it really took."""
    groups: dict[str, list[Run]] = {}
    for run in inputs.study.runs:
        if run.name in inputs.stores:
            config = resolve(inputs.study, run)
            key = json.dumps([config.train.model_dump(mode="json"), config.data.batch_size], sort_keys=True)
            groups.setdefault(key, []).append(run)
    for runs in groups.values():
        config = resolve(inputs.study, runs[0])
        of = f"For {listed([r.name for r in runs])}, " if len(groups) > 1 else ""
        train = config.train
        name, cites = OPTIMIZERS[train.optimizer]
        unit = "slices" if config.is_slices else "exams"
        extra = _extras(train)
        yield Statement(
            "training",
            f"{of}{'b' if of else 'B'}inary cross-entropy over known labels was minimised with {name} "
            f"(learning rate {train.learning_rate:g}, schedule {train.schedule.name}"
            f"{_options(train.schedule.options)}, weight decay {train.weight_decay:g}) in batches of "
            f"{config.data.batch_size} {unit}{extra}.",
            "study.yaml, train, data.batch_size",
            cites + (("Zhang2018",) if train.mixup else ()),
        )
        watched = monitor_text(train.monitor)
        ended = (
            f"raining ended after {train.patience} epochs without a better {watched}, or after {train.epochs} epochs, "
            f"and the weights of the epoch with the best {watched} were kept."
        )
        if train.patience is None:
            ended = (f"raining lasted {train.epochs} epochs without early stopping, and the "
                     f"{'averaged' if train.ema else 'last'} weights were kept.")  # fmt: skip
        yield Statement(
            "selection",
            f"{of}{'t' if of else 'T'}{ended}",
            "study.yaml, train.patience, train.epochs, train.monitor",
        )
    yield from _epochs(inputs)
    yield from _augmentation(inputs)
    for run in inputs.study.runs:
        if run.search:
            keys = listed(list(run.search.over))
            yield Statement(
                "search",
                f"For {run.name}, {keys} were chosen in each fold by the best validation "
                f"{'loss' if run.search.score == 'loss' else 'AUROC'} of {counted(run.search.trials, 'trial')}.",
                "study.yaml, runs.search; experiments/*/*/search.json",
                ("Akiba2019",),
            )


def _extras(train: Any) -> str:
    told = []
    if train.accumulate > 1:
        told.append(f"gradients of {train.accumulate} batches added")
    if train.clip_norm:
        told.append(f"gradients clipped to norm {train.clip_norm:g}")
    if train.ema:
        told.append(f"a running average of the weights (decay {train.ema:g}) kept")
    if train.label_smoothing:
        told.append(f"label smoothing {train.label_smoothing:g}")
    if train.mixup:
        told.append(f"mixup {train.mixup:g}")
    if train.precision != "32-true":
        told.append(f"precision {train.precision}")
    return f", with {listed(told)}" if told else ""


def imbalance(inputs: Inputs) -> Iterator[Statement]:
    """Whether classes were weighed or drawn unlike their frequency."""
    for run in inputs.study.runs:
        if run.name not in inputs.stores:
            continue
        train = resolve(inputs.study, run).train
        done = ["both classes of a target weighed the same in the loss"] if train.class_weights == "balanced" else []
        done += ["exams were drawn so that classes came equally often"] if train.balanced_sampling else []
        if train.site_sampling:
            done.append("exams were drawn so that every site, and in it every class, came equally often")
        if done:
            yield Statement(
                "imbalance",
                f"In {run.name}, {listed(done)}.",
                "study.yaml, train.class_weights, train.balanced_sampling, train.site_sampling",
            )


def _epochs(inputs: Inputs) -> Iterator[Statement]:
    """Epochs that the fits really ran for, from their histories."""
    groups: dict[tuple[int, str], list[str]] = {}
    for run in inputs.study.runs:
        lengths = [len(t) for split in inputs.study.splits for _, _, t in inputs.history(run.name, split.name)]
        if lengths:
            groups.setdefault((len(lengths), count_range(lengths)), []).append(run.name)
    for (fits, epochs), names in groups.items():
        each = " each" if len(names) > 1 else ""
        text = f"{listed(names)} had {counted(fits, 'fit')}{each}, which ran for {epochs} epochs."
        yield Statement("epochs", text, "experiments/*/*/history.csv")


def _augmentation(inputs: Inputs) -> Iterator[Statement]:
    by_steps: dict[str, list[str]] = {}
    for run in inputs.study.runs:
        if run.name in inputs.stores:
            steps = resolve(inputs.study, run).data.augment
            told = listed([f"{s.name}{_in_brackets(s.options)}" for s in steps])
            by_steps.setdefault(told, []).append(run.name)
    for told, names in by_steps.items():
        of = f" of {listed(names)}" if len(by_steps) > 1 else ""
        text = f"Training exams{of} were augmented by {told}." if told else f"Training exams{of} were not augmented."
        yield Statement("augmentation", text, "study.yaml, data.augment")


def _in_brackets(options: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        return " ".join(str(v) for v in value) if isinstance(value, list | tuple) else str(value)

    return f" ({', '.join(f'{k} {shown(v)}' for k, v in options.items())})" if options else ""


def partitions(inputs: Inputs) -> Iterator[Statement]:
    """Each split: what it is, of what, how many in each part."""
    for split in inputs.study.splits:
        unit = "patient" if split.unit == "patient" else "slice, which leaks"
        even = "stratified over the targets"
        again = f", repeated {split.repeats} times" if split.repeats > 1 else ""
        what = {
            "kfold": f"{split.folds}-fold cross-validation by {unit}, {even}{again}",
            "holdout": f"a test part of {percent(split.test_fraction, exact=True)} held out by {unit}, {even}{again}",
            "leave_one_site_out": "every site tested once, by networks that saw none of its patients",
        }[split.kind]
        yield Statement(
            "split",
            f"The split {split.name} was {what}; "
            + (
                f"{percent(split.validation_fraction, exact=True)} of the rest were validation patients."
                if split.has_validation
                else "all others were trained on."
            ),
            "study.yaml, splits; split.csv",
        )
        if split.unit == "slice":
            yield Statement("part sizes", "Slices of every patient stood in every part.", "split.csv")
            continue
        sizes = part_sizes(inputs, split.name)
        told = listed([f"{count_range(sizes[p])} {'training' if p == 'train' else p}" for p in PARTS])
        each = "Each fold had" if len(inputs.folds(split.name)) > 1 else "It had"
        yield Statement("part sizes", f"{each} {told} patients.", "split.csv")


def part_sizes(inputs: Inputs, split: str) -> dict[str, list[int]]:
    """Part -> patients in each (repeat, fold)."""
    rows = inputs.split[inputs.split["split"] == split]
    counts = rows.groupby(["repeat", "fold", "part"])["patient_id"].nunique().unstack("part", fill_value=0)
    return {part: [int(n) for n in counts[part]] if part in counts else [0] * len(counts) for part in PARTS}


def fusion(inputs: Inputs) -> Iterator[Statement]:
    """From exams, slices, sides and several networks to one answer for each patient."""
    if len(inputs.cohort) > inputs.cohort["patient_id"].nunique():
        yield Statement("aggregation", "Probabilities of a patient's exams were averaged.", "predictions.parquet")
    for run in inputs.study.runs:
        slices = resolve(inputs.study, run).data.slices if run.name in inputs.stores else None
        if slices is not None:
            ways = listed([f.name for f in slices.fusion])
            yield Statement(
                "aggregation",
                f"In {run.name}, answers for slices became one for each exam by {ways}.",
                "study.yaml, data.slices.fusion",
                ("Ilse2018",) if any("attention" in f.name for f in slices.fusion) else (),
            )
    predict = inputs.study.predict
    if predict.flips:
        yield Statement(
            "ensemble",
            f"Logits were also averaged over copies mirrored along {listed(list(predict.flips))}.",
            "study.yaml, predict.flips",
        )
    for name, joint in inputs.study.ensembles.items():
        members = listed(list(joint.members))
        how = {
            "mean": f"is the mean probability of {members}",
            "mean_logit": f"is the mean logit of {members}",
            "late": f"weighs {members} by the validation part",
        }[joint.method]
        yield Statement("ensemble", f"The ensemble {name} {how}.", f"study.yaml, ensembles.{name}")
