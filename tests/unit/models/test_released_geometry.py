"""The geometries of released weights and the 3D ViT, against MONAI's networks with the same weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from monai.networks.nets import ViT, resnet10, resnet18, resnet34, resnet50

from scan2gene.core.errors import StudyError
from scan2gene.models import MODELS
from scan2gene.models.resnet3d import GEOMETRIES, geometry_of

MONAI = {"resnet10": resnet10, "resnet18": resnet18, "resnet34": resnet34, "resnet50": resnet50}
VIT = {"size": (8, 32, 48), "patch": (4, 8, 16), "width": 48, "depth": 3, "heads": 3}


def _random_statistics(model: torch.nn.Module) -> None:
    """Weights and running statistics that are not those of a fresh network, which would hide mistakes."""
    torch.manual_seed(7)
    for key, value in model.state_dict().items():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(torch.rand_like(value) + 0.5 if "var" in key or key.endswith("weight") else value * 0 + 0.1)


def _encoder(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {k: v for k, v in model.state_dict().items() if not k.startswith("head.")}


def _corrected(network: torch.nn.Module, shortcut: str) -> None:
    """MedicalNet's strides and dilations put into MONAI's network."""
    for stage, dilation in ((network.layer3, 2), (network.layer4, 4)):
        for block in stage:
            for module in block.modules():
                if isinstance(module, torch.nn.Conv3d):
                    module.stride = (1, 1, 1)
                    if module.kernel_size == (3, 3, 3):
                        module.dilation = module.padding = (dilation,) * 3
            if shortcut == "A" and block.downsample is not None:
                block.downsample = partial(block.downsample.func, planes=block.downsample.keywords["planes"], stride=1)


@pytest.mark.parametrize(
    ("name", "shortcut"), [("resnet10", "B"), ("resnet18", "A"), ("resnet34", "A"), ("resnet50", "B")]
)
def test_medicalnet_geometry_equals_monai_with_corrected_strides(name, shortcut):
    ours = MODELS[name](1, 1, geometry="medicalnet-a" if shortcut == "A" else "medicalnet").eval()
    _random_statistics(ours)
    theirs = MONAI[name](
        spatial_dims=3, n_input_channels=1, conv1_t_stride=2, shortcut_type=shortcut, bias_downsample=False,
        feed_forward=False,
    ).eval()  # fmt: skip
    theirs.load_state_dict(_encoder(ours))
    _corrected(theirs, shortcut)
    maps = []
    theirs.layer4.register_forward_hook(lambda _, __, out: maps.append(out))
    x = torch.randn(1, 1, 24, 32, 40)
    with torch.no_grad():
        theirs(x)
        features = ours.forward_features(x)
    assert features.shape[2:] == (3, 4, 5)  # an eighth
    assert float((features - maps[0]).abs().max()) == 0


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
def test_kinetics_geometry_equals_monai(name):
    ours = MODELS[name](3, 1, geometry="kinetics").eval()
    _random_statistics(ours)
    theirs = MONAI[name](
        n_input_channels=3, conv1_t_size=(7, 7, 7), conv1_t_stride=(1, 2, 2), bias_downsample=False,
        feed_forward=False,
    ).eval()  # fmt: skip
    theirs.load_state_dict(_encoder(ours))
    maps = []
    theirs.layer4.register_forward_hook(lambda _, __, out: maps.append(out))
    x = torch.randn(1, 3, 16, 64, 48)
    with torch.no_grad():
        theirs(x)
        features = ours.forward_features(x)
    assert float((features - maps[0]).abs().max()) == 0


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_gradients_pass_every_shortcut(shortcut):
    """The published shortcut A cuts the gradient off; fine-tuning needs it."""
    model = MODELS["resnet18"](1, 1, geometry={"shortcut": shortcut})
    _random_statistics(model)
    for stage in (2, 3, 4):
        torch.nn.init.zeros_(model.get_submodule(f"layer{stage}.0.bn2").weight)  # only the shortcut is left
    x = torch.randn(2, 1, 16, 16, 16, requires_grad=True)
    model.forward_features(x).sum().backward()
    assert float(x.grad.abs().max()) > 0


def _vit_pair(dtype: torch.dtype) -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(3)
    ours = MODELS["vit3d"](1, 1, **VIT).eval()
    torch.nn.init.normal_(ours.cls_token)
    theirs = ViT(
        1, VIT["size"], VIT["patch"], hidden_size=48, mlp_dim=192, num_layers=3, num_heads=3,
        proj_type="perceptron", pos_embed_type="learnable", classification=True,
    ).eval()  # fmt: skip
    state = {k: v for k, v in _encoder(ours).items() if not k.startswith("mm_vision_proj")}
    left = theirs.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert all("norm_cross_attn" in k or "classification_head" in k or "cross_attn" in k for k in left.missing_keys)
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_vit_equals_monai(dtype, largest):
    """Not exactly: the fused attention adds up in another order. Doubles show that nothing else differs."""
    ours, theirs = _vit_pair(dtype)
    hidden = []
    theirs.norm.register_forward_hook(lambda _, __, out: hidden.append(out))
    x = torch.rand(2, 1, *VIT["size"], dtype=dtype)
    with torch.no_grad():
        theirs(x)
        tokens = ours.forward_features(x)[:, 0]
    assert tokens.shape == hidden[0].shape
    assert float((tokens - hidden[0]).abs().max()) < largest


def test_both_vectors_of_the_vit_are_those_of_its_paper():
    ours, theirs = _vit_pair(torch.float64)
    hidden = []
    theirs.norm.register_forward_hook(lambda _, __, out: hidden.append(out))
    x = torch.rand(2, 1, *VIT["size"], dtype=torch.float64)
    with torch.no_grad():
        theirs(x)
        projected = ours.pool(ours.forward_features(x))
        ours.vector = "cls"
        plain = ours.pool(ours.forward_features(x))
        wanted = hidden[0][:, 0] @ ours.mm_vision_proj.weight.T + ours.mm_vision_proj.bias
    torch.testing.assert_close(plain, hidden[0][:, 0])
    torch.testing.assert_close(projected, wanted / wanted.norm(dim=1, keepdim=True))


def test_vit_takes_other_sizes_and_more_roles():
    ours = MODELS["vit3d"](2, 1, **VIT).eval()
    with torch.no_grad():
        x = torch.rand(1, 2, 6, 40, 40)
        both = ours.pool(ours.forward_features(x))
        apart = [ours.pool(ours.forward_features(x[:, n : n + 1])) for n in (0, 1)]
    torch.testing.assert_close(both, torch.cat(apart, dim=1), rtol=1e-4, atol=1e-6)


def test_a_mapped_input_is_scaled_and_shifted():
    plain, mapped = (MODELS["resnet10"](1, 1, input_map=m).eval() for m in ((1, 0), (0.5, 0.25)))
    mapped.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(mapped.forward_features(x), plain.forward_features(x * 0.5 + 0.25))


def test_the_published_sizes_of_m3d():
    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in MODELS["vit3d"](1, 1).state_dict().items()}
    assert shapes["patch_embedding.position_embeddings"] == (1, 2048, 768)
    assert shapes["patch_embedding.patch_embeddings.1.weight"] == (768, 1024)
    assert shapes["blocks.11.attn.qkv.weight"] == (2304, 768)
    assert shapes["blocks.11.mlp.linear1.weight"] == (3072, 768)
    assert "blocks.0.attn.qkv.bias" not in shapes


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("medicalnett", "Did you mean 'medicalnet"),
        ({"stride": 1}, "field 'stride' is not known"),
        ({"strides": [1, 2]}, "list of 4 whole numbers"),
        ({"strides": [1, 2, 0, 1]}, "list of 4 whole numbers"),
        ({"shortcut": "C"}, "geometry.shortcut cannot be 'C'"),
        ({"max_pool": 2}, "geometry.max_pool cannot be 2"),
    ],
)
def test_a_wrong_geometry_is_explained(given, said):
    with pytest.raises(StudyError, match=said):
        geometry_of(given)


def test_a_geometry_can_be_written_out():
    written = {"strides": [1, 2, 1, 1], "dilations": [1, 1, 2, 4], "shortcut": "A"}
    assert geometry_of(written) == GEOMETRIES["medicalnet-a"]
