"""Stand-ins: files with the names and shapes of released weights and random numbers in them.

Studies run from end to end on them where the released files are not at hand. The product refuses them by
their sha256, until `accept` puts it on the card in this process.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from scan2gene.models import MODELS
from scan2gene.models.checkpoint import ATTENTION, HEAD
from scan2gene.models.fetch import sha256
from scan2gene.models.weights import WEIGHTS, Card

KINETICS_CLASSES = 700
# Classifiers of the published files: model -> begin of its name, classes.
_CLASSIFIERS = {"swin3d": ("head.", 400), "resnet25d": ("fc.", 1000), "alexnet2d": ("classifier.6.", 1000),
                "se_resnet50": ("fc.", 1000), "convnextv2": ("head.fc.", 1000), "vit2d": ("head.", 1000)}  # fmt: skip


def write_stand_in(name: str, path: Path, seed: int = 0, **options: Any) -> Path:
    """Write a stand-in for a released file.

    Args:
        name: A key of `WEIGHTS`.
        path: File to write.
        seed: Of its random numbers.
        options: Of the network, such as a smaller size than the released one.
    """
    card = WEIGHTS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = MODELS[card.model](card.channels, 1, **{**card.options, **options})
    tensors = {k: v for k, v in network.state_dict().items() if not k.startswith(HEAD)}
    path.parent.mkdir(parents=True, exist_ok=True)
    if name == "m3d-clip":
        named = {k if k.startswith("mm_vision_proj.") else f"vision_encoder.{k}": v for k, v in tensors.items()}
        named |= {"logit_scale": torch.tensor(2.66), "mm_language_proj.bias": torch.zeros(8)}
        path.write_bytes(save(named))
    elif name == "m3d-clip-vision":
        torch.save({k: v.bfloat16() for k, v in tensors.items()}, path)
    elif card.model in _CLASSIFIERS:
        named = published_tensors(network, card)
        if card.file.endswith(".safetensors"):
            path.write_bytes(save(named))
        else:
            torch.save(named, path)
    elif name.startswith("kinetics"):
        width = network.state_dict()[f"{HEAD}linear.weight"].shape[1] - card.channels
        head = {"fc.weight": torch.zeros(KINETICS_CLASSES, width), "fc.bias": torch.zeros(KINETICS_CLASSES)}
        torch.save({"epoch": 200, "arch": name, "state_dict": {**tensors, **head}}, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}}, path)
    return path


def accept(name: str, path: Path) -> None:
    """Let this process take a stand-in for the released file: its sha256 goes on the card."""
    WEIGHTS[name] = replace(WEIGHTS[name], sha256=sha256(path), sha256_source="tests/stand_in.py")


def published_tensors(network: nn.Module, card: Card) -> dict[str, Tensor]:
    """A network's tensors as torchvision and timm name and shape them, with their classifier.

    Args:
        network: Ours, of the card's model.
        card: Of a file of theirs.
    """
    back = {ours: theirs for theirs, ours in card.prefixes.items()}
    named: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        if not name.startswith((HEAD, ATTENTION)):  # attention over slices is ours
            begin = next((b for b in back if name.startswith(b)), "")
            named[back.get(begin, "") + name.removeprefix(begin)] = value
    if card.model == "convnextv2" and card.options["size"] != "tiny":  # timm has convolutions in the smaller ones
        named |= {k: v[..., None, None] for k, v in named.items() if ".mlp.fc" in k and k.endswith(".weight")}
    classifier, classes = _CLASSIFIERS[card.model]
    width = network.state_dict()[f"{HEAD}linear.weight"].shape[1] - card.channels
    return {**named, f"{classifier}weight": torch.zeros(classes, width), f"{classifier}bias": torch.zeros(classes)}
