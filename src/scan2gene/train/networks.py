"""A run's network: new or started from weights, whole or a head on embeddings, for both sides or one field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from scan2gene.core.console import say
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import SIDES
from scan2gene.core.study_runs import Head
from scan2gene.data.samples import Samples, stored_as_uint8
from scan2gene.models.probe import Probe, Probed
from scan2gene.models.sides import TwoSides
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import stem_of
from scan2gene.tasks.run_config import RunConfig
from scan2gene.train.start import frozen_names, plain_network, start_of, started_network, told


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

    A frozen encoder comes with a new head; `load_network` gives the trained one.
    """
    network = _encoder(config, False)
    if config.probes:
        network = Probed(network, _new_probe(config, _embedding_length(config, network)))
    return with_sides(config, network)


def builder(fit: Fit, data: Samples, train: np.ndarray) -> Callable[[], torch.nn.Module]:
    """What gives the network that a fit trains: a whole one, or a head where `data` holds embeddings.

    Args:
        fit: Its weights.json will say what a whole network started from.
        data: What is learned from.
        train: Rows of the training part, to which a head's input is scaled.
    """
    if fit.config.probes:
        return partial(_head_on_embeddings, fit.config, data, train)
    return partial(_whole, fit, stored_as_uint8(data))


def _whole(fit: Fit, eight_bit: bool) -> Any:
    return with_sides(fit.config, _encoder(fit.config, eight_bit, fit))


def _encoder(config: RunConfig, eight_bit: bool, fit: Fit | None = None) -> Any:
    """The plain network; a fit keeps what it started from."""
    start = start_of(config)
    if start is None:
        return plain_network(config)
    network, record = started_network(config, start, eight_bit)
    if fit is not None:
        fit.folder.weights.write(record)
        say("", f"  {config.name} {fit.folder.path.name}: {told(record)}")
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


def _head_on_embeddings(config: RunConfig, data: Samples, train: np.ndarray) -> Any:
    """A new head, scaled to the training part's embeddings."""
    head: Any = new_head(config, data.images.shape[1])
    given = data.images[torch.as_tensor(train)]
    sided = isinstance(head, TwoSides)
    (head.network if sided else head).fit_scale(torch.cat(given.chunk(2, dim=1)) if sided else given)
    return head


def load_head(fit: Fit, num_numbers: int) -> Any:
    """The trained head of a fit on embeddings."""
    head = new_head(fit.config, num_numbers)
    head.load_state_dict(_state(fit.folder))
    return head


def load_network(fit: Fit) -> Any:
    """The trained network of a fit, from image to logits.

    A network that was fine-tuned is whole in best.pt; one with a frozen encoder also needs the
    file that the encoder is in.

    Raises:
        WeightsError: That file is not there, or changed.
    """
    state, record = _state(fit.folder), fit.folder.weights.read({})
    config = _with_options(fit.config, record)
    if not config.probes:
        network = with_sides(config, plain_network(config))
        network.load_state_dict(state)
        return network
    start = start_of(config)
    if start and start.sha256 != record.get("sha256"):
        where = fit.folder.path
        raise WeightsError(f"{start.path} is not the file that {where} was trained with. Restore it, or train anew.")
    network = build_network(config)
    sided = isinstance(network, TwoSides)
    probed, prefix = (network.network, "network.") if sided else (network, "")
    probed.probe.load_state_dict({name.removeprefix(prefix): value for name, value in state.items()})
    return network


def size(fit: Fit) -> dict[str, int]:
    """Numbers in the network of a finished fit, and how many of them were trained, for network.json."""
    config = _with_options(fit.config, fit.folder.weights.read({}))
    with torch.device("meta"):  # without memory
        network = plain_network(config)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    frozen = frozen_names(network, config.weights.freeze, config.name) if config.weights else set()
    if not config.probes:
        return {"parameters": sum(sizes.values()), "trained": sum(n for k, n in sizes.items() if k not in frozen)}
    new = sum(p.numel() for p in _new_probe(config, _embedding_length(config, network)).parameters())
    return {"parameters": sum(sizes[name] for name in frozen) + new, "trained": new}


def _state(folder: FitDirectory) -> dict[str, torch.Tensor]:
    return torch.load(folder.best.path, map_location="cpu", weights_only=True)


def _with_options(config: RunConfig, record: Mapping[str, Any]) -> RunConfig:
    """The run with the options that its weights brought to its model."""
    options = {**config.model.options, **record.get("options", {})}
    return replace(config, model=config.model.model_copy(update={"options": options}))


@contextmanager
def one_thread() -> Iterator[None]:
    """A head's work is too small to share: on a busy machine most of the time goes into threads that wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
