"""What a run's network starts from: found, checked, loaded, and said in weights.json."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.study_runs import Weights
from scan2gene.core.text import counted, listed
from scan2gene.models import MODELS, Network
from scan2gene.models.checkpoint import (
    ATTENTION,
    FIRST_LAYERS,
    HEAD,
    Match,
    check_match,
    load_match,
    match,
    read_checkpoint,
    renamed,
)
from scan2gene.models.fetch import card_of, held_to, located, sha256, weights_folder
from scan2gene.models.resnet3d import geometry_of
from scan2gene.models.source_run import SourceRun, check_same_input, open_source
from scan2gene.models.weights import WEIGHTS, Card
from scan2gene.tasks.run_config import RunConfig


@dataclass(frozen=True)
class Start:
    """Where a run's weights come from.

    Args:
        name: For people: the card's name, the file's, or the run's.
        path: The file.
        sha256: Of the file.
        card: Of a released file.
        source: Of a run of one's own.
        options: Of the network that the weights ask for.
    """

    name: str
    path: Path
    sha256: str
    card: Card | None
    source: SourceRun | None
    options: dict[str, Any]


def plain_network(config: RunConfig, options: Mapping[str, Any] = {}) -> Network:
    """The network of a run by its name and options, with random weights; `options` stand above its own."""
    return MODELS[config.model.name](len(config.channels), config.num_logits, **{**config.model.options, **options})


def check_weights(config: RunConfig) -> None:
    """Refuse what cannot be right about a run's weights, before any work and without opening a file.

    Raises:
        StudyError: Saying what and how to mend it.
    """
    weights = config.weights
    if weights is None:
        return
    if weights.geometry is not None:
        geometry_of(weights.geometry)
    if weights.name and not weights.run:
        card = card_of(weights.name)
        if card.model != config.model.name:
            raise StudyError(
                f"run {config.name}: weights {weights.name} are of a {card.model}, its model is {config.model.name}"
            )
        _refuse_conflicts(config, card.options)
    with torch.device("meta"):  # without memory, for its names
        network = plain_network(config)
    if weights.probes:
        if not hasattr(network, "pool"):
            raise StudyError(
                f"run {config.name}: model {config.model.name} has no embedding, so freeze: all is not for it"
            )
        if config.data.augment:
            raise StudyError(
                f"run {config.name}: with freeze: all every exam is embedded once, so augmentation would change "
                "nothing. Take it out, for this run with data: {augment: []}"
            )
    frozen = frozen_names(network, weights.freeze, config.name)
    if weights.name and not weights.run:
        _refuse_frozen_noise(config, frozen)  # no released file has attention over slices


def _refuse_frozen_noise(config: RunConfig, frozen: Iterable[str]) -> None:
    """Attention over slices that no file has brought would be frozen as random as it began."""
    random = sorted(name for name in frozen if name.startswith(ATTENTION))
    if random:
        raise StudyError(
            f"run {config.name}: weights.freeze would keep {config.model.name}'s attention over slices, which its "
            "weights do not have, as random as it begins; set model.options to {pooling: mean} (or max), or freeze "
            "other layers"
        )


def _refuse_conflicts(config: RunConfig, wanted: Mapping[str, Any]) -> None:
    for key, value in wanted.items():
        given = config.model.options.get(key, value)
        if given != value and not (isinstance(value, tuple | list) and list(given) == list(value)):
            raise StudyError(f"run {config.name}: its weights need {key} {value!r}, the model's options say {given!r}")


def frozen_names(network: nn.Module, freeze: str | list[str], run: str) -> set[str]:
    """Names of the parameters that stay as they are.

    Raises:
        StudyError: A prefix that no layer has; the message lists the layers.
    """
    names = [n for n, _ in network.named_parameters() if not n.startswith(HEAD)]
    if isinstance(freeze, str):
        return set(names) if freeze == "all" else set()
    frozen: set[str] = set()
    for prefix in freeze:
        found = {n for n in names if n == prefix or n.startswith(f"{prefix}.")}
        if not found:
            layers = ", ".join(dict.fromkeys(n.split(".")[0] for n in names))
            raise StudyError(f"run {run}: weights.freeze: there is no layer {prefix!r}; layers are {layers}")
        frozen |= found
    return frozen


def start_of(config: RunConfig) -> Start | None:
    """Find a run's weights and hold them to their hash; None for random ones.

    Raises:
        WeightsError: Not there, changed, or of another network.
        StudyError: A geometry is needed, or contradicts.
    """
    weights = config.weights
    if weights is None:
        return None
    if weights.run:
        source = open_source(weights)
        check_same_input(source, config)
        usual = {p.name: p.default for p in inspect.signature(MODELS[config.model.name]).parameters.values()}
        _refuse_conflicts(config, {k: v for k, v in {**usual, **source.options}.items() if k != "dropout"})
        network_options = {k: v for k, v in source.options.items() if k != "dropout"}
        name, path = f"{source.fit.config.name} of {source.study}", source.fit.folder.best.path
        return Start(name, path, sha256(path), None, source, network_options)
    if weights.name:
        path = located(weights.name, weights_folder(config.weights_dir))
        card = card_of(weights.name)
        return Start(weights.name, path, held_to(weights.name, path), card, None, dict(card.options))
    return _start_of_file(config, weights, Path(weights.file or ""))


def _start_of_file(config: RunConfig, weights: Weights, path: Path) -> Start:
    if not path.is_file():
        raise WeightsError(f"run {config.name}: there is no file of weights {path}")
    known = recognised(path)
    if known and weights.geometry is None:
        _refuse_conflicts(config, WEIGHTS[known].options)
        return Start(known, path, held_to(known, path), WEIGHTS[known], None, dict(WEIGHTS[known].options))
    options: dict[str, Any] = {} if weights.geometry is None else {"geometry": weights.geometry}
    if "geometry" in inspect.signature(MODELS[config.model.name]).parameters and not options:
        raise StudyError(
            f"run {config.name}: {path.name} is no released file, and strides and dilations cannot be told from it. "
            "Give weights.geometry: standard, medicalnet, medicalnet-a, kinetics, or its fields; see the guide"
        )
    _refuse_conflicts(config, options)
    return Start(path.name, path, sha256(path), None, None, options)


def recognised(path: Path) -> str:
    """Name of the card that a file is of, by sha256, or by name where no hash is stated."""
    found = sha256(path)
    by_hash = next((n for n, c in WEIGHTS.items() if c.sha256 == found), "")
    return by_hash or next((n for n, c in WEIGHTS.items() if not c.sha256 and c.file == path.name), "")


_READ: dict[str, dict[str, torch.Tensor]] = {}  # of the last file that was read: a study's folds all start from it


def encoder_tensors(path: Path, card: Card | None) -> dict[str, torch.Tensor]:
    """Tensors of a file under our names, without those of heads; the last file is remembered."""
    prefixes, heads = (card.prefixes, card.heads) if card else ({}, ())
    key = f"{sha256(path)} {heads}"
    if key not in _READ:
        tensors = renamed(read_checkpoint(path, heads), prefixes, heads)
        _READ.clear()
        _READ[key] = tensors
    return _READ[key]


def started_network(config: RunConfig, start: Start, eight_bit: bool) -> tuple[nn.Module, dict[str, Any]]:
    """The run's network with its weights loaded and frozen layers marked, and what weights.json says.

    Args:
        config: With weights.
        start: Of `start_of`.
        eight_bit: Images are stored as uint8, so that the network sees -1 to 1.

    Raises:
        WeightsError: The file is not of this network; nothing is loaded then.
    """
    options = dict(start.options)
    if start.card and start.card.uint8_map and eight_bit and "input_map" not in config.model.options:
        options["input_map"] = list(start.card.uint8_map)
    network, found, record = _fitted(config, start, options)
    load_match(network, found, f"run {config.name}: {start.path.name}")
    frozen = frozen_names(network, record["freeze"], config.name)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
        parameter.pretrained = name in found.tensors  # type: ignore[attr-defined]  # the optimiser asks
    return network, record | {"given_intensities": _given(options, eight_bit)}


def check_start(config: RunConfig) -> Start | None:
    """Find a run's weights and see that they fit its network, without loading them.

    Raises:
        WeightsError, StudyError: As `start_of` and `started_network`.
    """
    start = start_of(config)
    if start:
        with torch.device("meta"):
            _, found, _ = _fitted(config, start, start.options)
        check_match(found, f"run {config.name}: {start.path.name}")
    return start


def _fitted(config: RunConfig, start: Start, options: dict[str, Any]) -> tuple[nn.Module, Match, dict[str, Any]]:
    network = plain_network(config, options)
    weights = config.weights or Weights(name=start.name)
    tensors = encoder_tensors(start.path, start.card)
    before = start.source.fit.config if start.source else None
    if before is not None and before.has_sides:
        tensors = {name.removeprefix("network."): value for name, value in tensors.items()}
    same_head = before is not None and before.targets == config.targets and not weights.probes
    found = match(network, tensors, start.card is not None or weights.channels == "adapt", same_head)
    _refuse_frozen_noise(config, frozen_names(network, weights.freeze, config.name) & {*found.missing})
    for name in {*FIRST_LAYERS} & {*tensors} & {*network.state_dict()} - {*found.tensors}:
        theirs, ours = tensors[name].shape, network.state_dict()[name].shape
        if (theirs[0], theirs[2:]) == (ours[0], ours[2:]):
            raise WeightsError(
                f"run {config.name}: {start.path.name} has {counted(theirs[1], 'input channel')}, the run has "
                f"{len(config.channels)}. weights.channels: adapt adds colours up and shares them among roles."
            )
    record = {
        **_about(start),
        "options": options,
        "freeze": weights.freeze,
        "tensors": found.held,
        "tensors_wanted": found.wanted,
        "missing": found.missing,
        "misfits": found.misfits,
        "unused": len(found.unused),
        "channels": found.channels,
        "head": "kept" if same_head else "new",
    }
    return network, found, record


def _about(start: Start) -> dict[str, Any]:
    card = start.card
    return {
        "weights": start.name,
        "file": start.path.name,
        "sha256": start.sha256,
        "licence": card.licence if card else "",
        "training_data": card.data if card else "",
        "page": card.page if card else "",
        "expected_intensities": card.intensities if card else "",
    }


def _given(options: Mapping[str, Any], eight_bit: bool) -> str:
    if not eight_bit:
        return "as prepared"
    return "stored as uint8, mapped to the expected range" if "input_map" in options else "stored as uint8, -1 to 1"


def loaded_text(record: Mapping[str, Any]) -> str:
    """One line about what was loaded."""
    parts = [f"{record['tensors']} of {record['tensors_wanted']} encoder tensors from {record['weights']}"]
    if record["channels"]:
        parts.append(f"input channels {record['channels']}")
    lacking = [*record["missing"], *record["misfits"]]
    if lacking:
        parts.append(f"without {listed(lacking, most=3)}")
    if record["expected_intensities"]:
        parts.append(f"trained on {record['expected_intensities']}; given {record['given_intensities']}")
    return ", ".join(parts)


def described(path: Path) -> list[str]:
    """What `scan2gene weights check` says of a file.

    Raises:
        WeightsError: It cannot be used.
    """
    known = recognised(path)
    card = WEIGHTS.get(known)
    tensors = encoder_tensors(path, card)
    shapes = [f"{name} {tuple(value.shape)}" for name, value in tensors.items()]
    lines = [
        f"{path.name}: {len(tensors)} tensors, such as {', '.join(shapes[:3])}",
        f"sha256 {sha256(path)}",
    ]
    if card:
        held_to(known, path)
        stated = f"as {card.sha256_source} states" if card.sha256 else "no page states it; held to this one from now on"
        lines.append(f"{known}; sha256 {stated}")
        lines.append(f"licence {card.licence}; trained on {card.data}")
    else:
        same_name = next((n for n, c in WEIGHTS.items() if path.name in (c.file, *c.names)), "")
        if same_name:
            lines.append(f"it has the name of {same_name}, but another sha256: not the released file")
        lines.append("not a released file; a 3D ResNet needs weights.geometry")
    if card:
        with torch.device("meta"):
            network = MODELS[card.model](card.channels, 1, **card.options)
        fitted = match(network, tensors, adapt=False)
        lines.append(f"{fitted.held} of {fitted.wanted} encoder tensors fit {card.model}, {card.options or 'as it is'}")
        for text in [*fitted.misfits, *(f"{n} is missing" for n in fitted.missing)][:5]:
            lines.append(f"  {text}")
    return lines
