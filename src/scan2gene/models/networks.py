"""A run's network: new or started from weights, whole or a head on embeddings, for both sides or one field."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from scan2gene.core.console import say
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import SIDES
from scan2gene.core.study_runs import Head
from scan2gene.models.probe import Probe, Probed
from scan2gene.models.sides import TwoSides
from scan2gene.models.start import frozen_names, loaded_text, plain_network, start_of, started_network
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import stem_of
from scan2gene.tasks.run_config import RunConfig


def left_right(config: RunConfig) -> tuple[str, str]:
    """The voxel axis of prepared volumes between left and right, and to which side it grows.

    Raises:
        StudyError: The preprocessing does not bring exams into one orientation.
    """
    turned = [str(step.options.get("axes", "LAS")) for step in config.recipe if step.name == "reorient"]
    found = [(axis, code) for axis, code in zip("ijk", turned[-1], strict=False) if code in SIDES] if turned else []
    if not found:
        raise StudyError(
            "targets with sides need the step reorient, such as {name: reorient, options: {axes: LAS}}; "
            "without it left and right depend on how each scan was stored"
        )
    return found[0]


def with_sides(config: RunConfig, network: Any) -> Any:
    """The network itself, or one that shows it the two sides apart where a target has them."""
    if not config.has_sides:
        return network
    columns = [(stem_of(name), name[len(stem_of(name)) + 1 :]) for name in config.output_names]
    return TwoSides(network, columns, *left_right(config))


def build_network(config: RunConfig) -> Any:
    """The run's network, from image to logits: with random weights, or those that it starts from.

    A frozen encoder comes with a new head; `load_probed` gives the trained one.
    """
    network = _encoder(config, False)
    if config.probes:
        network = Probed(network, _new_probe(config, _embedding_length(config, network)))
    return with_sides(config, network)


def new_network(config: RunConfig, eight_bit: bool, folder: FitDirectory) -> Any:
    """The network that a fit trains.

    Args:
        config: Of the run.
        eight_bit: Images are stored as uint8, so that the network sees -1 to 1.
        folder: Of the fit; its weights.json will say what the network started from.
    """
    return with_sides(config, _encoder(config, eight_bit, folder))


def _encoder(config: RunConfig, eight_bit: bool, folder: FitDirectory | None = None) -> Any:
    """The plain network; a fit keeps what it started from."""
    start = start_of(config)
    if start is None:
        return plain_network(config)
    network, record = started_network(config, start, eight_bit)
    if folder is not None:
        folder.weights.write(record)
        say("", f"  {config.name} {folder.path.name}: {loaded_text(record)}")
    return network


def _new_probe(config: RunConfig, num_features: int) -> Probe:
    head = (config.weights and config.weights.head) or Head()
    return Probe(num_features, len(config.channels), config.num_logits, head.hidden, head.dropout)


def _embedding_length(config: RunConfig, encoder: Any) -> int:
    return encoder.head.linear.in_features - len(config.channels)


def new_head(config: RunConfig, num_numbers: int) -> Any:
    """What learns from stored embeddings; with sides these hold the left half's and then the right half's.

    Args:
        config: With a frozen encoder.
        num_numbers: Of one embedding.
    """
    return with_sides(config, _new_probe(config, num_numbers // (2 if config.has_sides else 1)))


def scaled_head(config: RunConfig, vectors: torch.Tensor, train: np.ndarray) -> Any:
    """A new head, scaled to the embeddings (N, F) of the training rows."""
    head: Any = new_head(config, vectors.shape[1])
    given = vectors[torch.as_tensor(train)]
    sided = isinstance(head, TwoSides)
    (head.network if sided else head).fit_scale(torch.cat(given.chunk(2, dim=1)) if sided else given)
    return head


def load_head(fit: Fit, num_numbers: int) -> Any:
    """The trained head of a fit on embeddings."""
    head = new_head(fit.config, num_numbers)
    head.load_state_dict(_state(fit.folder))
    return head


def load_network(fit: Fit) -> Any:
    """The trained network of a fit; also one that was fine-tuned is whole in best.pt."""
    config = _with_options(fit)
    network = with_sides(config, plain_network(config))
    network.load_state_dict(_state(fit.folder))
    return network


def load_probed(fit: Fit) -> Any:
    """A frozen encoder and the trained head of a fit as one network, from image to logits.

    Raises:
        WeightsError: The file that the encoder is in is not there, or changed.
    """
    config, start = _with_options(fit), start_of(_with_options(fit))
    if start and start.sha256 != fit.folder.weights.read({}).get("sha256"):
        where = fit.folder.path
        raise WeightsError(f"{start.path} is not the file that {where} was trained with. Restore it, or train anew.")
    network = build_network(config)
    sided = isinstance(network, TwoSides)
    probed, prefix = (network.network, "network.") if sided else (network, "")
    probed.probe.load_state_dict({name.removeprefix(prefix): value for name, value in _state(fit.folder).items()})
    return network


def size(fit: Fit) -> dict[str, int]:
    """Numbers in the network of a finished fit, and how many of them were trained, for network.json."""
    _, sizes, frozen = _sizes(fit)
    return {"parameters": sum(sizes.values()), "trained": sum(n for k, n in sizes.items() if k not in frozen)}


def size_of_probe(fit: Fit) -> dict[str, int]:
    """The same of a frozen encoder with a head, of which only the head was trained."""
    network, sizes, frozen = _sizes(fit)
    new = sum(p.numel() for p in _new_probe(fit.config, _embedding_length(fit.config, network)).parameters())
    return {"parameters": sum(sizes[name] for name in frozen) + new, "trained": new}


def _sizes(fit: Fit) -> tuple[Any, dict[str, int], set[str]]:
    """The network without memory, parameters by name, and names of the frozen ones."""
    config = _with_options(fit)
    with torch.device("meta"):
        network = plain_network(config)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    return network, sizes, frozen_names(network, config.weights.freeze, config.name) if config.weights else set()


def _state(folder: FitDirectory) -> dict[str, torch.Tensor]:
    return torch.load(folder.best.path, map_location="cpu", weights_only=True)


def _with_options(fit: Fit) -> RunConfig:
    """The run with the options that its weights brought to its model."""
    options = {**fit.config.model.options, **fit.folder.weights.read({}).get("options", {})}
    return replace(fit.config, model=fit.config.model.model_copy(update={"options": options}))


@contextmanager
def one_thread() -> Iterator[None]:
    """A head's work is too small to share: on a busy machine most of the time goes into threads that wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
