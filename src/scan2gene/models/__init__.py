"""Networks: one file per family, one line here. All return logits.

`build(in_channels, num_outputs, **options)` gives a `head.Network`: `forward(x, present=None)` is
`forward_features`, `pool`, which gives the embedding (B, F) that the head sees, and `forward_head`;
`spatial_dims` and `cam_layer` say what it sees and where maps are taken. x is (B, C, D, H, W), or
(B, C, H, W) where `spatial_dims` is 2; `present` (B, C) marks the roles that an exam has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from scan2gene.models import (
    alexnet2d,
    attention_cnn,
    convnextv2,
    light_cnn,
    resnet2d,
    resnet3d,
    resnet25d,
    swin3d,
    vil,
    vision_lstm,
    vit2d,
    vit3d,
)
from scan2gene.models.head import Network

MODELS: dict[str, Callable[..., Network]] = {
    "resnet10": partial(resnet3d.build, depth=10),
    "resnet18": partial(resnet3d.build, depth=18),
    "resnet34": partial(resnet3d.build, depth=34),
    "resnet50": partial(resnet3d.build, depth=50),
    "vit3d": vit3d.build,
    "swin3d": swin3d.build,
    "light_cnn": light_cnn.build,
    "attention_cnn": attention_cnn.build,
    "light_cnn2d": light_cnn.build_2d,
    "resnet25d": resnet25d.build,
    "alexnet2d": alexnet2d.build,
    "se_resnet50": resnet2d.build,
    "convnextv2": convnextv2.build,
    "convnextv2_plain": convnextv2.build_plain,
    "vision_lstm": vision_lstm.build,
    "vil": vil.build,
    "vit2d": vit2d.build,
}
