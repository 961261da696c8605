"""Networks that torchvision and timm have too: the same names, sizes and answers; files in their form load."""

from __future__ import annotations

import json

import pytest
import torch
from published import ANSWERED, FILE, INPUTS, fill, names_of, shown
from tests.stand_in import published_tensors, write_stand_in

from scan2gene.core.errors import WeightsError
from scan2gene.models import MODELS
from scan2gene.models.checkpoint import load_match, match, read_checkpoint, renamed
from scan2gene.models.fetch import held_to
from scan2gene.models.weights import WEIGHTS

PUBLISHED = json.loads(FILE.read_text())
SMALL = {
    "imagenet-alexnet": {"hidden": 16},
    "imagenet-se-resnet50": {},
    "imagenet-resnet18": {},
    "imagenet-convnextv2-atto": {},
    "imagenet-vit-tiny": {"depth": 2},
    "kinetics400-swin3d-tiny": {"size": "micro"},
}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_names_shapes_and_sizes_are_the_published_ones(name):
    card = WEIGHTS[name]
    with torch.device("meta"):
        network = MODELS[card.model](3, 1, **card.options)
        named = published_tensors(network, card)
    assert names_of({k: tuple(v.shape) for k, v in named.items()}) == PUBLISHED[name]["names"]
    # Its classifier also weighs the roles; attention over slices is ours.
    ours = sum(p.numel() for n, p in network.named_parameters() if not n.startswith(("head.", "attention.")))
    classifier = sum(v.numel() for v in named.values()) - sum(
        v.numel() for k, v in network.state_dict().items() if not k.startswith(("head.", "attention."))
    )
    assert ours + classifier == PUBLISHED[name]["parameters"]


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_are_those_of_torchvision_and_timm(name):
    card = WEIGHTS[name]
    options = {"pooling": "mean"} if card.model == "resnet25d" else {}
    network = MODELS[card.model](3, 1, **card.options, **options).double().eval()
    theirs = published_tensors(network, card)
    fill(theirs)
    found = match(network, renamed(theirs, card.prefixes, card.heads), adapt=False)
    assert found.held == found.wanted
    load_match(network, found, name)
    x = shown(INPUTS[name])
    with torch.no_grad():
        embedding = network.pool(network.forward_features(x.unsqueeze(2) if card.model == "resnet25d" else x))
    wanted = torch.tensor(PUBLISHED[name]["embedding"], dtype=torch.float64)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(embedding[0, :8], wanted, rtol=1e-9, atol=1e-9)


# Sizes in millions as the papers' tables round them: Hu 2018, Woo 2023, Touvron 2021, Alkin 2024, Liu 2022.
@pytest.mark.parametrize(
    ("name", "options", "millions", "within"),
    [
        ("se_resnet50", {}, 28.1, 0.05),
        ("convnextv2", {"size": "atto"}, 3.7, 0.05),
        ("convnextv2", {"size": "femto"}, 5.2, 0.05),
        ("convnextv2", {"size": "pico"}, 9.1, 0.05),
        ("convnextv2", {"size": "nano"}, 15.6, 0.05),
        ("convnextv2", {"size": "tiny"}, 28.6, 0.05),
        ("vit2d", {"size": "tiny"}, 5.7, 0.05),
        ("vit2d", {"size": "small"}, 22, 0.5),
        ("vit2d", {"size": "base"}, 86.6, 0.05),
        ("vil", {"size": "tiny"}, 6, 0.5),
        ("vil", {"size": "small"}, 23, 0.5),
        ("vil", {"size": "base"}, 89, 0.5),
        ("swin3d", {"size": "tiny"}, 28.5, 0.5),
        ("swin3d", {"size": "small"}, 50, 0.5),
        ("alexnet2d", {}, 61.1, 0.05),
    ],
)
def test_sizes_are_those_of_the_papers(name, options, millions, within):
    classes = 400 if name == "swin3d" else 1000
    with torch.device("meta"):
        network = MODELS[name](3, classes, **options)
    of_roles = 3 * classes
    assert abs((sum(p.numel() for p in network.parameters()) - of_roles) / 1e6 - millions) <= within


def test_the_networks_of_the_gbm_study_have_its_sizes():
    """By hand, for one channel and four genes: stem, six blocks, head; patches, six blocks, norm, head."""
    block = 96 * 49 + 96 + 2 * 96 + 96 * 384 + 384 + 384 * 96 + 96
    assert _trained("convnextv2_plain") == (16 * 96 + 96) + 6 * block + (97 * 4 + 4)
    lstm = 2 * 4 * (256 * 256 + 256 * 256 + 2 * 256)
    block = lstm + (512 * 256 + 256) + 2 * 2 * 256 + (256 * 1024 + 1024) + (1024 * 256 + 256)
    assert _trained("vision_lstm") == (256 * 256 + 256) + 6 * block + 2 * 256 + (257 * 4 + 4)


def _trained(name: str) -> int:
    return sum(p.numel() for p in MODELS[name](1, 4).parameters())


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("roles", [1, 3])
def test_a_file_in_the_published_form_starts_a_network(name, roles, tmp_path):
    card = WEIGHTS[name]
    path = write_stand_in(name, tmp_path / card.file, seed=3, **SMALL[name])
    tensors = renamed(read_checkpoint(path), card.prefixes, card.heads)
    network = MODELS[card.model](roles, 2, **{**card.options, **SMALL[name]}).eval()
    found = match(network, tensors, adapt=True)
    load_match(network, found, path.name)
    assert not found.misfits
    assert set(found.missing) == {n for n in network.state_dict() if n.startswith("attention.")}
    assert found.channels == ("" if roles == 3 else "3 -> 1")


def test_grey_as_one_role_equals_grey_as_three_colours():
    card = WEIGHTS["imagenet-vit-tiny"]
    torch.manual_seed(0)
    colour = MODELS["vit2d"](3, 1, size="tiny", depth=1).eval()
    state = {k: v for k, v in colour.state_dict().items() if not k.startswith("head.")}
    grey, two = (MODELS["vit2d"](n, 1, size="tiny", depth=1).eval() for n in (1, 2))
    for network in (grey, two):
        load_match(network, match(network, state, adapt=True), card.file)
    x = torch.randn(1, 1, 224, 224)
    with torch.no_grad():
        wanted = colour.forward_features(x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(grey.forward_features(x), wanted, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(two.forward_features(x.expand(-1, 2, -1, -1)), wanted, rtol=1e-4, atol=1e-4)


def test_intensities_are_mapped_to_imagenets():
    """Stored 0 and 255, which networks see as -1 and 1, become what black and white are there, on average."""
    scale, shift = WEIGHTS["imagenet-alexnet"].uint8_map
    assert -scale + shift == pytest.approx(-0.449 / 0.226)
    assert scale + shift == pytest.approx((1 - 0.449) / 0.226)
    plain, mapped = (MODELS["convnextv2"](1, 1, input_map=m).eval() for m in ((1, 0), (scale, shift)))
    mapped.load_state_dict(plain.state_dict())
    x = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(mapped.forward_features(x), plain.forward_features(x * scale + shift))


def test_another_network_is_refused_and_the_first_layer_is_vital(tmp_path):
    network = MODELS["convnextv2"](1, 1, size="femto")
    path = write_stand_in("imagenet-convnextv2-atto", tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match=r"at least 95 % and its first layers are needed: stem\.0\.weight"):
        load_match(network, match(network, renamed(read_checkpoint(path), {}, ()), adapt=True), "w")
    whole = {k: v for k, v in network.state_dict().items() if not k.startswith(("head.", "stem.0.weight"))}
    with pytest.raises(WeightsError, match=r"stem\.0\.weight is missing"):
        load_match(network, match(network, whole, adapt=True), "w")


def test_a_file_is_held_to_the_digits_in_its_name(tmp_path):
    path = tmp_path / WEIGHTS["imagenet-resnet18"].file
    path.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"its sha256 begins with f37072fd, it is [0-9a-f]{16}\.\.\.\. Get it again"):
        held_to("imagenet-resnet18", path)
