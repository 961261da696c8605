"""A run's network: new or started from weights, whole or a head on embeddings, for both sides or one field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scan2gene.core.console import say
from scan2gene.core.errors import StudyError, WeightsError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.study import SIDES, Study, channels
from scan2gene.core.study_runs import Head, Run
from scan2gene.data.samples import Samples, stored_as_uint8
from scan2gene.models import MODELS
from scan2gene.models.probe import Probe, Probed
from scan2gene.models.sides import TwoSides
from scan2gene.tasks.outputs import has_sides, num_logits, output_names, stem_of


def probes(run: Run) -> bool:
    """True for a run that trains a head on stored embeddings of a frozen encoder."""
    return run.weights is not None and run.weights.probes


def left_right(view: Study) -> tuple[str, str]:
    """The voxel axis of prepared volumes between left and right, and to which side it grows.

    Args:
        view: A study as a run sees it.

    Raises:
        StudyError: Its preprocessing does not bring exams into one orientation.
    """
    turned = [str(step.options.get("axes", "LAS")) for step in view.preprocess if step.name == "reorient"]
    found = [(axis, code) for axis, code in zip("ijk", turned[-1], strict=False) if code in SIDES] if turned else []
    if not found:
        raise StudyError(
            "targets with sides need the step reorient, such as {name: reorient, options: {axes: LAS}}; "
            "without it left and right depend on how each scan was stored"
        )
    return found[0]


def with_sides(study: Study, network: Any) -> Any:
    """The network itself, or one that shows it the two sides apart where a target has them."""
    if not has_sides(study):
        return network
    columns = [(stem_of(name), name[len(stem_of(name)) + 1 :]) for name in output_names(study)]
    return TwoSides(network, columns, *left_right(study))


def build_network(study: Study, run: Run) -> Any:
    """The run's network, from image to logits: with random weights, or those that it starts from.

    A frozen encoder comes with a new head; `load_network` gives the trained one.
    """
    network = _encoder(study, run, False, None)
    if probes(run):
        network = Probed(network, _new_probe(study, run, _embedding_length(study, network)))
    return with_sides(study, network)


def builder(study: Study, run: Run, data: Samples, train: np.ndarray, folder: Path) -> Callable[[], torch.nn.Module]:
    """What gives the network that a fit trains: a whole one, or a head where `data` holds embeddings.

    Args:
        study: As the run sees it.
        run: Model and weights.
        data: What is learned from.
        train: Rows of the training part, to which a head's input is scaled.
        folder: Of the fit; weights.json there says what a whole network started from.
    """
    if probes(run):
        return partial(_head_on_embeddings, study, run, data, train)
    return partial(_whole, study, run, stored_as_uint8(data), folder)


def _whole(study: Study, run: Run, eight_bit: bool, folder: Path) -> Any:
    return with_sides(study, _encoder(study, run, eight_bit, folder))


def _encoder(study: Study, run: Run, eight_bit: bool, folder: Path | None) -> Any:
    """The plain network; what it starts from is told where there is a folder to keep it in."""
    if run.weights is None:
        return MODELS[run.model.name](len(channels(study)), num_logits(study), **run.model.options)
    from scan2gene.train.start import start_of, started_network, told

    start = start_of(study, run)
    assert start is not None  # for the type checker: the run has weights
    network, record = started_network(study, run, start, eight_bit)
    if folder is not None:
        FitDirectory(folder).weights.write(record)
        say("", f"  {run.name} {folder.name}: {told(record)}")
    return network


def _new_probe(study: Study, run: Run, num_features: int) -> Probe:
    head = (run.weights and run.weights.head) or Head()
    return Probe(num_features, len(channels(study)), num_logits(study), head.hidden, head.dropout)


def _embedding_length(study: Study, encoder: Any) -> int:
    return encoder.head.linear.in_features - len(channels(study))


def new_head(study: Study, run: Run, num_numbers: int) -> Any:
    """What learns from stored embeddings; with sides these hold the left half's and then the right half's.

    Args:
        study: As the run sees it.
        run: With a frozen encoder.
        num_numbers: Of one embedding.
    """
    return with_sides(study, _new_probe(study, run, num_numbers // (2 if has_sides(study) else 1)))


def _head_on_embeddings(study: Study, run: Run, data: Samples, train: np.ndarray) -> Any:
    """A new head, scaled to the training part's embeddings."""
    head: Any = new_head(study, run, data.images.shape[1])
    given = data.images[torch.as_tensor(train)]
    sided = isinstance(head, TwoSides)
    (head.network if sided else head).fit_scale(torch.cat(given.chunk(2, dim=1)) if sided else given)
    return head


def load_head(study: Study, run: Run, folder: Path, num_numbers: int) -> Any:
    """The trained head of a fit on embeddings."""
    head = new_head(study, run, num_numbers)
    head.load_state_dict(_state(folder))
    return head


def load_network(study: Study, run: Run, folder: Path) -> Any:
    """The trained network of a fit, from image to logits.

    A network that was fine-tuned is whole in best.pt; one with a frozen encoder also needs the
    file that the encoder is in.

    Raises:
        WeightsError: That file is not there, or changed.
    """
    state, record = _state(folder), FitDirectory(folder).weights.read({})
    run = run.model_copy(update={"model": _with_options(run, record)})
    if not probes(run):
        network = with_sides(study, MODELS[run.model.name](len(channels(study)), num_logits(study),
                                                           **run.model.options))  # fmt: skip
        network.load_state_dict(state)
        return network
    from scan2gene.train.start import start_of

    start = start_of(study, run)
    if start and start.sha256 != record.get("sha256"):
        raise WeightsError(f"{start.path} is not the file that {folder} was trained with. Restore it, or train anew.")
    network = build_network(study, run)
    sided = isinstance(network, TwoSides)
    probed, prefix = (network.network, "network.") if sided else (network, "")
    probed.probe.load_state_dict({name.removeprefix(prefix): value for name, value in state.items()})
    return network


def size(study: Study, run: Run, folder: Path) -> dict[str, int]:
    """Numbers in the network of a finished fit, and how many of them were trained, for network.json.

    Args:
        study: As the run sees it.
        run: As a search chose it.
        folder: Of the fit, with weights.json where it started from some.
    """
    from scan2gene.train.start import frozen_names

    plugin = _with_options(run, FitDirectory(folder).weights.read({}))
    with torch.device("meta"):  # without memory
        network = MODELS[plugin.name](len(channels(study)), num_logits(study), **plugin.options)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    frozen = frozen_names(network, run.weights.freeze, run.name) if run.weights else set()
    if not probes(run):
        return {"parameters": sum(sizes.values()), "trained": sum(n for k, n in sizes.items() if k not in frozen)}
    new = sum(p.numel() for p in _new_probe(study, run, _embedding_length(study, network)).parameters())
    return {"parameters": sum(sizes[name] for name in frozen) + new, "trained": new}


def _state(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(FitDirectory(folder).best.path, map_location="cpu", weights_only=True)


def _with_options(run: Run, record: Mapping[str, Any]) -> Plugin:
    """The run's model with the options that its weights brought."""
    return run.model.model_copy(update={"options": {**run.model.options, **record.get("options", {})}})


@contextmanager
def one_thread() -> Iterator[None]:
    """A head's work is too small to share: on a busy machine most of the time goes into threads that wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
