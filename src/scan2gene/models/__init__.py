"""Networks: one file per family, one line here. All return logits.

`build(in_channels, num_outputs, **options)` gives a module with
`forward(x, present=None)`, `forward_features(x)`, `pool(features)`, the embedding (B, F) that
the head sees, `forward_head(features, present=None)`, `spatial_dims` and `cam_layer`; x is
(B, C, D, H, W), `present` (B, C) marks the roles that an exam has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from scan2gene.models import light_cnn, resnet3d, vit3d

MODELS: dict[str, Callable[..., nn.Module]] = {
    "resnet10": partial(resnet3d.build, depth=10),
    "resnet18": partial(resnet3d.build, depth=18),
    "resnet34": partial(resnet3d.build, depth=34),
    "resnet50": partial(resnet3d.build, depth=50),
    "vit3d": vit3d.build,
    "light_cnn": light_cnn.build,
}
