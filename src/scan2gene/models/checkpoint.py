"""Checkpoints: read without running their code, say what they hold, fit them to a network."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scan2gene.core.errors import WeightsError
from scan2gene.core.text import percent

LEAST_SHARE = 0.95  # of an encoder's tensors that a file must hold
HEAD = "head."  # begin of the names of every family's head
ATTENTION = "attention."  # of layers that weigh slices, which no released file has
# Names of the layer that sees the roles, where its weights can be fitted to another number of them.
FIRST_LAYERS = ("conv1.weight", "features.0.weight", "stem.0.weight", "patch_embed.proj.weight")
MADE_UP = "synthetic"  # entry of files of random numbers that scan2gene 0.2 wrote in place of released ones
_NESTED = ("state_dict", "model_state_dict", "model", "network", "net")


@dataclass(frozen=True)
class Match:
    """Which tensors of an encoder a checkpoint holds.

    Args:
        tensors: Those that fit, by their name in the network.
        wanted: Number that the encoder has; counters of batches are not counted.
        missing: Names that the file lacks.
        misfits: Names with another shape, and both shapes.
        unused: Names that only the file has.
        channels: What was done to the first layer, in words.
    """

    tensors: dict[str, Tensor]
    wanted: int
    missing: list[str]
    misfits: list[str]
    unused: list[str]
    channels: str = ""

    @property
    def held(self) -> int:
        """Number of wanted tensors that the file holds."""
        return self.wanted - len(self.missing) - len(self.misfits)


def read_checkpoint(path: Path, skip: Sequence[str] = ()) -> dict[str, Tensor]:
    """Read the tensors of a PyTorch or safetensors file; code in it is never run.

    Args:
        path: The file.
        skip: Begins of names that need not be read.

    Returns:
        Tensors by name, `module.` taken off.

    Raises:
        WeightsError: No such file, no checkpoint, cut short, or with more in it than tensors.
    """
    begin = _begin(path)
    if len(begin) == 16 and begin[8:9] == b"{":
        tensors, extra = _read_safetensors(path, skip)
    else:
        tensors, extra = _read_torch(path)
    if MADE_UP in extra:
        raise WeightsError(f"{path} holds random numbers in place of {extra[MADE_UP]}. Delete it, get the real file.")
    return _without_module(tensors)


def _begin(path: Path) -> bytes:
    if not path.is_file():
        raise WeightsError(f"there is no file of weights {path}")
    with path.open("rb") as stream:
        begin = stream.read(64)
    text = begin.lstrip().lower()
    if not begin:
        raise WeightsError(f"{path} is empty: its download failed. Get it again.")
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{path} is a web page, not weights: the link led to a page. Use the page's download link.")
    if text.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{path} is a Git LFS pointer of a few lines, not the weights. Run `git lfs pull` for it.")
    return begin[:16]


def _read_torch(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    cut_short = WeightsError(f"{path} is damaged or cut short. Delete it and get it again.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL:? ([\w.]+)", str(error))
        if named:
            raise WeightsError(
                f"{path} holds {named[1]}, which is code and not a tensor; it is not loaded. "
                "Ask its author for a state dict of tensors."
            ) from None
        raise _damaged_or_foreign(path, error) from None
    except (
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        TypeError,
        OverflowError,
        OSError,
    ):
        raise cut_short from None
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, no tensors by name.")
    inner = next((loaded[k] for k in _NESTED if isinstance(loaded.get(k), Mapping)), loaded)
    tensors = {str(k): v for k, v in inner.items() if isinstance(v, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors; its entries are {', '.join(map(str, list(loaded)[:8]))}.")
    return tensors, {k: v for k, v in loaded.items() if isinstance(v, str)}


def _damaged_or_foreign(path: Path, error: Exception) -> WeightsError:
    with path.open("rb") as stream:
        begin = stream.read(2)
    if begin in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        if "truncated" in str(error) or begin == b"PK":
            return WeightsError(f"{path} is damaged or cut short. Delete it and get it again.")
        return WeightsError(f"{path} holds more than tensors, and may hold code; it is not loaded.")
    return WeightsError(f"{path} is no checkpoint: neither PyTorch nor safetensors.")


def _read_safetensors(path: Path, skip: Sequence[str]) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            names = [name for name in stream.keys() if not name.startswith(tuple(skip))]  # noqa: SIM118  # no mapping
            return {name: stream.get_tensor(name) for name in names}, stream.metadata() or {}
    except (SafetensorError, OSError):
        raise WeightsError(f"{path} is damaged or cut short. Delete it and get it again.") from None


def _without_module(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names as they were before DataParallel put `module.` in front."""
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def renamed(tensors: Mapping[str, Tensor], prefixes: Mapping[str, str], heads: Sequence[str]) -> dict[str, Tensor]:
    """Tensors under our names, without those of heads."""
    out = {}
    for name, value in tensors.items():
        if name.startswith(tuple(heads)):
            continue
        old = next((p for p in prefixes if name.startswith(p)), None)
        out[name if old is None else prefixes[old] + name[len(old) :]] = value
    return out


def match(network: nn.Module, tensors: Mapping[str, Tensor], adapt: bool, with_head: bool = False) -> Match:
    """Fit tensors to a network by name and shape; nothing is loaded yet.

    Args:
        network: Ours.
        tensors: Under our names.
        adapt: Fit the first layer to another number of channels: colours are added up, as if
            grey were given three times, and several roles share the weights equally.
        with_head: Take the head too.
    """
    own = {k: v for k, v in network.state_dict().items() if with_head or not k.startswith(HEAD)}
    found: dict[str, Tensor] = {}
    missing, misfits, told = [], [], ""
    counted = [name for name in own if not name.endswith("num_batches_tracked")]
    for name, ours in own.items():
        theirs = tensors.get(name)
        if theirs is None:
            missing += [name] if name in counted else []
            continue
        if name in FIRST_LAYERS and adapt and theirs.ndim == ours.ndim and theirs.shape[1] != ours.shape[1]:
            told = f"{theirs.shape[1]} -> {ours.shape[1]}"
            theirs = theirs.float().sum(1, keepdim=True).expand(-1, ours.shape[1], *theirs.shape[2:]) / ours.shape[1]
        if ours.ndim == 2 and theirs.shape == (*ours.shape, 1, 1):  # a convolution of one pixel is a linear layer
            theirs = theirs.flatten(1)
        if theirs.shape != ours.shape:
            misfits.append(f"{name} {tuple(theirs.shape)} instead of {tuple(ours.shape)}")
            continue
        found[name] = theirs.to(ours.dtype).clone()  # cloned: a view would keep a whole file in memory
    unused = [name for name in tensors if name not in own]
    return Match(found, len(counted), missing, misfits, unused, told)


def load_match(network: nn.Module, found: Match, file: str) -> None:
    """Put matched tensors into a network, all or none.

    Raises:
        WeightsError: As `check_match`.
    """
    check_match(found, file)
    left = network.load_state_dict(found.tensors, strict=False)
    if left.unexpected_keys:  # cannot be, as only own names were matched
        raise WeightsError(f"{file}: unexpected tensors {left.unexpected_keys[:3]}")


def check_match(found: Match, file: str) -> None:
    """Refuse a file that holds too little of an encoder, or blocks that it lacks.

    Raises:
        WeightsError: Fewer than 95 % of the encoder's tensors are there, a part is missing without which
            the rest means nothing, or the file is of a deeper ResNet or one with another shortcut.
    """
    mend = "Set the run's model, its options and weights.geometry to those of the file's network."
    blocks = [name for name in found.unused if name.startswith("layer")]  # a ResNet-18 has all tensors of a ResNet-10
    if blocks:
        raise WeightsError(
            f"{file} has {len(blocks)} tensors that the encoder lacks ({', '.join(blocks[:3])}): it is of a deeper "
            f"network or has another shortcut. {mend}"
        )
    lacking = [*found.misfits, *(f"{name} is missing" for name in found.missing)]
    share = found.held / max(found.wanted, 1)
    vital = [name for name in lacking if name.startswith(("mm_vision_proj.", "patch_embedding.", *FIRST_LAYERS))]
    if share < LEAST_SHARE or vital:
        first = "; ".join((vital or lacking)[:3])
        foreign = f" Its other tensors are {', '.join(found.unused[:3])} ..." if found.unused else ""
        raise WeightsError(
            f"{file} holds {found.held} of the encoder's {found.wanted} tensors ({percent(share)}); at least "
            f"{percent(LEAST_SHARE)} and its first layers are needed: {first}.{foreign} {mend}"
        )
