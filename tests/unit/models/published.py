"""What torchvision and timm answer, with weights that need no file: `published.json` beside it.

Neither is installed with the tests, as a torchvision drags in another torch. To write the file anew, in an
environment that has both: `python tests/unit/models/published.py` (written with timm 1.0.31, torchvision 0.29.2).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

FILE = Path(__file__).with_suffix(".json")
# card -> input that its network is shown
INPUTS = {
    "imagenet-alexnet": (1, 3, 96, 127),
    "imagenet-se-resnet50": (1, 3, 64, 96),
    "imagenet-resnet18": (1, 3, 64, 96),
    "imagenet-convnextv2-atto": (1, 3, 64, 96),
    "imagenet-convnextv2-femto": (1, 3, 64, 64),
    "imagenet-convnextv2-pico": (1, 3, 64, 64),
    "imagenet-convnextv2-nano": (1, 3, 64, 64),
    "imagenet-convnextv2-tiny": (1, 3, 64, 64),
    "imagenet-vit-tiny": (1, 3, 224, 224),
    "imagenet-vit-small": (1, 3, 224, 224),
    "imagenet-vit-base": (1, 3, 224, 224),
    "kinetics400-swin3d-tiny": (1, 3, 4, 224, 224),
}
ANSWERED = ("imagenet-alexnet", "imagenet-se-resnet50", "imagenet-resnet18", "imagenet-convnextv2-atto",
            "imagenet-convnextv2-tiny", "imagenet-vit-tiny", "kinetics400-swin3d-tiny")  # fmt: skip


def fill(state: Mapping[str, Tensor]) -> None:
    """Numbers that follow from a tensor's name, in place: no two tensors alike, none a fresh network's."""
    for name, value in state.items():
        if value.is_floating_point():
            steps = torch.arange(value.numel(), dtype=torch.float64)
            wave = torch.sin(steps * 0.7 + zlib.crc32(name.encode()) % 1000).reshape(value.shape)
            norm = name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight"))
            value.copy_(1 + 0.3 * wave if norm else 0.05 * wave)


def shown(shape: tuple[int, ...]) -> Tensor:
    """An input, float64."""
    count = int(torch.tensor(shape).prod())
    return torch.cos(torch.arange(count, dtype=torch.float64) * 0.37).reshape(shape)


def names_of(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Hash of the names and shapes of parameters and statistics."""
    kept = sorted((k, list(v)) for k, v in shapes.items() if not k.endswith(("num_batches_tracked", "position_index")))
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()


def told(network: nn.Module, x: Tensor, embed: Callable[[Any, Tensor], Tensor], answered: bool) -> dict[str, Any]:
    """Entry of a published network."""
    state = network.state_dict()
    entry: dict[str, Any] = {
        "names": names_of({k: tuple(v.shape) for k, v in state.items()}),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    if answered:
        network = network.double().eval()
        fill(network.state_dict())
        with torch.no_grad():
            entry["embedding"] = embed(network, x)[0, :8].tolist()
    return entry


def main() -> None:
    """Write published.json."""
    import timm
    import torchvision

    def of_timm(name: str) -> tuple[nn.Module, Callable[[Any, Tensor], Tensor]]:
        return timm.create_model(name), lambda m, x: m.forward_head(m.forward_features(x), pre_logits=True)

    def of_alexnet(m: Any, x: Tensor) -> Tensor:
        return m.classifier[:6](m.avgpool(m.features(x)).flatten(1))

    def of_swin(m: Any, x: Tensor) -> Tensor:
        return m.norm(m.features(m.patch_embed(x))).mean((1, 2, 3))

    models = {
        "imagenet-alexnet": (torchvision.models.alexnet(), of_alexnet),
        "imagenet-se-resnet50": of_timm("seresnet50"),
        "imagenet-resnet18": of_timm("resnet18"),
        **{f"imagenet-convnextv2-{s}": of_timm(f"convnextv2_{s}") for s in ("atto", "femto", "pico", "nano", "tiny")},
        **{f"imagenet-vit-{s}": of_timm(f"vit_{s}_patch16_224") for s in ("tiny", "small", "base")},
        "kinetics400-swin3d-tiny": (torchvision.models.video.swin3d_t(), of_swin),
    }
    entries = {
        name: told(network, shown(INPUTS[name]), embed, name in ANSWERED) for name, (network, embed) in models.items()
    }
    FILE.write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
