"""Stand-ins: files with the names and shapes of released weights and random numbers in them.

Studies run from end to end on them where the released files are not at hand. The product refuses them by
their sha256, until `accept` puts it on the card in this process.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from scan2gene.models import MODELS
from scan2gene.models.checkpoint import ATTENTION, HEAD
from scan2gene.models.fetch import sha256
from scan2gene.models.weights import WEIGHTS, Card

KINETICS_CLASSES = 700
# Classifiers of the published files: model -> begin of its name, classes.
_CLASSIFIERS = {"swin3d": ("head.", 400), "resnet25d": ("fc.", 1000), "alexnet2d": ("classifier.6.", 1000),
                "se_resnet50": ("fc.", 1000), "convnextv2": ("head.fc.", 1000), "vit2d": ("head.", 1000)}  # fmt: skip
_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}


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
        path.write_bytes(safetensors_bytes(named))
    elif name == "m3d-clip-vision":
        torch.save({k: v.bfloat16() for k, v in tensors.items()}, path)
    elif card.model in _CLASSIFIERS:
        named = published_tensors(network, card)
        if card.file.endswith(".safetensors"):
            path.write_bytes(safetensors_bytes(named))
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


def safetensors_bytes(tensors: dict[str, Tensor]) -> bytes:
    """Tensors in the safetensors format.

    Source: the format's description, github.com/huggingface/safetensors, README.
    """
    header: dict[str, Any] = {}
    data, offset = [], 0
    for name, tensor in tensors.items():
        raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [offset, offset + len(raw)],
        }
        data.append(raw)
        offset += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data)
