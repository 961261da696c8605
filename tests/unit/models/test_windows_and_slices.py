"""Shifted windows in 3D against attention with a mask over all voxels; a volume seen slice by slice."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from scan2gene.core.errors import StudyError
from scan2gene.explain.asked import Asked
from scan2gene.explain.features import activations
from scan2gene.models import MODELS
from scan2gene.models.swin3d import WindowAttention, joined, windows


def _by_mask(layer: WindowAttention, x: torch.Tensor) -> torch.Tensor:
    """Every pair of voxels at once; those of different windows do not see each other."""
    shape, window, shift = x.shape[1:4], list(layer.window), list(layer.shift)
    for axis in range(3):
        if shape[axis] <= window[axis]:
            window[axis], shift[axis] = shape[axis], 0
    places = torch.cartesian_prod(*(torch.arange(n) for n in shape))
    cells = torch.div(places - torch.tensor(shift), torch.tensor(window), rounding_mode="floor")
    alike = (cells[:, None] == cells[None]).all(2)
    a, b, c = (layer.window[n] - 1 for n in range(3))
    table = layer.relative_position_bias_table.reshape(2 * a + 1, 2 * b + 1, 2 * c + 1, layer.heads)
    apart = places[:, None] - places[None]
    far = apart.abs() > torch.tensor([a, b, c])
    apart = apart.masked_fill(far, 0) + torch.tensor([a, b, c])
    bias = table[apart[..., 0], apart[..., 1], apart[..., 2]].permute(2, 0, 1)
    q, k, v = layer.qkv(x.flatten(1, 3)).unflatten(2, (3, layer.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5 + bias
    shares = scores.masked_fill(~alike, -torch.inf).softmax(3)
    return layer.proj((shares @ v).transpose(1, 2).flatten(2)).unflatten(1, shape)


@pytest.mark.parametrize("shape", [(4, 6, 6), (4, 7, 5), (2, 8, 9), (5, 2, 7), (1, 3, 3)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (1, 1, 1)])
def test_attention_in_windows_equals_attention_with_a_mask(shape, shift):
    torch.manual_seed(0)
    layer = WindowAttention(8, 2, (2, 3, 3), shift).double()
    torch.nn.init.normal_(layer.relative_position_bias_table)
    x = torch.randn(2, *shape, 8, dtype=torch.float64)
    torch.testing.assert_close(layer(x), _by_mask(layer, x))


def test_windows_are_put_together_again():
    x = torch.randn(2, 4, 6, 9, 5)
    cut = windows(x, (2, 3, 3))
    assert cut.shape == (2 * 2 * 2 * 3, 18, 5)
    assert torch.equal(cut[1], x[0, :2, :3, 3:6].reshape(18, 5))
    assert torch.equal(joined(cut, (2, 3, 3), (4, 6, 9)), x)


def test_prediction_before_training_does_not_hinder_training():
    """Tables of offsets are kept between calls, also those first made in inference mode."""
    model = MODELS["swin3d"](1, 2, size="micro", window=(3, 5, 5))
    x = torch.randn(2, 1, 10, 45, 45)
    with torch.inference_mode():
        model(x)
    cross_entropy(model(x), torch.tensor([0, 1])).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_a_slice_of_the_volume_is_seen_as_a_slice():
    """Features of each slice are those of the slice alone, and their place in it that of a 2D network."""
    torch.manual_seed(0)
    model = MODELS["resnet25d"](2, 1).eval()
    x = torch.randn(1, 2, 5, 64, 96)
    with torch.no_grad():
        whole = model.forward_features(x)
        alone = model.forward_features(x[:, :, 3:4])
    torch.testing.assert_close(whole[:, :, 3:4], alone, rtol=1e-4, atol=1e-4)
    *_, grid = activations(_asked(model, x), None)
    flat = MODELS["se_resnet50"](2, 1).eval()  # the same windows
    *_, of_slice = activations(_asked(flat, x[:, :, 0]), None)
    assert grid == [(1.0, 0.0), *of_slice]
    assert of_slice[0][0] == 32


def _asked(model, x) -> Asked:
    return Asked(model, x, torch.ones(1, 2), 0, torch.ones(1), (0,))


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_the_order_of_slices_does_not_matter_and_each_may(pooling):
    torch.manual_seed(0)
    model = MODELS["resnet25d"](1, 1, pooling=pooling).eval()
    features = torch.randn(2, 512, 7, 2, 2)
    pooled = model.pool(features)
    torch.testing.assert_close(model.pool(features[:, :, torch.randperm(7)]), pooled, rtol=1e-4, atol=1e-5)
    slices = features.mean(dim=(3, 4))
    if pooling == "attention":
        weights = model.attention(slices.transpose(1, 2))
        torch.testing.assert_close(weights.sum(1), torch.ones(2))
        torch.testing.assert_close(pooled, (slices * weights[:, None]).sum(2), rtol=1e-4, atol=1e-5)
        assert weights.std(dim=1).min() > 0
    else:
        torch.testing.assert_close(pooled, slices.mean(2) if pooling == "mean" else slices.amax(2))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("swin3d", {"size": "tinny"}, "Did you mean 'tiny'"),
        ("swin3d", {"window": (7, 7)}, "three whole numbers"),
        ("resnet25d", {"pooling": "attn"}, "valid: attention, max, mean"),
        ("convnextv2", {"size": "huge"}, "atto, femto"),
        ("vit2d", {"size": "smal"}, "Did you mean 'small'"),
        ("vit2d", {"image": (224, 200)}, "multiples of patch 16"),
        ("vit2d", {"width": 100}, "no multiple of heads 6"),
    ],
)
def test_options_that_cannot_be_are_explained(name, options, said):
    with pytest.raises(StudyError, match=said):
        MODELS[name](1, 1, **options)


def test_a_slice_too_small_for_alexnet_is_explained():
    with pytest.raises(StudyError, match=r"at least 63 x 63 voxels, these have 80 x 50\. Take a larger grid"):
        MODELS["alexnet2d"](1, 1, hidden=8)(torch.zeros(1, 1, 50, 80))
