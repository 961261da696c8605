"""What the names and shapes of tensors tell of the network that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from scan2gene.models import convnextv2, resnet2d, resnet3d, vit2d

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Contents:
    """What tensors tell of the network that they are of.

    Args:
        model: Key of `MODELS`, or "".
        channels: Of the input.
        shortcut: "A" or "B", of a residual network.
        told: In words.
    """

    model: str
    channels: int
    shortcut: str
    told: str


def contents(tensors: Mapping[str, Tensor]) -> Contents:
    """Which of our networks the tensors are of; strides and dilations cannot be told."""
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    found = _transformer(shapes) or _residual(shapes) or _convolutional(shapes)
    return found or Contents("", 0, "", f"{len(shapes)} tensors of a network that is not known here")


def _transformer(shapes: Shapes) -> Contents | None:
    """Of patches, with attention or with LSTM."""
    blocks = len({name.split(".")[1] for name in shapes if name.startswith("blocks.")})
    if "patch_embedding.position_embeddings" in shapes and "blocks.0.attn.qkv.weight" in shapes:
        width = shapes["patch_embedding.position_embeddings"][-1]
        return Contents("vit3d", 1, "", f"a 3D vision transformer of {blocks} blocks, width {width}")
    stem = shapes.get("patch_embed.proj.weight", ())
    if len(stem) == 5 and "features.0.0.attn.relative_position_bias_table" in shapes:
        return Contents("swin3d", stem[1], "", f"a 3D Swin transformer, width {stem[0]}, {stem[1]} channel(s)")
    if len(stem) != 4:
        return None
    of = f"{blocks} blocks, width {stem[0]}, {stem[1]} channel(s)"
    if "blocks.0.attn.qkv.weight" in shapes:
        size = next((s for s, (w, d, _) in vit2d.SIZES.items() if (w, d) == (stem[0], blocks)), "")
        return Contents("vit2d", stem[1], "", f"a vision transformer of slices{f' ({size})' if size else ''}: {of}")
    if "blocks.0.mixer.up.weight" in shapes:
        return Contents("vil", stem[1], "", f"a Vision-LSTM of slices: {of}")
    if "blocks.0.lstm.weight_ih_l0" in shapes:
        return Contents("vision_lstm", stem[1], "", f"a bidirectional LSTM over patches of slices: {of}")
    return None


def _residual(shapes: Shapes) -> Contents | None:
    stem = shapes.get("conv1.weight", ())
    stages = [{n.split(".")[1] for n in shapes if n.startswith(f"layer{s}.")} for s in (1, 2, 3, 4)]
    if len(stem) not in (4, 5) or not all(stages):
        return None
    deep = "layer1.0.conv3.weight" in shapes
    count = tuple(len(s) for s in stages)
    if len(stem) == 4:
        flat = next((d for d, (b, n) in resnet2d.LAYOUTS.items() if n == count and (b.expansion == 4) == deep), 0)
        excited = "layer1.0.se.fc1.weight" in shapes
        model = {(50, True): "se_resnet50", (18, False): "resnet25d"}.get((flat, excited), "")
        if not model:
            return Contents("", stem[1], "", "a 2D ResNet")
        kind = "SE-ResNet-50" if excited else "ResNet-18"
        return Contents(model, stem[1], "", f"{kind} of slices, {stem[1]} channel(s)")
    depth = next((d for d, (b, n) in resnet3d.LAYOUTS.items() if n == count and (b.expansion == 4) == deep), 0)
    shortcut = "B" if "layer2.0.downsample.0.weight" in shapes else "A"
    what = f"of depth {depth}" if depth else f"with {count} blocks"
    told = f"a 3D ResNet {what}, shortcut {shortcut}, {stem[1]} channel(s)"
    return Contents(f"resnet{depth}" if depth else "", stem[1], shortcut, told)


def _convolutional(shapes: Shapes) -> Contents | None:
    stem = shapes.get("stem.0.weight", ())
    if len(stem) == 4 and "stages.0.blocks.0.conv_dw.weight" in shapes:
        channels = f"{stem[1]} channel(s)"
        if "stages.0.blocks.0.mlp.grn.weight" not in shapes:
            plain = len({n.split(".")[1] for n in shapes if n.startswith("stages.")}) == 1
            return Contents("convnextv2_plain" if plain else "", stem[1], "", f"ConvNeXt without GRN, {channels}")
        size = next((s for s, (_, widths) in convnextv2.SIZES.items() if widths[0] == stem[0]), "of another size")
        return Contents("convnextv2", stem[1], "", f"ConvNeXt V2 {size}, {channels}")
    if len(shapes.get("features.0.weight", ())) == 4 and "classifier.1.weight" in shapes:
        number = shapes["features.0.weight"][1]
        return Contents("alexnet2d", number, "", f"AlexNet, {number} channel(s)")
    light = shapes.get("blocks.0.0.weight", ())
    if len(light) in (4, 5):
        model, told = ("light_cnn", "a light 3D CNN") if len(light) == 5 else ("light_cnn2d", "a light CNN of slices")
        return Contents(model, light[1], "", told)
    if "cells.0.0.weight" in shapes:
        return Contents("attention_cnn", shapes["cells.0.0.weight"][1], "", "a light 3D CNN with attention")
    return None
